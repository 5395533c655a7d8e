// SPDX-License-Identifier: Apache-2.0

package kmod

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// Decoder decodes records. It keeps the names it has seen, so that records of
// the same names allocate nothing.
type Decoder struct {
	// Zone names the interface of a link-local address.
	Zone func(index uint32) string

	socket tcp.Socket
	vnet   uint32 // the reader's
	names  source.Interner
}

// NewDecoder returns a decoder.
func NewDecoder() *Decoder {
	return &Decoder{names: make(source.Interner)}
}

// record decodes one record, of recordLenV1 bytes or more, into d.socket.
func (d *Decoder) record(b []byte) error {
	if len(b) < recordLenV1 {
		return fmt.Errorf("record of %d bytes, wants %d", len(b), recordLenV1)
	}
	state := tcp.State(b[atState]) // <netinet/tcp_fsm.h> has the same numbers
	if state >= tcp.NumStates {
		return fmt.Errorf("record of TCP state %d", b[atState])
	}
	if v := b[atIPVersion]; v != 4 && v != 6 {
		return fmt.Errorf("record of IP version %d", v)
	}
	u16 := func(at int) uint16 { return binary.NativeEndian.Uint16(b[at:]) }
	u32 := func(at int) uint32 { return binary.NativeEndian.Uint32(b[at:]) }
	u64 := func(at int) uint64 { return binary.NativeEndian.Uint64(b[at:]) }

	s := &d.socket
	*s = tcp.Socket{
		ID:                tcp.Identity{Cookie: u64(atGencnt)},
		UID:               u32(atUID),
		State:             state,
		Local:             netip.AddrPortFrom(d.addr(b, atLocal), u16(atLocalPort)),
		Peer:              netip.AddrPortFrom(d.addr(b, atPeer), u16(atPeerPort)),
		CongestionControl: d.names.Of(b[atCongestion : atCongestion+16]),
		Stack:             d.names.Of(b[atStack : atStack+32]),
	}
	// The reader's own vnet is 0, as with other sources, so that a connection
	// keeps its identity when one takes over from another. Only the host, whose
	// vnet is 0, may see others.
	if vnet := u32(atVnet); vnet != d.vnet {
		s.ID.Namespace = uint64(vnet)
	}
	if u32(atFlags)&(flagNotAccepted|flagNoFD) == 0 {
		s.Inode = u64(atSocket)
	}

	valid := u32(atValid)
	if valid&validQueue != 0 {
		s.QueueLength, s.QueueLimit = u32(atQueue)+u32(atIncomplete), tcp.FreeBSDQueueLimit(u32(atQueueLimit))
		s.Fields = s.Fields.With(tcp.FieldQueueLength).With(tcp.FieldQueueLimit)
	}
	if state == tcp.Listen {
		return nil
	}
	if valid&validSequences != 0 {
		d.bytes(b, valid)
	}
	if valid&validTCB == 0 {
		return nil
	}
	if valid&validAge != 0 {
		s.Age = micros(u64(atAge))
		s.Fields = s.Fields.With(tcp.FieldAge)
	}
	d.counters(b, valid)
	// TIME_WAIT keeps its numbers from 14 on, but nothing moves any more.
	if state != tcp.TimeWait {
		d.moment(b, valid)
	}
	return nil
}

// infinite is TCP_MAXWIN << TCP_MAX_WINSHIFT: a window that has not been set
// yet.
const infinite = 65535 << 14

