// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/group"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/table"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// seen is a connection as a scrape finds it at a slot.
func seen(cookie uint64, slot uint32, state tcp.State, p *process.Process) *table.Connection {
	s := full()
	s.ID.Cookie, s.State = cookie, state
	s.Peer = netip.AddrPortFrom(s.Peer.Addr(), uint16(cookie))
	c := connection(s, p)
	c.Slot = slot
	return c
}

// endings are the cookies of the series that end, with a star where only those with
// the state do, and a minus where only those of fields.
func endings(all []ending) (cookies []string) {
	for _, e := range all {
		text := fmt.Sprint(e.id.Cookie)
		if e.stateOnly {
			text += "*"
		}
		if e.fieldsOnly {
			text += "-"
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
	// instead is a connection with the endpoints of another.
	instead := func(c, of *table.Connection) *table.Connection {
		c.Peer = of.Peer
		return c
	}
	// bare is a connection of which the kernel keeps no numbers.
	bare := func(c *table.Connection) *table.Connection {
		c.Fields = 0
		return c
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
		"another has its endpoints, and its slot": {
			{batches: []batch{took(seen(1, 3, up, nil))}},
			{batches: []batch{took(instead(seen(2, 3, up, nil), seen(1, 3, up, nil)))}},
			{ends: []string{"2"}},
		},
		"another has its endpoints, in another state, at another slot": {
			{batches: []batch{took(seen(1, 3, up, nil))}},
			{batches: []batch{took(instead(seen(2, 4, half, nil), seen(1, 3, up, nil)))}, ends: []string{"1*"}},
			{ends: []string{"2"}},
		},
		"what is left in TIME_WAIT has no numbers": {
			{batches: []batch{took(seen(1, 3, up, nil))}},
			{batches: []batch{took(bare(seen(1, 3, tcp.TimeWait, nil)))}, ends: []string{"1*", "1-"}},
			{batches: []batch{took(bare(seen(1, 3, tcp.TimeWait, nil)))}},
			{ends: []string{"1"}},
		},
		"what is left in TIME_WAIT, at another slot, has no numbers": {
			{batches: []batch{took(seen(1, 3, up, nil))}},
			{batches: []batch{took(bare(seen(1, 4, tcp.TimeWait, nil)))}, ends: []string{"1*", "1-"}},
			{ends: []string{"1"}},
		},
		"an incomplete scrape ends nothing": {
			{batches: []batch{took(seen(1, 0, up, nil), seen(2, 1, up, nil))}},
			{batches: []batch{took(seen(2, 1, half, nil))}, keep: true},
			{keep: true},
			{batches: []batch{took(seen(2, 1, half, nil))}, ends: []string{"1", "2*"}},
		},
		"another process and back, before a scrape is complete": {
			{batches: []batch{took(seen(1, 3, up, nil))}},
			{batches: []batch{took(seen(1, 3, up, other))}, keep: true},
			{batches: []batch{took(seen(1, 3, up, nil))}, ends: []string{"1"}},
			{ends: []string{"1"}},
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
	assert.LessOrEqual(t, unsafe.Sizeof(ending{}), uintptr(128), "two cache lines")
	assert.LessOrEqual(t, unsafe.Offsetof(ending{}.local), uintptr(64), "the first has what is looked at in every scrape")
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

// What is known of the peer is found once it has been written without, and again where
// all were forgotten. Series end by that only if they have it.
func TestWrittenPeers(t *testing.T) {
	named := func(p event.Peer) *table.Connection {
		c := seen(1, 0, tcp.Established, nil)
		c.PeerInfo = &p
		return c
	}
	web := event.Peer{Service: "web", Name: "a.example"}
	for name, tt := range map[string]struct {
		wanted      []group.Attribute
		first, then *table.Connection
		ends        []string
	}{
		"not written":           {nil, seen(1, 0, tcp.Established, nil), named(web), nil},
		"written":               {[]group.Attribute{group.ServiceName}, seen(1, 0, tcp.Established, nil), named(web), []string{"1"}},
		"the same, anew":        {[]group.Attribute{group.ServiceName}, named(web), named(web), nil},
		"another that differs":  {[]group.Attribute{group.ServiceName}, named(web), named(event.Peer{Service: "db"}), []string{"1"}},
		"not in what is wanted": {[]group.Attribute{group.ServiceName}, named(web), named(event.Peer{Service: "web", Name: "b.example"}), nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := written{peers: attributesOf(tt.wanted)}
			w.add(tt.first)
			w.commit()
			assert.Empty(t, w.end())
			w.add(tt.then)
			w.commit()
			assert.Equal(t, tt.ends, endings(w.end()))
			assert.Equal(t, []string{"1"}, endings(w.end()))
		})
	}
}

// One that is seen anew, at another slot, with another peer, has other series.
func TestWrittenPeersAtAnotherSlot(t *testing.T) {
	w := written{peers: attributesOf([]group.Attribute{group.ServiceName})}
	for slot, service := range []string{"web", "db", "db"} {
		c := seen(1, uint32(slot), tcp.Established, nil)
		c.PeerInfo = &event.Peer{Service: service}
		w.add(c)
		w.commit()
		ends := w.end()
		if slot != 1 {
			assert.Empty(t, ends)
		} else if assert.Len(t, ends, 1) {
			assert.Equal(t, "web", ends[0].peerInfo.Service)
		}
	}
}

// Where no scrape is complete, what is to end does not pile up.
func TestWrittenWithoutACompleteScrape(t *testing.T) {
	var w written
	for i := range 3 * maxOver {
		w.add(seen(uint64(i), uint32(i)%4, tcp.Established, nil))
		w.commit()
		w.keep()
	}
	assert.LessOrEqual(t, len(w.over), maxOver)
	assert.LessOrEqual(t, len(w.fresh), 4)
	assert.Contains(t, endings(w.end()), fmt.Sprint(3*maxOver-5), "the latest are known")
}
