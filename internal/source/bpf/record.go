// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// Where the fields of program/record.h are. The programs are little-endian; ports
// of peers and addresses are in network byte order.
const (
	headKind      = 0
	headState     = 1
	headFamily    = 2
	headFlags     = 3
	headLocalPort = 4
	headPeerPort  = 6
	headIfindex   = 8
	headUID       = 12
	headCookie    = 16
	headLocal     = 24
	headPeer      = 40
	headLen       = 56

	listenerInode = headLen
	listenerQueue = headLen + 8
	listenerLimit = headLen + 12
	listenerDrops = headLen + 16
	listenerLen   = headLen + 24

	connectionInode          = headLen
	connectionBytesSent      = headLen + 8
	connectionBytesRetrans   = headLen + 16
	connectionBytesAcked     = headLen + 24
	connectionBytesReceived  = headLen + 32
	connectionPacingRate     = headLen + 40
	connectionRTO            = headLen + 48
	connectionSendMSS        = headLen + 52
	connectionReceiveMSS     = headLen + 56
	connectionLost           = headLen + 60
	connectionCwnd           = headLen + 64
	connectionSsthresh       = headLen + 68
	connectionSRTT           = headLen + 72
	connectionMdev           = headLen + 76
	connectionMinRTT         = headLen + 80
	connectionTotalRetrans   = headLen + 84
	connectionSinceSent      = headLen + 88
	connectionSinceReceived  = headLen + 92
	connectionSinceAcked     = headLen + 96
	connectionSegsOut        = headLen + 100
	connectionSegsIn         = headLen + 104
	connectionNotsent        = headLen + 108
	connectionRateDelivered  = headLen + 112
	connectionRateIntervalUs = headLen + 116
	connectionChrono         = headLen + 120
	connectionDeliveredCE    = headLen + 132
	connectionReceivedCE     = headLen + 136
	connectionDSACKDups      = headLen + 140
	connectionOutOfOrder     = headLen + 144
	connectionSendWindow     = headLen + 148
	connectionReceiveWindow  = headLen + 152
	connectionTotalRTO       = headLen + 156
	connectionReceiveQueue   = headLen + 160
	connectionSendQueue      = headLen + 164
	connectionReceiveLimit   = headLen + 168
	connectionSendLimit      = headLen + 172
	connectionRetransmits    = headLen + 176
	connectionCongestion     = headLen + 192
	connectionLen            = headLen + 208
)

// enum kind of program/record.h.
const (
	kindPlain      = 1
	kindListener   = 2
	kindConnection = 3
	kindPassedOver = 4
)

// enum flags of program/record.h.
const (
	flagFINReceived = 1
	flagTotalRTO    = 2
	flagReceivedCE  = 4
	flagClient      = 8
	flagServer      = 16
	flagRetransmits = 32
)

const (
	familyIPv4 = 2
	familyIPv6 = 10

	// infiniteSsthresh is TCP_INFINITE_SSTHRESH of <net/tcp.h>: slow start has not
	// ended yet.
	infiniteSsthresh = 0x7fffffff
)

func newDecoder(namespace uint64, jiffy time.Duration, zone func(uint32) string) decoder {
	return decoder{namespace: namespace, jiffy: jiffy, zone: zone, names: make(source.Interner)}
}

// decoder turns records into sockets.
type decoder struct {
	socket    tcp.Socket // reused for every record
	namespace uint64
	// jiffy is the kernel's tick, 1/CONFIG_HZ.
	jiffy  time.Duration
	zone   func(ifindex uint32) string
	names  source.Interner
	losses source.Losses
}