// moment decodes what is of this moment.
func (d *Decoder) moment(b []byte, valid uint32) {
	u32 := func(at int) uint32 { return binary.NativeEndian.Uint32(b[at:]) }
	s := &d.socket
	fields := s.Fields
	if valid&validBuffers != 0 {
		s.ReceiveBufferUsage, s.ReceiveBufferLimit = u32(atRecvUsed), u32(atRecvLimit)
		s.SendBufferUsage, s.SendBufferLimit = u32(atSendUsed), u32(atSendLimit)
		fields = fields.With(tcp.FieldReceiveBufferUsage).With(tcp.FieldReceiveBufferLimit).
			With(tcp.FieldSendBufferUsage).With(tcp.FieldSendBufferLimit)
	}
	if valid&validRTO != 0 {
		s.RTO = micros(uint64(u32(atRTO)))
		fields = fields.With(tcp.FieldRTO)
	}
	// What TCP sets only in the handshake is not known before it.
	if s.State == tcp.Closed || s.State == tcp.SynSent {
		s.Fields = fields
		return
	}
	if valid&validBuffers != 0 {
		// What is in the buffer and not in flight. A FIN in flight is no byte.
		inFlight := u32(atSendMax) - u32(atSendUna)
		if u32(atFlags)&flagSentFin != 0 && inFlight > 0 {
			inFlight--
		}
		if used := s.SendBufferUsage; used > inFlight {
			s.Unsent = used - inFlight
		}
		fields = fields.With(tcp.FieldUnsent)
	}
	if valid&validRTT != 0 {
		s.SmoothedRTT, s.RTTVariation = micros(uint64(u32(atSRTT))), micros(uint64(u32(atRTTVar)))
		fields = fields.With(tcp.FieldSmoothedRTT).With(tcp.FieldRTTVariation)
	}
	if valid&validRTTMin != 0 {
		s.MinRTT = micros(uint64(u32(atRTTMin)))
		fields = fields.With(tcp.FieldMinRTT)
	}
	if v := u32(atCwnd); v < infinite {
		s.CongestionWindow = uint64(v)
		fields = fields.With(tcp.FieldCongestionWindow)
	}
	if v := u32(atSsthresh); v < infinite {
		s.SlowStartThreshold = uint64(v)
		fields = fields.With(tcp.FieldSlowStartThreshold)
	}
	if rate := int64(binary.NativeEndian.Uint64(b[atPacingRate:])); valid&validPacing != 0 && rate > 0 {
		s.PacingRate = uint64(rate)
		fields = fields.With(tcp.FieldPacingRate)
	}
	s.SendMSS = u32(atMaxseg)
	s.SendWindow, s.ReceiveWindow = u32(atSendWnd), u32(atRecvWnd)
	s.SinceDataReceived = micros(binary.NativeEndian.Uint64(b[atIdleRecv:]))
	fields = fields.With(tcp.FieldSendMSS).With(tcp.FieldSendWindow).With(tcp.FieldReceiveWindow).With(tcp.FieldSinceDataReceived)
	if valid&validIdleSend != 0 {
		s.SinceDataSent = micros(binary.NativeEndian.Uint64(b[atIdleSend:]))
		fields = fields.With(tcp.FieldSinceDataSent)
	}
	s.Fields = fields
}

// counters decodes what grows, but for bytes.
func (d *Decoder) counters(b []byte, valid uint32) {
	u32 := func(at int) uint64 { return uint64(binary.NativeEndian.Uint32(b[at:])) }
	s := &d.socket
	s.Retransmits, s.OutOfOrder, s.ZeroWindows = u32(atRexmits), u32(atOutOfOrder), u32(atZeroWindows)
	s.Fields = s.Fields.With(tcp.FieldRetransmits).With(tcp.FieldOutOfOrder).With(tcp.FieldZeroWindows)
	if valid&validDSACK != 0 {
		s.SpuriousRetransmits = u32(atDSACKs)
		s.Fields = s.Fields.With(tcp.FieldSpuriousRetransmits)
	}
	if valid&validECN != 0 {
		s.DeliveredCE, s.ReceivedCE = u32(atDeliveredCE), u32(atReceivedCE)
		s.Fields = s.Fields.With(tcp.FieldDeliveredCE).With(tcp.FieldReceivedCE)
	}
}

// addr reads an address as it is on the wire.
func (d *Decoder) addr(b []byte, at int) netip.Addr {
	if b[atIPVersion] == 4 {
		return netip.AddrFrom4([4]byte(b[at : at+4]))
	}
	zone := binary.NativeEndian.Uint32(b[atZone:])
	name := d.Zone
	switch {
	case name == nil:
		zone = 0
	case binary.NativeEndian.Uint32(b[atVnet:]) != d.vnet:
		name = unnamedZone // another vnet has other interfaces
	}
	return source.IPv6([16]byte(b[at:at+16]), zone, name)
}

// unnamedZone is the number of an interface.
func unnamedZone(index uint32) string { return strconv.FormatUint(uint64(index), 10) }

func micros(v uint64) time.Duration {
	return time.Duration(min(v, math.MaxInt64/1000)) * time.Microsecond
}
