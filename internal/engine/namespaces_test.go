// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/netns"
	"github.com/netpulse/tcpstatsreceiver/internal/table"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

var boot = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func at(seconds int) time.Time { return boot.Add(time.Duration(seconds) * time.Second) }

// entered is a namespace that was found at a time and has counted so much.
func entered(seconds int, inode, cookie, opens uint64) *space {
	sp := &space{
		table: table.New(table.Options{Events: listeners{}, Slots: &table.Slots{}}),
		place: netns.Place{Namespace: inode}, cookie: cookie, start: at(seconds), based: true,
	}
	sp.counters.Set(tcp.OpensClient, opens)
	return sp
}

// A namespace that is kept by a file may lose its processes and come back: its
// counters have their first start then, and what they had counted is not counted
// again. The kernel uses the inode of one that is gone at once for another.
func TestANamespaceComesBack(t *testing.T) {
	for name, tt := range map[string]struct {
		cookies [2]uint64
		opens   [2]uint64
		same    bool
	}{
		"the same":                           {[2]uint64{7, 7}, [2]uint64{100, 100}, true},
		"the same, with what came after":     {[2]uint64{7, 7}, [2]uint64{100, 103}, true},
		"another one":                        {[2]uint64{7, 8}, [2]uint64{100, 150}, false},
		"without cookies, the same":          {[2]uint64{0, 0}, [2]uint64{100, 100}, true},
		"without cookies, and it counts low": {[2]uint64{0, 0}, [2]uint64{100, 3}, false},
	} {
		t.Run(name, func(t *testing.T) {
			var o others
			o.leave(entered(10, 42, tt.cookies[0], tt.opens[0]))
			assert.Equal(t, uint64(100), o.opened)
			back := entered(50, 42, tt.cookies[1], tt.opens[1])
			o.cameBack(back)
			if tt.same {
				assert.Equal(t, at(10), back.start)
				assert.Equal(t, uint64(100), back.base, "it has been counted")
			} else {
				assert.Equal(t, at(50), back.start, "a sum never falls under one start")
				assert.Zero(t, back.base)
			}
			again := entered(60, 42, tt.cookies[1], tt.opens[1])
			o.cameBack(again)
			assert.Equal(t, at(60), again.start, "it is remembered once")
		})
	}
}

func TestLeftNamespacesAreBounded(t *testing.T) {
	var o others
	for inode := range uint64(2 * maxLeft) {
		o.leave(entered(1, inode+1, inode+1, 1))
	}
	assert.Len(t, o.left, maxLeft)
}

func TestAlarm(t *testing.T) {
	var a alarm
	var said []uint64
	raise := func() { a.raise(2, func() { said = append(said, 0) }) }
	clear := func() { a.clear(2, func(n uint64) { said = append(said, n) }) }
	clear()
	assert.Empty(t, said)
	raise()
	raise()
	clear()
	raise()
	clear()
	assert.Equal(t, []uint64{0}, said, "once when it begins, and not over yet")
	clear()
	assert.Equal(t, []uint64{0, 6}, said)
	clear()
	assert.Len(t, said, 2)
}

// Everybody who listens hears all.
func TestListeners(t *testing.T) {
	var one, two heard
	all := listeners{&one, &two}
	all.Progress(&event.Progress{})
	all.Opened(&event.Opened{})
	all.Ended(&event.Ended{})
	assert.Equal(t, heard{1, 1, 1}, one)
	assert.Equal(t, heard{1, 1, 1}, two)
}

type heard struct{ progress, opened, ended int }

func (h *heard) Progress(*event.Progress) { h.progress++ }
func (h *heard) Opened(*event.Opened)     { h.opened++ }
func (h *heard) Ended(*event.Ended)       { h.ended++ }
