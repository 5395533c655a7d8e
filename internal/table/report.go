// SPDX-License-Identifier: Apache-2.0

package table

import (
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// events are the values that listeners are given, used again and again.
type events struct {
	progress event.Progress
	opened   event.Opened
	ended    event.Ended
	growth   event.Growth
}

// queue has a connection reported by the next Report.
func (t *Table) queue(c *Connection) {
	if !c.marks.has(onReport) {
		c.marks |= onReport
		t.toReport = append(t.toReport, c)
	}
}

// Report reports what the last dump has shown. What waits for its process waits
// for the next one.
func (t *Table) Report() {
	waiting := t.toReport[:0]
	for _, c := range t.toReport {
		if c.place >= 0 && !t.report(c) {
			waiting = append(waiting, c)
			continue
		}
		c.marks &^= onReport
		if c.place == nowhere {
			t.recycle(c)
		}
	}
	clear(t.toReport[len(waiting):])
	t.toReport = waiting
}

// report reports what a live connection did. It returns false if it has to wait.
func (t *Table) report(c *Connection) bool {
	if !c.marks.has(reported) && !t.settle(c, nil, false) {
		return false
	}
	t.progress(c, c.State)
	if t.isOver(c) {
		t.reportEnd(c, t.endOf(c, nil))
	}
	return true
}

// isOver reports whether a connection that is still listed has ended: nobody has
// it any more, it only keeps its ports for a while. Where a notice is due, that
// has the last word.
func (t *Table) isOver(c *Connection) bool {
	return !t.notified && !c.marks.has(ended) && (c.State == tcp.TimeWait || c.State == tcp.Closed)
}

// settle decides what is fixed for good before the first report: the role and
// the process. It returns false if the connection has to wait for its process,
// which it does once, and never if this is the last that is seen of it.
func (t *Table) settle(c *Connection, n *tcp.Notice, last bool) bool {
	guessed := c.Role == tcp.NoRole
	t.settleRole(c)
	verdict := Report
	switch {
	case guessed && c.Role == tcp.Client && !c.IsNew && !last && c.Fields == 0 && (c.State == tcp.TimeWait || c.State == tcp.FinWait2):
		// What is left of a connection of which nothing is known: neither its end nor
		// its process. As a client's it would be a group of its own port.
		verdict = Discard
	case t.opts.Settle != nil:
		var holder *tcp.Holder
		if n != nil {
			holder = n.Holder
		}
		verdict = t.opts.Settle(c, holder)
	}
	switch {
	case verdict == Discard:
		c.marks |= unwanted
	case verdict == Wait && !last && !c.marks.has(waited):
		c.marks |= waited
		return false
	}
	c.marks |= reported
	if t.opts.Identify != nil && !c.marks.has(unwanted) {
		t.opts.Identify(c, n)
	}
	return true
}

// progress reports what a connection did since the last time, in which state it
// is now, and that it opened.
func (t *Table) progress(c *Connection, is tcp.State) {
	delta := c.unreported
	c.unreported = event.Delta{}
	var growth *event.Growth
	if c.marks.has(grown) {
		c.marks &^= grown
		growth = &t.events.growth
		t.opts.Slots.take(c.Slot, growth)
	}
	if c.marks.has(unwanted) {
		c.told = is
		if c.marks.has(established) {
			c.marks |= opened
		}
		return
	}
	if !c.marks.has(begun) || c.told != is || delta != (event.Delta{}) || growth != nil {
		t.events.progress = event.Progress{Connection: &c.Connection, Delta: delta, Growth: growth, Was: c.told, Is: is, First: !c.marks.has(begun)}
		c.told = is
		c.marks |= begun
		t.opts.Events.Progress(&t.events.progress)
	}
	if c.marks&(established|opened) == established {
		c.marks |= opened
		if c.IsNew {
			t.events.opened = event.Opened{Connection: &c.Connection, At: t.openedAt(c)}
			t.opts.Events.Opened(&t.events.opened)
		}
	}
}

// openedAt is when a connection was established; zero if that is not known.
func (t *Table) openedAt(c *Connection) time.Time {
	if c.Details != nil && c.Has(tcp.FieldAge) {
		return t.began.Add(-c.Sample.Age)
	}
	return time.Time{}
}

// endOf describes the end of a connection, with its notice if there was one.
func (t *Table) endOf(c *Connection, n *tcp.Notice) event.Ended {
	e := event.Ended{
		Connection:  &c.Connection,
		Established: c.marks.has(established),
		At:          t.began,
		Last:        n,
	}
	e.FirstSeen, _ = t.FirstSeen(c)
	if n == nil {
		e.Cause = causeByState(c.State)
		if !e.Established && (t.notified || c.State == tcp.Closed) {
			// It was seen to fail, or would have had a notice otherwise.
			e.Failure = tcp.OtherFailure
		}
		return e
	}
	e.Cause, e.Failure, e.Handshake, e.Start = n.Cause, n.Failure, n.Handshake, n.Established
	if e.Cause == tcp.UnknownCause {
		e.Cause = causeByState(c.State)
	}
	switch {
	case !n.Ended.IsZero():
		e.At, e.Exact = n.Ended, true
	case !n.Seen.IsZero():
		e.At = n.Seen
	}
	if e.Start.IsZero() && n.Has(tcp.FieldAge) {
		e.Start = e.At.Add(-n.Age)
	}
	return e
}

// causeByState is what the last state that was seen says of the end: who closed
// first (RFC 9293 §3.6).
func causeByState(last tcp.State) tcp.Cause {
	switch last {
	case tcp.CloseWait, tcp.LastAck:
		return tcp.PeerClose
	case tcp.FinWait1, tcp.FinWait2, tcp.TimeWait:
		return tcp.LocalClose
	}
	return tcp.UnknownCause
}

// reportEnd reports, once, that a connection ended or that an attempt came to
// nothing. All that it did was reported.
func (t *Table) reportEnd(c *Connection, e event.Ended) {
	if c.marks.has(ended) {
		return
	}
	c.marks |= ended
	if !e.Established && !c.marks.has(failed) {
		c.marks |= failed
		if c.Role != tcp.Server {
			t.counts.Failed++
		}
	}
	if c.marks.has(unwanted) {
		return
	}
	t.events.ended = e
	t.opts.Events.Ended(&t.events.ended)
	t.events.ended = event.Ended{}
}

// reportGone reports that nothing is left of a connection, whose slot is free
// now.
func (t *Table) reportGone(c *Connection) {
	if c.marks.has(reported) && !c.marks.has(unwanted) {
		t.events.progress = event.Progress{Connection: &c.Connection, Was: c.told, Is: event.NoState, Gone: true}
		t.opts.Events.Progress(&t.events.progress)
	}
	t.opts.Mirrors.remove(c)
	t.opts.Slots.give(c.Slot)
}