// records visits the sockets of all records that are whole and returns how many
// bytes those are.
func (d *decoder) records(b []byte, visit func(*tcp.Socket) error) (done int, err error) {
	for done < len(b) {
		n, err := d.record(b[done:])
		if errors.Is(err, errShort) {
			return done, nil
		}
		if err != nil {
			d.losses.Decode(err)
			if n == 0 {
				// Without a length there is no next record to go on with.
				return len(b), nil
			}
		} else if err := visit(&d.socket); err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}

var errShort = errors.New("record cut short")

// record decodes the first record of b. It returns the record's length, even of
// one that is malformed if only the length is known.
func (d *decoder) record(b []byte) (length int, err error) {
	if len(b) < headLen {
		return 0, errShort
	}
	kind := b[headKind]
	switch kind {
	case kindPlain, kindPassedOver:
		length = headLen
	case kindListener:
		length = listenerLen
	case kindConnection:
		length = connectionLen
	default:
		return 0, fmt.Errorf("record of unknown kind %d", kind)
	}
	if len(b) < length {
		return 0, errShort
	}
	if err := d.head(b); err != nil {
		return length, err
	}
	s := &d.socket
	switch kind {
	case kindListener:
		s.Inode = binary.LittleEndian.Uint64(b[listenerInode:])
		s.QueueLength = binary.LittleEndian.Uint32(b[listenerQueue:])
		s.QueueLimit = tcp.LinuxQueueLimit(binary.LittleEndian.Uint32(b[listenerLimit:]))
		s.Drops = binary.LittleEndian.Uint64(b[listenerDrops:])
		s.Fields = s.Fields.With(tcp.FieldQueueLength).With(tcp.FieldQueueLimit).With(tcp.FieldDrops)
	case kindConnection:
		d.connection((*[connectionLen]byte)(b))
	}
	return length, nil
}

func (d *decoder) head(b []byte) error {
	family := b[headFamily]
	if family != familyIPv4 && family != familyIPv6 {
		return fmt.Errorf("record of address family %d", family)
	}
	state, ok := tcp.LinuxState(uint64(b[headState]))
	if !ok {
		return fmt.Errorf("record of TCP state %d", b[headState])
	}
	s := &d.socket
	*s = tcp.Socket{
		ID:    tcp.Identity{Cookie: binary.LittleEndian.Uint64(b[headCookie:]), Namespace: d.namespace},
		UID:   binary.LittleEndian.Uint32(b[headUID:]),
		State: state,
		Role:  role(b[headState], b[headFlags]),
	}
	ifindex := binary.LittleEndian.Uint32(b[headIfindex:])
	s.Local = netip.AddrPortFrom(d.addr(family, b[headLocal:], ifindex), binary.LittleEndian.Uint16(b[headLocalPort:]))
	s.Peer = netip.AddrPortFrom(d.addr(family, b[headPeer:], ifindex), binary.BigEndian.Uint16(b[headPeerPort:]))
	return nil
}

// States of <net/tcp_states.h> that say which end this is: TCP_SYN_SENT, and
// TCP_NEW_SYN_RECV, which is what a listener keeps of a connection before its
// handshake is through.
const (
	stateSynSent    = 2
	stateNewSynRecv = 12
)

func role(state, flags uint8) tcp.Role {
	switch {
	case flags&flagClient != 0, state == stateSynSent:
		return tcp.Client
	case flags&flagServer != 0, state == stateNewSynRecv:
		return tcp.Server
	}
	return tcp.NoRole
}

// addr reads an address as it is on the wire, with its zone if it has one.
func (d *decoder) addr(family uint8, b []byte, ifindex uint32) netip.Addr {
	if family == familyIPv4 {
		return netip.AddrFrom4([4]byte(b))
	}
	return source.IPv6([16]byte(b), ifindex, d.zone)
}

// connectionFields are those that every kernel has from which these records
// come.
var connectionFields = tcp.Fields(0).
	With(tcp.FieldRTO).With(tcp.FieldSendMSS).With(tcp.FieldReceiveMSS).With(tcp.FieldLost).
	With(tcp.FieldCongestionWindow).With(tcp.FieldRetransmits).
	With(tcp.FieldBytesSent).With(tcp.FieldBytesRetransmitted).With(tcp.FieldBytesAcked).With(tcp.FieldBytesReceived).
	With(tcp.FieldSegmentsSent).With(tcp.FieldSegmentsReceived).With(tcp.FieldUnsent).
	With(tcp.FieldBusyTime).With(tcp.FieldReceiveWindowLimited).With(tcp.FieldSendBufferLimited).
	With(tcp.FieldDeliveredCE).With(tcp.FieldSpuriousRetransmits).With(tcp.FieldOutOfOrder).
	With(tcp.FieldSendWindow).With(tcp.FieldReceiveWindow).
	With(tcp.FieldSendBufferUsage).With(tcp.FieldReceiveBufferUsage).
	With(tcp.FieldSendBufferLimit).With(tcp.FieldReceiveBufferLimit)

// connection decodes what a connection has beyond its head. A value that the
// kernel has not measured yet is left absent, as with tcp_info (tcp_get_info in
// net/ipv4/tcp.c), whose units these become.
func (d *decoder) connection(b *[connectionLen]byte) {
	u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }
	u64 := func(at int) uint64 { return binary.LittleEndian.Uint64(b[at:]) }
	micros := func(v uint32) time.Duration { return time.Duration(v) * time.Microsecond }

	s := &d.socket
	fields := connectionFields
	s.Inode = u64(connectionInode)
	s.RTO = d.jiffies(u32(connectionRTO)).Truncate(time.Microsecond)
	sendMSS := u32(connectionSendMSS)
	s.SendMSS, s.ReceiveMSS = sendMSS, u32(connectionReceiveMSS)
	s.Lost = u32(connectionLost)
	s.CongestionWindow = uint64(u32(connectionCwnd)) * uint64(sendMSS)
	s.Retransmits = uint64(u32(connectionTotalRetrans))
	if rtt := u32(connectionSRTT) >> 3; rtt != 0 {
		s.SmoothedRTT, s.RTTVariation = micros(rtt), micros(u32(connectionMdev)>>2)
		fields = fields.With(tcp.FieldSmoothedRTT).With(tcp.FieldRTTVariation)
		if least := u32(connectionMinRTT); least != math.MaxUint32 {
			s.MinRTT = micros(least)
			fields = fields.With(tcp.FieldMinRTT)
		}
	}
	if ssthresh := u32(connectionSsthresh); ssthresh < infiniteSsthresh {
		s.SlowStartThreshold = uint64(ssthresh) * uint64(sendMSS)
		fields = fields.With(tcp.FieldSlowStartThreshold)
	}
	// Before the handshake is through, the kernel counts these from its own boot.
	if s.State != tcp.SynSent && s.State != tcp.SynReceived {
		s.SinceDataSent = d.jiffies(u32(connectionSinceSent)).Truncate(time.Millisecond)
		s.SinceDataReceived = d.jiffies(u32(connectionSinceReceived)).Truncate(time.Millisecond)
		s.SinceACKReceived = d.jiffies(u32(connectionSinceAcked)).Truncate(time.Millisecond)
		fields = fields.With(tcp.FieldSinceDataSent).With(tcp.FieldSinceDataReceived).With(tcp.FieldSinceACKReceived)
	}
	if rate := u64(connectionPacingRate); rate != math.MaxUint64 {
		s.PacingRate = rate
		fields = fields.With(tcp.FieldPacingRate)
	}
	// As tcp_compute_delivery_rate.
	if interval := u32(connectionRateIntervalUs); interval != 0 {
		rate := uint64(u32(connectionRateDelivered)) * uint64(sendMSS) * uint64(time.Second/time.Microsecond) / uint64(interval)
		if rate != 0 {
			s.DeliveryRate = rate
			fields = fields.With(tcp.FieldDeliveryRate)
		}
	}

	s.BytesSent, s.BytesRetransmitted = u64(connectionBytesSent), u64(connectionBytesRetrans)
	s.BytesAcked, s.BytesReceived = u64(connectionBytesAcked), u64(connectionBytesReceived)
	// The kernel counts a FIN as one byte.
	if s.State.OwnFinAcked() && s.BytesAcked > 0 {
		s.BytesAcked--
	}
	if b[headFlags]&flagFINReceived != 0 && s.BytesReceived > 0 {
		s.BytesReceived--
	}
	s.SegmentsSent, s.SegmentsReceived = uint64(u32(connectionSegsOut)), uint64(u32(connectionSegsIn))
	s.Unsent = u32(connectionNotsent)
	busy, byWindow, byBuffer := d.jiffies(u32(connectionChrono)), d.jiffies(u32(connectionChrono+4)), d.jiffies(u32(connectionChrono+8))
	s.BusyTime, s.ReceiveWindowLimited, s.SendBufferLimited = busy+byWindow+byBuffer, byWindow, byBuffer
	s.DeliveredCE = uint64(u32(connectionDeliveredCE))
	if b[headFlags]&flagReceivedCE != 0 {
		s.ReceivedCE = uint64(u32(connectionReceivedCE))
		fields = fields.With(tcp.FieldReceivedCE)
	}
	switch {
	case s.State == tcp.SynSent:
		s.RetransmitsBy[tcp.SYNRetransmit] = s.Retransmits // it has sent nothing else
		fields = fields.With(tcp.FieldRetransmitsBy)
	case b[headFlags]&flagRetransmits != 0:
		for i := range s.RetransmitsBy {
			s.RetransmitsBy[i] = uint64(u32(connectionRetransmits + 4*i))
		}
		fields = fields.With(tcp.FieldRetransmitsBy)
	}
	s.SpuriousRetransmits = uint64(u32(connectionDSACKDups))
	s.OutOfOrder = uint64(u32(connectionOutOfOrder))
	s.SendWindow, s.ReceiveWindow = u32(connectionSendWindow), u32(connectionReceiveWindow)
	if b[headFlags]&flagTotalRTO != 0 {
		s.Timeouts = uint64(u32(connectionTotalRTO))
		fields = fields.With(tcp.FieldTimeouts)
	}
	s.ReceiveBufferUsage, s.SendBufferUsage = tcp.LinuxQueues(s.State, u32(connectionReceiveQueue), u32(connectionSendQueue))
	s.ReceiveBufferLimit, s.SendBufferLimit = u32(connectionReceiveLimit), u32(connectionSendLimit)
	s.CongestionControl = d.names.Of(b[connectionCongestion:connectionLen])
	s.Fields = fields
}

// jiffies is a time that the kernel counts in its ticks.
func (d *decoder) jiffies(n uint32) time.Duration { return time.Duration(n) * d.jiffy }
