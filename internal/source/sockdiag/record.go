// SPDX-License-Identifier: Apache-2.0

package sockdiag

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// struct inet_diag_msg of <linux/inet_diag.h>.
const (
	recordLen = 72

	familyIPv4 = 2
	familyIPv6 = 10
)

// Attributes that follow a record: enum INET_DIAG_* of <linux/inet_diag.h>.
const (
	attrInfo       = 2  // struct tcp_info
	attrCongestion = 4  // name of the algorithm, a C string
	attrSockMemory = 7  // u32[SK_MEMINFO_VARS]
	attrStorages   = 20 // of BPF programs, Linux 5.8

	attrHeaderLen = 4
	attrTypeMask  = 0x3fff // without NLA_F_NESTED and NLA_F_NET_BYTEORDER

	// Positions in attrSockMemory, <linux/sock_diag.h>.
	sockMemoryReceiveLimit = 4 * 1 // SK_MEMINFO_RCVBUF
	sockMemorySendLimit    = 4 * 3 // SK_MEMINFO_SNDBUF
	sockMemoryDrops        = 4 * 8 // SK_MEMINFO_DROPS, Linux 4.10
)

// errAttributes says that a record's endpoints could be read, but not all that
// came with them.
var errAttributes = errors.New("malformed attributes")

// record decodes one message into d.socket. After errAttributes the socket is
// good for what its Fields say; after any other error it is not.
func (d *decoder) record(b []byte) error {
	if len(b) < recordLen {
		return fmt.Errorf("sock_diag record of %d bytes, wants %d", len(b), recordLen)
	}
	family := b[0]
	if family != familyIPv4 && family != familyIPv6 {
		return fmt.Errorf("sock_diag record of address family %d", family)
	}
	state, ok := tcp.LinuxState(uint64(b[1]))
	if !ok {
		return fmt.Errorf("sock_diag record of TCP state %d", b[1])
	}

	s := &d.socket
	d.ownFIN = tcp.UnknownFIN
	*s = tcp.Socket{
		ID: tcp.Identity{
			Cookie:    uint64(binary.NativeEndian.Uint32(b[44:])) | uint64(binary.NativeEndian.Uint32(b[48:]))<<32,
			Namespace: d.namespace,
		},
		UID:   binary.NativeEndian.Uint32(b[64:]),
		Inode: uint64(binary.NativeEndian.Uint32(b[68:])),
		State: state,
	}
	ifindex := binary.NativeEndian.Uint32(b[40:])
	s.Local = netip.AddrPortFrom(d.addr(family, b[8:24], ifindex), binary.BigEndian.Uint16(b[4:]))
	s.Peer = netip.AddrPortFrom(d.addr(family, b[24:40], ifindex), binary.BigEndian.Uint16(b[6:]))

	receiveQueue := binary.NativeEndian.Uint32(b[56:])
	sendQueue := binary.NativeEndian.Uint32(b[60:])
	if state == tcp.Listen {
		s.QueueLength, s.QueueLimit = receiveQueue, tcp.LinuxQueueLimit(sendQueue)
		s.Fields = s.Fields.With(tcp.FieldQueueLength).With(tcp.FieldQueueLimit)
		d.listenerDrops(b[recordLen:])
		return nil
	}
	return d.attributes(b[recordLen:], receiveQueue, sendQueue)
}

// addr reads an address as it is on the wire, with its zone if it has one.
func (d *decoder) addr(family uint8, b []byte, ifindex uint32) netip.Addr {
	if family == familyIPv4 {
		return netip.AddrFrom4([4]byte(b))
	}
	return source.IPv6([16]byte(b), ifindex, d.zone)
}

// listenerDrops takes what a listener dropped, all that is wanted of its attributes.
func (d *decoder) listenerDrops(b []byte) {
	for len(b) >= attrHeaderLen {
		length := int(binary.NativeEndian.Uint16(b))
		if length < attrHeaderLen || length > len(b) {
			return
		}
		if binary.NativeEndian.Uint16(b[2:])&attrTypeMask == attrSockMemory && length >= attrHeaderLen+sockMemoryDrops+4 {
			d.socket.Drops = uint64(binary.NativeEndian.Uint32(b[attrHeaderLen+sockMemoryDrops:]))
			d.socket.Fields = d.socket.Fields.With(tcp.FieldDrops)
		}
		b = b[min((length+3)&^3, len(b)):]
	}
}

func (d *decoder) attributes(b []byte, receiveQueue, sendQueue uint32) error {
	s := &d.socket
	for len(b) >= attrHeaderLen {
		length := int(binary.NativeEndian.Uint16(b))
		if length < attrHeaderLen || length > len(b) {
			return fmt.Errorf("%w: one of length %d with %d bytes left", errAttributes, length, len(b))
		}
		value := b[attrHeaderLen:length]
		switch binary.NativeEndian.Uint16(b[2:]) & attrTypeMask {
		case attrInfo:
			// Only whole sockets have a tcp_info, and only theirs are real queues:
			// the records of TIME_WAIT and SYN_RECV say 0.
			s.ReceiveBufferUsage, s.SendBufferUsage = tcp.LinuxQueues(s.State, receiveQueue, sendQueue)
			s.Fields |= info(s, value).With(tcp.FieldReceiveBufferUsage).With(tcp.FieldSendBufferUsage)
			switch s.State {
			case tcp.Established, tcp.CloseWait:
				s.SendBufferUsage = max(s.SendBufferUsage, outstanding(value))
			case tcp.Closed:
				d.ownFIN = ownFIN(value, sendQueue)
			}
		case attrCongestion:
			s.CongestionControl = d.names.Of(value)
		case attrSockMemory:
			if len(value) < sockMemorySendLimit+4 {
				return fmt.Errorf("%w: socket memory of %d bytes", errAttributes, len(value))
			}
			s.ReceiveBufferLimit = binary.NativeEndian.Uint32(value[sockMemoryReceiveLimit:])
			s.SendBufferLimit = binary.NativeEndian.Uint32(value[sockMemorySendLimit:])
			s.Fields = s.Fields.With(tcp.FieldReceiveBufferLimit).With(tcp.FieldSendBufferLimit)
		case attrStorages:
			d.storages(value)
		}
		b = b[min((length+3)&^3, len(b)):]
	}
	return nil
}
