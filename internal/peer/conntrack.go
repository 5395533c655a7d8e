// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"syscall"
)

// Messages of connection tracking: struct nlmsghdr, struct nfgenmsg of
// <linux/netfilter/nfnetlink.h>, and attributes of nfnetlink_conntrack.h.
const (
	netlinkHeader = 16
	genHeader     = 4
	attrHeader    = 4

	messageError = 2
	conntrackNew = 1 << 8   // NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_NEW
	conntrackGet = 1<<8 | 1 // IPCTNL_MSG_CT_GET

	flagRequest = 1
	attrNested  = 0x8000
	attrType    = 0x3fff

	tupleOriginal = 1 // CTA_TUPLE_ORIG
	tupleReply    = 2 // CTA_TUPLE_REPLY
	tupleIP       = 1 // CTA_TUPLE_IP
	tupleProto    = 2 // CTA_TUPLE_PROTO

	ipv4Source, ipv4Destination = 1, 2
	ipv6Source, ipv6Destination = 3, 4
	protoNumber                 = 1
	protoSource, protoDest      = 2, 3

	familyIPv4, familyIPv6 = 2, 10 // AF_INET, AF_INET6
	protocolTCP            = 6
)

// tuple is one direction of a connection.
type tuple struct{ source, destination netip.AddrPort }

// errConntrack says that an answer of the kernel could not be read.
var errConntrack = errors.New("malformed answer of connection tracking")

// errUntracked says that the kernel does not track the connection.
var errUntracked = errors.New("the connection is not tracked")

// attribute appends an attribute. Its length is that of what put appends.
func attribute(b []byte, typ uint16, put func([]byte) []byte) []byte {
	start := len(b)
	b = put(append(b, 0, 0, 0, 0))
	binary.NativeEndian.PutUint16(b[start:], uint16(len(b)-start))
	binary.NativeEndian.PutUint16(b[start+2:], typ)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// request makes the question for the connection that has a tuple, in either
// direction.
func request(b []byte, seq uint32, t tuple) []byte {
	family := byte(familyIPv6)
	from, to := uint16(ipv6Source), uint16(ipv6Destination)
	if t.source.Addr().Is4() {
		family, from, to = familyIPv4, ipv4Source, ipv4Destination
	}
	value := func(v ...byte) func([]byte) []byte { return func(b []byte) []byte { return append(b, v...) } }
	port := func(p uint16) func([]byte) []byte { return value(byte(p>>8), byte(p)) }
	b = append(b, make([]byte, netlinkHeader)...)
	b = append(b, family, 0, 0, 0)
	b = attribute(b, tupleOriginal|attrNested, func(b []byte) []byte {
		b = attribute(b, tupleIP|attrNested, func(b []byte) []byte {
			b = attribute(b, from, value(t.source.Addr().AsSlice()...))
			return attribute(b, to, value(t.destination.Addr().AsSlice()...))
		})
		return attribute(b, tupleProto|attrNested, func(b []byte) []byte {
			b = attribute(b, protoNumber, value(protocolTCP))
			b = attribute(b, protoSource, port(t.source.Port()))
			return attribute(b, protoDest, port(t.destination.Port()))
		})
	})
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], conntrackGet)
	binary.NativeEndian.PutUint16(b[6:], flagRequest)
	binary.NativeEndian.PutUint32(b[8:], seq)
	return b
}

// answer reads what the kernel says to the question of that number. ok is false if
// the datagram is of another question. The error is errUntracked if there is no
// such connection, else the kernel's or errConntrack.
func answer(b []byte, seq uint32) (original, reply tuple, ok bool, err error) {
	for len(b) >= netlinkHeader {
		length := uint64(binary.NativeEndian.Uint32(b))
		if length < netlinkHeader || length > uint64(len(b)) {
			return tuple{}, tuple{}, true, fmt.Errorf("%w: message of length %d with %d bytes left", errConntrack, length, len(b))
		}
		typ, number, payload := binary.NativeEndian.Uint16(b[4:]), binary.NativeEndian.Uint32(b[8:]), b[netlinkHeader:length]
		b = b[min((length+3)&^3, uint64(len(b))):]
		if number != seq {
			continue
		}
		switch typ {
		case messageError:
			return tuple{}, tuple{}, true, refusal(payload)
		case conntrackNew:
			if len(payload) < genHeader {
				return tuple{}, tuple{}, true, fmt.Errorf("%w: %d bytes", errConntrack, len(payload))
			}
			original, reply, err = connection(payload[genHeader:])
			return original, reply, true, err
		}
	}
	return tuple{}, tuple{}, false, nil
}

// refusal reads struct nlmsgerr.
func refusal(payload []byte) error {
	if len(payload) < 4 {
		return fmt.Errorf("%w: error without a number", errConntrack)
	}
	code := int32(binary.NativeEndian.Uint32(payload))
	switch {
	case code >= 0:
		return fmt.Errorf("%w: no connection and no error", errConntrack)
	case syscall.Errno(-code) == syscall.ENOENT:
		return errUntracked
	}
	return syscall.Errno(-code)
}

// connection reads both directions of a connection.
func connection(b []byte) (original, reply tuple, err error) {
	err = attributes(b, func(typ uint16, value []byte) (err error) {
		switch typ {
		case tupleOriginal:
			original, err = direction(value)
		case tupleReply:
			reply, err = direction(value)
		}
		return err
	})
	if err == nil && !(original.source.IsValid() && original.destination.IsValid() && reply.source.IsValid() && reply.destination.IsValid()) {
		err = fmt.Errorf("%w: not both directions", errConntrack)
	}
	return original, reply, err
}

func direction(b []byte) (t tuple, err error) {
	var from, to netip.Addr
	var ports [2]uint16
	err = attributes(b, func(typ uint16, value []byte) error {
		switch typ {
		case tupleIP:
			return attributes(value, func(typ uint16, value []byte) error {
				addr, ok := netip.AddrFromSlice(value)
				if !ok {
					return nil
				}
				switch typ {
				case ipv4Source, ipv6Source:
					from = addr
				case ipv4Destination, ipv6Destination:
					to = addr
				}
				return nil
			})
		case tupleProto:
			return attributes(value, func(typ uint16, value []byte) error {
				if (typ == protoSource || typ == protoDest) && len(value) >= 2 {
					ports[typ-protoSource] = binary.BigEndian.Uint16(value)
				}
				return nil
			})
		}
		return nil
	})
	if from.IsValid() && to.IsValid() {
		t = tuple{netip.AddrPortFrom(from, ports[0]), netip.AddrPortFrom(to, ports[1])}
	}
	return t, err
}

// attributes visits the attributes of a message.
func attributes(b []byte, visit func(typ uint16, value []byte) error) error {
	for len(b) >= attrHeader {
		length := int(binary.NativeEndian.Uint16(b))
		if length < attrHeader || length > len(b) {
			return fmt.Errorf("%w: attribute of length %d with %d bytes left", errConntrack, length, len(b))
		}
		if err := visit(binary.NativeEndian.Uint16(b[2:])&attrType, b[attrHeader:length]); err != nil {
			return err
		}
		b = b[min((length+3)&^3, len(b)):]
	}
	return nil
}

// behind returns who is behind the peer of a connection, given both directions of
// it: who answers where this end has begun it, else who has. It is not valid if
// the peer is who it seems to be.
func behind(local, peer netip.AddrPort, original, reply tuple) netip.AddrPort {
	who := original.source
	if original.source == local && original.destination == peer {
		who = reply.source
	}
	if who == peer {
		return netip.AddrPort{}
	}
	return who
}
