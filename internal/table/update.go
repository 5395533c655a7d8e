// SPDX-License-Identifier: Apache-2.0

package table

import (
	"math"
	"net/netip"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// replacedBy reports whether s, though of the same identity, is another
// connection: one with other endpoints, held through another inode (where the
// identity is made of the endpoints), counting from 0 again (a socket that was
// disconnected and connected anew), or in a state that does not come after the
// last one's.
func (c *Connection) replacedBy(s *tcp.Socket) bool {
	return c.Local != s.Local || c.Peer != s.Peer ||
		c.Inode != 0 && s.Inode != 0 && c.Inode != s.Inode ||
		s.Has(tcp.FieldBytesSent) && !s.Low32.Has(tcp.FieldBytesSent) && s.BytesSent < c.BytesSent ||
		startsAnew(c.State, s.State)
}

// startsAnew reports whether no connection goes from one state to the other
// (RFC 9293 §3.3.2): another one has its endpoints now.
func startsAnew(old, now tcp.State) bool {
	switch now {
	case tcp.SynSent, tcp.SynReceived:
		// A simultaneous open goes from the one to the other.
		return old != tcp.SynSent && old != tcp.SynReceived && old != tcp.Closed
	case tcp.Established:
		return closedHere(old) || closedByPeer(old)
	case tcp.FinWait1, tcp.FinWait2, tcp.Closing:
		return closedByPeer(old) || old == tcp.TimeWait
	case tcp.TimeWait:
		return closedByPeer(old)
	case tcp.CloseWait, tcp.LastAck:
		return closedHere(old)
	}
	return false
}

// closedHere reports whether this side has closed first, or at the same time.
func closedHere(s tcp.State) bool {
	switch s {
	case tcp.FinWait1, tcp.FinWait2, tcp.Closing, tcp.TimeWait:
		return true
	}
	return false
}

// closedByPeer reports whether the peer has closed first.
func closedByPeer(s tcp.State) bool { return s == tcp.CloseWait || s == tcp.LastAck }

// update takes a new sample, whose counters it unwraps in place. A counter that
// the sample does not have (TIME_WAIT has none) keeps its last value, so that a
// later sample goes on from there. last says that there will be no later one.
func (t *Table) update(c *Connection, s *tcp.Socket, last bool) {
	if s.Low32.Has(tcp.FieldBytesReceived) {
		s.BytesReceived = c.bytes(s, tcp.FieldBytesReceived, c.BytesReceived, s.BytesReceived)
	}
	sure := t.sure(s)
	if last {
		sure = s.BytesReceived
	}
	// A FIN that arrived between the kernel's reading the state and the counters
	// is taken off one sample late: hold the value rather than let it fall.
	s.BytesReceived = continued(s, tcp.FieldBytesReceived, c.BytesReceived, max(c.BytesReceived, s.BytesReceived))
	s.BytesSent = c.bytes(s, tcp.FieldBytesSent, c.BytesSent, s.BytesSent)
	s.Retransmits = unwrapped[uint32](c, s, tcp.FieldRetransmits, c.Retransmits, s.Retransmits)
	grew := event.Delta{
		BytesSent:     s.BytesSent - min(c.BytesSent, s.BytesSent),
		BytesReceived: s.BytesReceived - c.BytesReceived,
		Retransmits:   s.Retransmits - c.Retransmits,
	}
	switch {
	case c.Details != nil:
		c.continueDetails(s)
		c.Delta.Add(grew)
	case t.wantsDetails(s.State):
		c.Details = t.detailsOf(c, grew)
	}
	counted := max(c.counted, sure)
	grew.BytesReceived, c.counted = counted-c.counted, counted
	if last && s.Has(tcp.FieldBytesReceived) {
		s.BytesReceived = counted // without a FIN that an earlier sample may have had in it
	}
	c.unreported.Add(grew)
	t.grow(c, s)
	c.known |= s.Fields
	t.keep(c, s)
}

// continueDetails unwraps the counters that only Details has.
func (c *Connection) continueDetails(s *tcp.Socket) {
	old := &c.Sample
	s.BytesAcked = max(old.BytesAcked, c.bytes(s, tcp.FieldBytesAcked, old.BytesAcked, s.BytesAcked))
	s.BytesRetransmitted = max(old.BytesRetransmitted, c.bytes(s, tcp.FieldBytesRetransmitted, old.BytesRetransmitted, s.BytesRetransmitted))
	s.SegmentsSent = unwrapped[uint32](c, s, tcp.FieldSegmentsSent, old.SegmentsSent, s.SegmentsSent)
	s.SegmentsReceived = unwrapped[uint32](c, s, tcp.FieldSegmentsReceived, old.SegmentsReceived, s.SegmentsReceived)
	s.SpuriousRetransmits = unwrapped[uint32](c, s, tcp.FieldSpuriousRetransmits, old.SpuriousRetransmits, s.SpuriousRetransmits)
	s.OutOfOrder = unwrapped[uint32](c, s, tcp.FieldOutOfOrder, old.OutOfOrder, s.OutOfOrder)
	s.ZeroWindows = unwrapped[uint32](c, s, tcp.FieldZeroWindows, old.ZeroWindows, s.ZeroWindows)
	s.Drops = unwrapped[uint32](c, s, tcp.FieldDrops, old.Drops, s.Drops)
	s.DeliveredCE = unwrapped[uint32](c, s, tcp.FieldDeliveredCE, old.DeliveredCE, s.DeliveredCE)
	s.ReceivedCE = unwrapped[uint32](c, s, tcp.FieldReceivedCE, old.ReceivedCE, s.ReceivedCE)
	s.Timeouts = unwrapped[uint16](c, s, tcp.FieldTimeouts, old.Timeouts, s.Timeouts) // u16 tcpi_total_rto
}

// keep takes over a sample, whose counters continue the last one's.
func (t *Table) keep(c *Connection, s *tcp.Socket) {
	if c.place >= 0 {
		t.steady(c, c.State, s.State)
	}
	c.Local, c.Peer, c.State, c.Inode, c.Fields = s.Local, s.Peer, s.State, s.Inode, s.Fields
	if c.Traits == nil || c.CongestionControl != s.CongestionControl || c.Stack != s.Stack {
		c.Traits, c.changed = t.traitsOf(s), t.number
	}
	if s.Has(tcp.FieldSmoothedRTT) || c.known == 0 {
		c.SmoothedRTT = s.SmoothedRTT
	}
	c.BytesSent, c.BytesReceived, c.Retransmits = s.BytesSent, s.BytesReceived, s.Retransmits
	if c.Details != nil {
		if differs(&c.Sample, s) {
			c.changed = t.number
		}
		c.At, c.Sample = t.began, *s
		// Once is enough: the garbage collector follows each pointer.
		c.Sample.Local, c.Sample.Peer, c.Sample.CongestionControl, c.Sample.Stack = netip.AddrPort{}, netip.AddrPort{}, "", ""
	}
}

// differs reports whether a sample has something else than the one before, apart from
// how much time has passed. It gives the one before what must not count, which is
// compared elsewhere or will be replaced anyway: then every value counts that a sample
// may have, a new one as well.
func differs(old, now *tcp.Socket) bool {
	old.Local, old.Peer, old.CongestionControl, old.Stack = now.Local, now.Peer, now.CongestionControl, now.Stack
	old.Age, old.SinceDataSent, old.SinceDataReceived, old.SinceACKReceived = now.Age, now.SinceDataSent, now.SinceDataReceived, now.SinceACKReceived
	return *old != *now
}

// maxTraits is how many are remembered to be shared.
const maxTraits = 1024

func (t *Table) traitsOf(s *tcp.Socket) *event.Traits {
	key := event.Traits{CongestionControl: s.CongestionControl, Stack: s.Stack}
	if shared, ok := t.traits[key]; ok {
		return shared
	}
	if len(t.traits) >= maxTraits {
		clear(t.traits)
	}
	shared := new(event.Traits)
	*shared = key
	t.traits[key] = shared
	return shared
}

// continued returns a counter's value now: the last one where the sample does
// not have it. One that no sample had before began at 0, as in a socket that
// was an embryo (SYN_RECEIVED) until now.
func continued(s *tcp.Socket, f tcp.Field, old, now uint64) uint64 {
	if !s.Has(f) {
		return old
	}
	return now
}

// maxFall is by how much a 32-bit counter of bytes may seem to fall, as by the
// FIN that is taken off when its connection is reset, and not be thought to have
// wrapped.
const maxFall = uint32(1 << 16)

// bytes returns a counter of bytes now, of which the source may have the low 32
// bits alone.
func (c *Connection) bytes(s *tcp.Socket, f tcp.Field, old, now uint64) uint64 {
	if s.Has(f) && s.Low32.Has(f) && c.known.Has(f) {
		grew := uint32(now) - uint32(old)
		if grew > math.MaxUint32-maxFall {
			grew = 0
		}
		now = old + uint64(grew)
	}
	return continued(s, f, old, now)
}

// unwrapped continues a counter of which the kernel shows only the low bits. One
// that has fallen by less than half of its range began anew, with another attempt to
// connect, and is held until it has caught up.
func unwrapped[W uint16 | uint32](c *Connection, s *tcp.Socket, f tcp.Field, old, now uint64) uint64 {
	if s.Has(f) && c.known.Has(f) {
		grew := W(now) - W(old)
		if grew > ^W(0)/2 {
			grew = 0
		}
		now = old + uint64(grew)
	}
	return continued(s, f, old, now)
}
