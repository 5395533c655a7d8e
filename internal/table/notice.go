package table

import "github.com/netpulse/tcpstatsreceiver/internal/tcp"

// Notified tells the table whether it will be given a notice of every close.
func (t *Table) Notified(yes bool) { t.notified = yes }

// Has tells whether the table has a connection.
func (t *Table) Has(id tcp.Identity) bool {
	_, ok := t.index[id.Cookie]
	return ok
}

// Begun tells whether there was a complete dump: before it, nobody knows what
// is new.
func (t *Table) Begun() bool { return !t.complete.IsZero() }

// Awaits tells whether a new connection without an owner may soon have one: it
// is about to be accepted, or it has ended and its notice will tell whose it
// was.
func (t *Table) Awaits(c *Connection) bool {
	return t.notified && c.IsNew && (c.known != 0 || c.State == tcp.SynReceived) && t.clock()-c.born < noticeGrace
}

// Notice takes the kernel's notice that a socket was destroyed, with its last
// counters, and closes the connection; one that no dump has had is counted
// whole. accepted tells whether the connection came by a listener of this host.
//
// Notices of sockets that never were a connection are passed over: listeners,
// sockets that were not connected or whose connecting failed. So are those of
// what was gone before the first dump.
func (t *Table) Notice(s *tcp.Socket, accepted bool) {
	c, ok := t.index[s.ID.Cookie]
	if ok && c.State == tcp.Listen {
		t.remove(c, s.Holder)
		return
	}
	if s.Peer.Port() == 0 {
		// A socket that its process reset (SO_LINGER 0) is disconnected first:
		// the kernel has forgotten its peer and its counters.
		if ok {
			t.remove(c, s.Holder)
		}
		return
	}
	last := tcp.Closed
	if ok {
		last = c.State
		if c.pass == t.pass && c.Fields == 0 && (last == tcp.TimeWait || last == tcp.FinWait2) {
			// The last dump had what the kernel keeps of it for a while: so has the
			// table, without its counters.
			defer t.add(&tcp.Socket{ID: c.ID, Local: c.Local, Peer: c.Peer, State: last})
		}
	}
	if !s.WithoutFINs {
		withoutFins(s, last, accepted)
	}
	switch {
	case ok && c.known != 0 && !c.replacedBy(s):
		if s.SegmentsReceived > 0 {
			s.State = tcp.Closed
		} else {
			s.State = c.State // never more than a SYN
		}
		s.Inode = c.Inode
		c.update(s, s.BytesReceived)
		t.remove(c, s.Holder)
	case ok:
		// Only what was left of it has been seen, an embryo or TIME_WAIT.
		t.remove(c, s.Holder)
		t.whole(s)
	case !t.complete.IsZero():
		t.whole(s)
	}
}

// whole counts a connection that no dump had.
func (t *Table) whole(s *tcp.Socket) {
	if s.SegmentsReceived == 0 {
		return
	}
	c := &Connection{
		ID: s.ID, IsNew: true,
		Uncounted: Delta{BytesSent: s.BytesSent, BytesReceived: s.BytesReceived, Retransmits: s.Retransmits},
	}
	c.keep(s)
	t.opts.Closed(c, s.Holder)
}

// withoutFins takes the FINs off a notice's counters, of which each is a byte
// to the kernel. The notice itself does not say whether they came, so: the
// peer's has come if the last state tells it, or if our own was acknowledged;
// for connections close in order nearly always. It is one byte too many off
// where our side was closed first and the peer's FIN came only after the
// kernel had shrunk our socket to TIME_WAIT's size.
func withoutFins(s *tcp.Socket, last tcp.State, accepted bool) {
	if !s.Has(tcp.FieldBytesAcked) || !s.Has(tcp.FieldBytesSent) {
		return
	}
	beyond := int64(s.BytesAcked) - int64(s.BytesSent-s.BytesRetransmitted)
	if !accepted {
		beyond-- // the SYN
	}
	ownAcked := beyond > 0
	if ownAcked {
		s.BytesAcked--
	}
	if s.BytesReceived > 0 && (ownAcked || last.PeerFinReceived()) {
		s.BytesReceived--
	}
}
