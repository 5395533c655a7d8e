package table

import "github.com/netpulse/tcpstatsreceiver/internal/tcp"

// replacedBy tells whether s, though of the same identity, is another
// connection: one with other endpoints, held through another inode (where the
// identity is made of the endpoints), or counting from 0 again (a socket that
// was disconnected and connected anew).
func (c *Connection) replacedBy(s *tcp.Socket) bool {
	return c.Local != s.Local || c.Peer != s.Peer ||
		c.Inode != 0 && s.Inode != 0 && c.Inode != s.Inode ||
		s.Has(tcp.FieldBytesSent) && s.BytesSent < c.BytesSent
}

// update takes a new sample, whose counters it unwraps in place. A counter that
// the sample does not have (TIME_WAIT has none) keeps its last value, so that a
// later sample goes on from there. sure is how many of the bytes received may
// be counted now.
func (c *Connection) update(s *tcp.Socket, sure uint64) {
	// A FIN that arrived between the kernel's reading the state and the counters
	// is taken off one sample late: hold the value rather than let it fall.
	s.BytesReceived = continued(s, tcp.FieldBytesReceived, c.BytesReceived, max(c.BytesReceived, s.BytesReceived))
	s.BytesSent = continued(s, tcp.FieldBytesSent, c.BytesSent, s.BytesSent)
	s.Retransmits = unwrapped[uint32](c, s, tcp.FieldRetransmits, c.Retransmits, s.Retransmits)

	grew := Delta{
		BytesSent:     s.BytesSent - c.BytesSent,
		BytesReceived: s.BytesReceived - c.BytesReceived,
		Retransmits:   s.Retransmits - c.Retransmits,
	}
	if c.Details != nil {
		c.continueDetails(s)
		c.Delta.add(grew)
	}
	counted := max(c.counted, sure)
	grew.BytesReceived, c.counted = counted-c.counted, counted
	c.Uncounted.add(grew)

	c.known |= s.Fields
	c.keep(s)
}

// continueDetails unwraps the counters that only Details has.
func (c *Connection) continueDetails(s *tcp.Socket) {
	old := &c.Sample
	s.BytesAcked = continued(s, tcp.FieldBytesAcked, old.BytesAcked, max(old.BytesAcked, s.BytesAcked))
	s.SegmentsSent = unwrapped[uint32](c, s, tcp.FieldSegmentsSent, old.SegmentsSent, s.SegmentsSent)
	s.SegmentsReceived = unwrapped[uint32](c, s, tcp.FieldSegmentsReceived, old.SegmentsReceived, s.SegmentsReceived)
	s.SpuriousRetransmits = unwrapped[uint32](c, s, tcp.FieldSpuriousRetransmits, old.SpuriousRetransmits, s.SpuriousRetransmits)
	s.OutOfOrder = unwrapped[uint32](c, s, tcp.FieldOutOfOrder, old.OutOfOrder, s.OutOfOrder)
	s.ZeroWindows = unwrapped[uint32](c, s, tcp.FieldZeroWindows, old.ZeroWindows, s.ZeroWindows)
	s.DeliveredCE = unwrapped[uint32](c, s, tcp.FieldDeliveredCE, old.DeliveredCE, s.DeliveredCE)
	s.ReceivedCE = unwrapped[uint32](c, s, tcp.FieldReceivedCE, old.ReceivedCE, s.ReceivedCE)
	s.Timeouts = unwrapped[uint16](c, s, tcp.FieldTimeouts, old.Timeouts, s.Timeouts) // u16 tcpi_total_rto
}

// keep takes over a sample, whose counters continue the last one's.
func (c *Connection) keep(s *tcp.Socket) {
	c.Local, c.Peer, c.Inode, c.State, c.Fields = s.Local, s.Peer, s.Inode, s.State, s.Fields
	c.CongestionControl, c.Stack, c.SmoothedRTT = s.CongestionControl, s.Stack, s.SmoothedRTT
	c.BytesSent, c.BytesReceived, c.Retransmits = s.BytesSent, s.BytesReceived, s.Retransmits
	if c.Details != nil {
		c.Sample = *s
	}
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

// unwrapped continues a counter of which the kernel shows only the low bits.
func unwrapped[W uint16 | uint32](c *Connection, s *tcp.Socket, f tcp.Field, old, now uint64) uint64 {
	if s.Has(f) && c.known.Has(f) {
		now = old + uint64(W(now)-W(old))
	}
	return continued(s, f, old, now)
}

func (d *Delta) add(more Delta) {
	d.BytesSent += more.BytesSent
	d.BytesReceived += more.BytesReceived
	d.Retransmits += more.Retransmits
}
