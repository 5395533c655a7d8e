// SPDX-License-Identifier: Apache-2.0

package table

import (
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// maxEndings bounds how many connections that have ended are remembered, each of
// the two kinds: 4 MB.
const maxEndings = 16384

// endings are connections that have ended and of which more may still come.
type endings struct {
	index map[uint64]*Connection // by cookie
	// awaiting have ended without a notice. On Linux a connection that the peer has
	// reset, or that timed out, leaves the kernel's table at once, but the notice
	// comes only when its owner closes the descriptor: in a pool of connections,
	// minutes later. A notice that finds nothing here would be counted as another
	// connection. The oldest come first, some of them gone.
	awaiting []*Connection
	// leaving have ended with a notice, and the next dumps may show what the kernel
	// keeps of them (TIME_WAIT), which belongs to their group.
	leaving []*Connection
}

func newEndings() endings { return endings{index: make(map[uint64]*Connection)} }

// lost ends a live connection that is not there any more, without a notice.
func (t *Table) lost(c *Connection) {
	if c.State == tcp.Listen || c.marks.has(ended) {
		t.gone(c)
		return
	}
	t.finish(c, nil, false)
	if !t.notified || c.place < 0 {
		// The table forgets it. If notices begin later, that of its socket must not be
		// counted again.
		if t.began.After(t.epoch) {
			t.epoch = t.began
		}
		t.gone(c)
		return
	}
	t.pull(c)
	c.place = awaiting
	t.endings.index[c.ID.Cookie] = c
	if len(t.endings.awaiting) >= maxEndings {
		t.evictAwaiting()
	}
	t.endings.awaiting = append(t.endings.awaiting, c)
}

// evictAwaiting forgets the oldest quarter of those that a notice may still come
// of. From then on, a notice of a connection that was last active before they ended is
// not counted.
func (t *Table) evictAwaiting() {
	old := t.endings.awaiting[:maxEndings/4]
	for _, c := range old {
		if c.place == awaiting {
			if at := t.timeOf(c.missing); at.After(t.epoch) {
				t.epoch = at
			}
			t.endOfEnding(c)
		}
	}
	n := copy(t.endings.awaiting, t.endings.awaiting[len(old):])
	clear(t.endings.awaiting[n:])
	t.endings.awaiting = t.endings.awaiting[:n]
}

// timeOf is the time of a clock.
func (t *Table) timeOf(clock uint32) time.Time {
	if clock == 0 {
		return t.began
	}
	return t.first.Add(time.Duration(clock) * time.Second)
}

// leave keeps a connection that a notice has ended until a complete dump that
// began later does not show it. Its descriptor is free.
func (t *Table) leave(c *Connection) {
	if c.place >= 0 {
		t.pull(c)
	}
	if len(t.endings.leaving) >= maxEndings || !mayLinger(c) {
		t.reportGone(c)
		t.recycle(c)
		return
	}
	c.place = leaving
	t.endings.index[c.ID.Cookie] = c
	t.endings.leaving = append(t.endings.leaving, c)
}

// mayLinger reports whether the kernel may keep what is left of a connection: not
// of attempts, and not of what the peer closed first.
func mayLinger(c *Connection) bool {
	return c.marks.has(established) && c.State != tcp.CloseWait && c.State != tcp.LastAck
}

// forgetLeft forgets the connections that a notice has ended and that the dump
// under way, which began later, has not shown.
func (t *Table) forgetLeft() {
	for _, c := range t.endings.leaving {
		if c.place == leaving {
			t.endOfEnding(c)
		}
	}
	clear(t.endings.leaving)
	t.endings.leaving = t.endings.leaving[:0]
}

// forgetEndings forgets all of them.
func (t *Table) forgetEndings() {
	for _, c := range t.endings.index {
		c.place = nowhere
		t.reportGone(c)
	}
	t.endings = newEndings()
}

// endOfEnding forgets one of them.
func (t *Table) endOfEnding(c *Connection) {
	delete(t.endings.index, c.ID.Cookie)
	c.place = nowhere
	t.reportGone(c)
}

// gone forgets a connection for good.
func (t *Table) gone(c *Connection) {
	if c.place >= 0 {
		t.pull(c)
	}
	if c.State == tcp.Listen {
		t.opts.Slots.give(c.Slot)
	} else {
		t.reportGone(c)
	}
	t.recycle(c)
}

// revive returns a connection to the live ones that has ended and is in a dump
// again, nil if there is none: as what is left of it or, where it was missing
// from dumps for long, because it has not ended.
func (t *Table) revive(s *tcp.Socket) *Connection {
	c, ok := t.endings.index[s.ID.Cookie]
	if !ok {
		return nil
	}
	was := c.place
	switch {
	case isLeftover(s) || s.State == tcp.TimeWait:
	case was == awaiting && !c.replacedBy(s):
		c.marks &^= ended | opened
		c.IsNew = true
	default:
		t.endOfEnding(c)
		return nil
	}
	delete(t.endings.index, s.ID.Cookie)
	t.put(c)
	c.missing = 0
	return c
}

// finish reports the end of a connection, and before it what it did until then.
// What is left of it may stay for a while, in its last state.
func (t *Table) finish(c *Connection, n *tcp.Notice, stays bool) {
	if !c.marks.has(reported) {
		t.settle(c, n, true)
	}
	if n == nil || n.Fields == 0 {
		// No last counters: what waited for them counts as it was seen.
		c.unreported.BytesReceived += c.BytesReceived - min(c.counted, c.BytesReceived)
		c.counted = max(c.counted, c.BytesReceived)
	}
	is := event.NoState
	if stays {
		is = c.State
	}
	t.progress(c, is)
	t.reportEnd(c, t.endOf(c, n))
}
