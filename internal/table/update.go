package table

import "github.com/netpulse/tcpstatsreceiver/internal/tcp"

// replacedBy tells whether s, though of the same identity, is another
// connection: one with other endpoints, held through another inode (where the
// identity is made of the endpoints), or counting from 0 again (a socket that
// was disconnected and connected anew).
func (c *Connection) replacedBy(s *tcp.Socket) bool {
	return c.Local != s.Local || c.Peer != s.Peer ||
		c.Inode != 0 && s.Inode != 0 && c.Inode != s.Inode ||
		c.Has(tcp.FieldBytesSent) && s.Has(tcp.FieldBytesSent) && s.BytesSent < c.BytesSent
}

// update takes a new sample, whose counters it unwraps in place.
func (c *Connection) update(s *tcp.Socket) {
	// A counter that was not there before belongs to a socket that was an embryo
	// (SYN_RECEIVED) until now: it began at 0.
	grown := func(f tcp.Field, old, now uint64) uint64 {
		switch {
		case !s.Has(f):
			return 0
		case !c.Has(f):
			return now
		}
		return now - old
	}

	// A FIN that arrived between the kernel's reading the state and the counters
	// is taken off one sample late: hold the value rather than let it fall.
	s.BytesReceived = held(c, s, tcp.FieldBytesReceived, c.BytesReceived, s.BytesReceived)
	s.BytesAcked = held(c, s, tcp.FieldBytesAcked, c.BytesAcked, s.BytesAcked)

	s.SegmentsSent = unwrapped[uint32](c, s, tcp.FieldSegmentsSent, c.SegmentsSent, s.SegmentsSent)
	s.SegmentsReceived = unwrapped[uint32](c, s, tcp.FieldSegmentsReceived, c.SegmentsReceived, s.SegmentsReceived)
	s.Retransmits = unwrapped[uint32](c, s, tcp.FieldRetransmits, c.Retransmits, s.Retransmits)
	s.SpuriousRetransmits = unwrapped[uint32](c, s, tcp.FieldSpuriousRetransmits, c.SpuriousRetransmits, s.SpuriousRetransmits)
	s.OutOfOrder = unwrapped[uint32](c, s, tcp.FieldOutOfOrder, c.OutOfOrder, s.OutOfOrder)
	s.ZeroWindows = unwrapped[uint32](c, s, tcp.FieldZeroWindows, c.ZeroWindows, s.ZeroWindows)
	s.DeliveredCE = unwrapped[uint32](c, s, tcp.FieldDeliveredCE, c.DeliveredCE, s.DeliveredCE)
	s.ReceivedCE = unwrapped[uint32](c, s, tcp.FieldReceivedCE, c.ReceivedCE, s.ReceivedCE)
	s.Timeouts = unwrapped[uint16](c, s, tcp.FieldTimeouts, c.Timeouts, s.Timeouts) // u16 tcpi_total_rto

	grew := Delta{
		BytesSent:     grown(tcp.FieldBytesSent, c.BytesSent, s.BytesSent),
		BytesReceived: grown(tcp.FieldBytesReceived, c.BytesReceived, s.BytesReceived),
		Retransmits:   grown(tcp.FieldRetransmits, c.Retransmits, s.Retransmits),
	}
	c.Delta.add(grew)
	c.Uncounted.add(grew)

	c.Socket = *s
}

// held returns a 64-bit counter that is not let fall.
func held(c *Connection, s *tcp.Socket, f tcp.Field, old, now uint64) uint64 {
	if c.Has(f) && s.Has(f) {
		return max(old, now)
	}
	return now
}

// unwrapped continues a counter of which the kernel shows only the low bits.
func unwrapped[W uint16 | uint32](c *Connection, s *tcp.Socket, f tcp.Field, old, now uint64) uint64 {
	if c.Has(f) && s.Has(f) {
		return old + uint64(W(now)-W(old))
	}
	return now
}

func (d *Delta) add(more Delta) {
	d.BytesSent += more.BytesSent
	d.BytesReceived += more.BytesReceived
	d.Retransmits += more.Retransmits
}
