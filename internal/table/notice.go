// SPDX-License-Identifier: Apache-2.0

package table

import (
	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// Find returns a connection or listener, nil if there is none.
func (t *Table) Find(id tcp.Identity) *Connection {
	// Before Linux 5.4 the sockets of each network namespace have cookies of their own.
	if c := t.index[id.Cookie]; c != nil && c.ID == id {
		return c
	}
	return nil
}

// Has reports whether the table has a connection, or one that has ended and of
// which more may come.
func (t *Table) Has(s *tcp.Socket) bool {
	t.identify(s)
	if _, ok := t.index[s.ID.Cookie]; ok {
		return true
	}
	_, ok := t.endings.index[s.ID.Cookie]
	return ok
}

// Notice takes the kernel's notice that a socket was destroyed, with its last
// counters, and ends the connection; one that no dump has had is counted whole.
//
// Notices of sockets that never were a connection or an attempt at one are passed
// over, and so are those of what was gone before the first dump.
//
// It returns false if it cannot be said yet which end of the connection this host
// had: it did nothing then, and the notice is to be given again after the next
// dump, which may see the listener; with last it decides all the same.
func (t *Table) Notice(n *tcp.Notice, last bool) bool {
	t.identify(&n.Socket)
	c, known := t.index[n.ID.Cookie]
	switch {
	case known && c.State == tcp.Listen:
		t.gone(c)
	case known:
		t.endLive(c, n)
	case n.Peer.Port() == 0:
		// A listener, or a socket that was not connected.
	default:
		if c, ok := t.endings.index[n.ID.Cookie]; ok {
			t.endAgain(c, n)
			return true
		}
		return t.endUnknown(n, last)
	}
	return true
}

// Vacate notes that a connection has ended of which the notice is still to be given:
// who took its descriptor is looked for before. A dump of [Table.BeginMoved] does not
// show that it is missing.
func (t *Table) Vacate(s *tcp.Socket) {
	t.identify(s)
	if c := t.index[s.ID.Cookie]; c != nil && c.missing == 0 && c.Owner.Process != nil {
		t.freed = append(t.freed, c.Owner)
	}
}

// endLive ends a connection that the table has.
func (t *Table) endLive(c *Connection, n *tcp.Notice) {
	switch {
	case n.Peer.Port() == 0:
		// A socket that its process reset (SO_LINGER 0) is disconnected first: the
		// kernel has forgotten its peer and its counters.
		n.Local, n.Peer, n.Fields = c.Local, c.Peer, 0
		if n.Cause == tcp.UnknownCause {
			n.Cause = tcp.LocalReset
		}
	case c.marks.has(leftover):
		// The dump came before its notice: it has all that the dump did not.
		c.marks &^= leftover | ended | opened | established
		if c.marks.has(unwanted) { // it may be wanted, now that more is known of it
			c.marks &^= unwanted | reported
			c.Role, c.told = tcp.NoRole, event.NoState
		}
		c.IsNew = !c.marks.has(older) && t.isNew(n)
		if !c.IsNew {
			c.counted, c.BytesSent, c.BytesReceived, c.Retransmits = n.BytesReceived, n.BytesSent, n.BytesReceived, n.Retransmits
			t.opts.Slots.begin(c.Slot, &n.Socket)
		}
	case c.marks.has(ended):
		return // what is left of one that a notice has ended already
	case c.replacedBy(&n.Socket) && c.known != 0:
		t.lost(c)
		if ended, ok := t.endings.index[n.ID.Cookie]; ok {
			t.endOfEnding(ended)
		}
		t.endUnknown(n, true)
		return
	}
	// The last dump had what the kernel keeps of it for a while: so has the table.
	stays := c.pass == t.pass && c.Fields == 0 && (c.State == tcp.TimeWait || c.State == tcp.FinWait2)
	t.take(c, n)
	t.finish(c, n, stays)
	if stays {
		c.Fields, c.changed = 0, t.number // what is left of it has none of these numbers
		t.free(c)
		return
	}
	t.leave(c)
}

// take takes over the last counters of a connection.
func (t *Table) take(c *Connection, n *tcp.Notice) {
	if c.Role == tcp.NoRole {
		c.Role = t.roleOfNotice(n, c.State)
	}
	if connected(n) {
		t.establish(c)
	}
	if n.Fields == 0 {
		return
	}
	if !n.WithoutFINs {
		t.withoutFINs(n, c)
	}
	last, inode := c.State, c.Inode
	n.State = last
	t.update(c, &n.Socket, true)
	c.Inode = inode
}

// endAgain takes a notice of a connection that has ended: late, or twice.
func (t *Table) endAgain(c *Connection, n *tcp.Notice) {
	if c.place == leaving {
		return
	}
	if n.Peer.Port() != 0 && !c.replacedBy(&n.Socket) {
		if !c.marks.has(established) {
			c.marks |= opened // it was reported to have failed: what does not end does not open
		}
		t.take(c, n)
		t.progress(c, event.NoState)
	}
	t.endOfEnding(c)
}

// endUnknown counts a connection, or an attempt at one, that no dump had.
func (t *Table) endUnknown(n *tcp.Notice, last bool) bool {
	if !t.isNew(n) {
		return true
	}
	role := t.roleOfNotice(n, tcp.Closed)
	established := connected(n)
	if role == tcp.NoRole {
		if _, accepted := t.accepts(n.Local); !accepted && established && !last {
			return false
		}
	}
	s := &n.Socket
	c := t.fresh(s)
	c.Role, c.IsNew, c.pass = role, true, t.pass
	c.Local, c.Peer, c.State = s.Local, s.Peer, n.Left
	if c.Details = nil; t.wantsDetails(c.State) {
		c.Details = &event.Details{FirstSeen: t.began, Start: t.complete}
	}
	t.settleRole(c)
	if established {
		t.establish(c)
	} else if c.State == tcp.Closed {
		c.State = tcp.SynSent
	}
	if !n.WithoutFINs {
		t.withoutFINs(n, c)
	}
	left := c.State
	t.keep(c, s)
	c.State = left
	t.opts.Mirrors.add(t, c)
	c.unreported.BytesSent, c.unreported.BytesReceived, c.unreported.Retransmits = s.BytesSent, s.BytesReceived, s.Retransmits
	c.counted = s.BytesReceived
	t.grow(c, s)
	t.finish(c, n, false)
	t.leave(c)
	return true
}

// isNew reports whether a connection that no dump had began since the first one.
// One that was active since then would be remembered if a dump had seen it. One
// that was not was reset, or timed out, before: its owner has closed it only now.
func (t *Table) isNew(n *tcp.Notice) bool {
	if t.complete.IsZero() {
		return false
	}
	ago, ok := n.LastActivity()
	at := n.Ended
	if at.IsZero() {
		at = n.Seen
	}
	if !ok || at.IsZero() {
		return true
	}
	return !at.Add(-ago).Before(t.epoch)
}

// roleOfNotice returns the role that a notice shows by itself. last is the state
// that was seen last, if any was.
func (t *Table) roleOfNotice(n *tcp.Notice, last tcp.State) tcp.Role {
	switch {
	case n.Role != tcp.NoRole:
		return n.Role
	case n.Left == tcp.SynSent, last == tcp.SynSent:
		return tcp.Client
	case n.Left == tcp.SynReceived, last == tcp.SynReceived:
		return tcp.Server
	}
	return n.RoleEvidence(last)
}

// connected reports whether a notice shows a handshake.
func connected(n *tcp.Notice) bool {
	if n.NeverEstablished || n.Failure != tcp.NoFailure {
		return false
	}
	yes, _ := n.Connected()
	return yes
}

// withoutFINs takes the FINs off a notice's counters, of which each is a byte to
// the kernel. The notice itself does not say whether they came. The peer's
// has come if the last state shows it, or if our own was acknowledged; for
// connections closed in order nearly always. It is one byte too many off where our
// side was closed first and the peer's FIN came only after the kernel had shrunk
// our socket to TIME_WAIT's size.
func (t *Table) withoutFINs(n *tcp.Notice, c *Connection) {
	s := &n.Socket
	if !s.Has(tcp.FieldBytesAcked) || !s.Has(tcp.FieldBytesSent) {
		return
	}
	beyond := int64(s.BytesAcked) - int64(s.BytesSent-s.BytesRetransmitted)
	if c.Role == tcp.Client || c.Role == tcp.NoRole && !t.isAccepted(c) {
		beyond-- // the SYN
	}
	ownAcked := beyond > 0
	if ownAcked {
		s.BytesAcked--
	}
	if s.BytesReceived > 0 && (ownAcked || c.State.PeerFinReceived()) {
		s.BytesReceived--
	}
}

// isAccepted reports whether there is a listener that may have accepted a
// connection.
func (t *Table) isAccepted(c *Connection) bool {
	_, ok := t.accepts(c.Local)
	return ok
}
