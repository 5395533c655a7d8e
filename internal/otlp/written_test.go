// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/table"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// seen is a connection as a scrape finds it at a slot.
func seen(cookie uint64, slot uint32, state tcp.State, p *process.Process) *table.Connection {
	s := full()
	s.ID.Cookie, s.State = cookie, state
	c := connection(s, p)
	c.Slot = slot
	return c
}

// endings are the cookies of the series that end, with a star where only those with
// the state do.
func endings(all []ending) (cookies []string) {
	for _, e := range all {
		text := fmt.Sprint(e.id.Cookie)
		if e.stateOnly {
			text += "*"
		}
		cookies = append(cookies, text)
	}
	slices.Sort(cookies)
	return cookies
}

// What was written and is not any more ends once, whatever became of its slot.
func TestWritten(t *testing.T) {
	const up, half = tcp.Established, tcp.CloseWait
	other := &process.Process{PID: 7}
	type batch struct {
		connections []*table.Connection
		refused     bool
	}
	took := func(all ...*table.Connection) batch { return batch{connections: all} }
	refused := func(all ...*table.Connection) batch { return batch{all, true} }
	type scrape struct {
		batches []batch
		keep    bool // nothing is said of what is gone
		ends    []string
	}
	for name, scrapes := range map[string][]scrape{
		"unchanged, then gone": {
			{batches: []batch{took(seen(1, 0, up, nil), seen(2, 40, up, nil))}},
			{batches: []batch{took(seen(1, 0, up, nil))}, ends: []string{"2"}},
			{ends: []string{"1"}},
			{},
		},
		"another state": {
			{batches: []batch{took(seen(1, 3, up, nil))}},
			{batches: []batch{took(seen(1, 3, half, nil))}, ends: []string{"1*"}},
			{ends: []string{"1"}},
		},
		"another process": {
			{batches: []batch{took(seen(1, 3, up, nil))}},
			{batches: []batch{took(seen(1, 3, up, other))}, ends: []string{"1"}},
			{batches: []batch{took(seen(1, 3, up, other))}},
		},
		"its slot is another's": {
			{batches: []batch{took(seen(1, 3, up, nil))}},
			{batches: []batch{took(seen(2, 3, up, nil))}, ends: []string{"1"}},
			{ends: []string{"2"}},
		},
		"it has another slot": {
			{batches: []batch{took(seen(1, 3, up, nil), seen(2, 4, up, nil))}},
			{batches: []batch{took(seen(1, 90, up, nil), seen(2, 3, half, nil))}, ends: []string{"2*"}},
			{ends: []string{"1", "2"}},
		},
		"an incomplete scrape ends nothing": {
			{batches: []batch{took(seen(1, 0, up, nil), seen(2, 1, up, nil))}},
			{batches: []batch{took(seen(2, 1, half, nil))}, keep: true},
			{keep: true},
			{batches: []batch{took(seen(2, 1, half, nil))}, ends: []string{"1", "2*"}},
		},
		"what is refused was not written": {
			{batches: []batch{took(seen(1, 0, up, nil))}},
			{batches: []batch{refused(seen(1, 0, half, nil), seen(2, 1, up, nil))}},
			{batches: []batch{refused(seen(1, 0, up, nil)), took(seen(3, 1, up, nil))}},
			{ends: []string{"1", "3"}},
		},
		"what is refused does not end what was at its slot twice": {
			{batches: []batch{took(seen(1, 0, up, nil))}},
			{batches: []batch{refused(seen(2, 0, up, nil))}, ends: []string{"1"}},
			{batches: []batch{took(seen(2, 0, up, nil))}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var w written
			for i, s := range scrapes {
				for _, b := range s.batches {
					for _, c := range b.connections {
						w.add(c)
					}
					if b.refused {
						w.rollback()
					} else {
						w.commit()
					}
				}
				if s.keep {
					w.keep()
					continue
				}
				assert.Equal(t, s.ends, endings(w.end()), "scrape %d", i)
			}
		})
	}
}

// A limit leaves most slots empty, and connections come and go: what is not there
// takes no memory. What is written again and again allocates nothing.
func TestWrittenTakesNoMore(t *testing.T) {
	var w written
	for turn := range 50 {
		var all []*table.Connection
		for i := range uint32(10) {
			all = append(all, seen(uint64(i), uint32(turn)*1000+i*5, tcp.Established, nil))
		}
		for _, c := range all {
			w.add(c)
		}
		w.commit()
		w.end()
		pieces := 0
		for _, piece := range w.pieces {
			if piece != nil {
				pieces++
			}
		}
		assert.LessOrEqual(t, pieces, 3, "turn %d", turn)
		assert.Zero(t, testing.AllocsPerRun(1, func() {
			for _, c := range all {
				w.add(c)
			}
			w.commit()
			w.end()
		}))
	}
}
