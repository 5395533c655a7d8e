// SPDX-License-Identifier: Apache-2.0

package table

import (
	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// recorder is a listener that adds everything up.
type recorder struct {
	sum    event.Delta
	growth event.Growth
	states tcp.States
	opens  []event.Connection
	ends   []event.Ended
	failed int
	left   int
}

func (r *recorder) Progress(p *event.Progress) {
	r.sum.Add(p.Delta)
	if p.Growth != nil {
		for k, n := range p.Growth {
			r.growth[k] += n
		}
	}
	if p.Was != event.NoState {
		r.states[p.Was]--
	}
	if p.Is != event.NoState {
		r.states[p.Is]++
	}
	if p.Gone {
		r.left++
	}
}

func (r *recorder) Opened(o *event.Opened) { r.opens = append(r.opens, *o.Connection) }

func (r *recorder) Ended(e *event.Ended) {
	ended := *e
	copied := *e.Connection
	ended.Connection = &copied
	r.ends = append(r.ends, ended)
	if !e.Established {
		r.failed++
	}
}

// closes is how many connections ended.
func (r *recorder) closes() int { return len(r.ends) - r.failed }

// watched is a table whose events are recorded.
type watched struct {
	*Table
	recorder
	slots Slots
}

func newWatched(change ...func(*Options)) *watched {
	w := &watched{}
	opts := Options{Boot: boot, Events: &w.recorder, Slots: &w.slots}
	for _, do := range change {
		do(&opts)
	}
	w.Table = New(opts)
	w.Notified(true)
	return w
}

func detailed(o *Options) { o.Detailed = true }

// scrape is a complete dump with the report on it.
func (w *watched) scrape(seconds int, sockets ...*tcp.Socket) {
	dump(w.Table, at(seconds), sockets...)
	w.Report()
}

// notice gives a notice that was read at a time.
func (w *watched) notice(seconds int, n *tcp.Notice) bool {
	copied := *n
	copied.Seen = at(seconds)
	return w.Notice(&copied, false)
}
