// SPDX-License-Identifier: Apache-2.0

package table

import (
	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// KeepDetails sets whether the Details of every connection are kept from now on.
// Listeners, which are few, always have them. A connection that is there already gets
// its Details with the next dump that has it. When they are not kept any more, their
// memory (some 600 bytes a connection) is given back.
func (t *Table) KeepDetails(yes bool) {
	if t.opts.Detailed == yes {
		return
	}
	t.opts.Detailed = yes
	if yes {
		return
	}
	for _, c := range t.live {
		if c.State != tcp.Listen {
			c.Details = nil
		}
	}
	for _, c := range t.endings.index {
		c.Details = nil
	}
	for _, c := range t.spare {
		c.Details = nil
	}
}

// wantsDetails reports whether the Details of a socket in a state are kept.
func (t *Table) wantsDetails(state tcp.State) bool {
	return t.opts.Detailed || state == tcp.Listen
}

// detailsOf returns Details of a connection that was there before these were kept:
// the sample that is taken over next completes them.
func (t *Table) detailsOf(c *Connection, delta event.Delta) *event.Details {
	d := &event.Details{Delta: delta, FirstSeen: t.began, Start: t.opts.Boot}
	if seen, ok := t.FirstSeen(c); ok && seen.Before(t.began) {
		d.FirstSeen = seen
	}
	if c.IsNew {
		d.Start = d.FirstSeen
	}
	return d
}
