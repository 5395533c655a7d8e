// SPDX-License-Identifier: Apache-2.0

package record

import (
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/netns"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// Config says which records are made.
type Config struct {
	Kinds Kinds
	// ProgressInterval is the time between two records of a connection that lives,
	// for those who ask for Progress.
	ProgressInterval time.Duration
	// MinDuration leaves out the ends of connections that are known to have lived
	// shorter and that ended well.
	MinDuration time.Duration
}

// Recorder makes records of what happens to connections. It is a listener of an
// engine: all is done under the engine's lock.
type Recorder struct {
	cfg   Config
	queue *Queue
	place func(namespace uint64) netns.Place
	now   func() time.Time

	known    []tcp.Fields // that any sample had, by the connection's slot
	schedule schedule     // of Progress
	record   Record       // reused
}

// NewRecorder returns a recorder that puts records into a queue. place returns
// where the sockets of a network namespace are.
func NewRecorder(cfg Config, queue *Queue, place func(namespace uint64) netns.Place) *Recorder {
	return &Recorder{cfg: cfg, queue: queue, place: place, now: time.Now, schedule: newSchedule()}
}

// Progress implements event.Listener.
func (r *Recorder) Progress(p *event.Progress) {
	for int(p.Slot) >= len(r.known) {
		r.known = append(r.known, 0)
	}
	if p.Gone {
		r.known[p.Slot] = 0
		r.schedule.remove(p.Slot)
		return
	}
	r.known[p.Slot] |= p.Fields
	if r.cfg.Kinds.Has(Progress) && lives(p.Is) && !lives(p.Was) {
		r.schedule.add(p.Slot, p.ID, r.now().Add(r.cfg.ProgressInterval))
	}
}

// lives reports whether a connection in a state is established, and not closed by
// its owner.
func lives(s tcp.State) bool {
	switch s {
	case tcp.Established, tcp.CloseWait, tcp.FinWait1, tcp.FinWait2, tcp.Closing, tcp.LastAck:
		return true
	}
	return false
}

// Opened implements event.Listener.
func (r *Recorder) Opened(o *event.Opened) {
	if !r.cfg.Kinds.Has(Start) {
		return
	}
	rec := r.begin(Start, o.Connection, nil)
	rec.At, rec.Start = rec.Observed, o.At
	if !o.At.IsZero() {
		rec.At = o.At
	}
	r.queue.Add(rec)
}

// Ended implements event.Listener.
func (r *Recorder) Ended(e *event.Ended) {
	r.schedule.remove(e.Slot)
	kind := End
	if !e.Established {
		kind = Failure
	}
	if !r.cfg.Kinds.Has(kind) {
		return
	}
	var last *tcp.Socket
	if e.Last != nil && e.Last.Fields != 0 {
		last = &e.Last.Socket
	}
	rec := r.begin(kind, e.Connection, last)
	rec.At, rec.Start, rec.Handshake = e.At, e.Start, e.Handshake
	if kind == End {
		rec.Cause = e.Cause
		switch {
		case last != nil && last.Has(tcp.FieldAge):
			rec.Duration = last.Age
		case e.Exact && !e.Start.IsZero():
			rec.Duration = max(0, e.At.Sub(e.Start))
		}
		if rec.Duration >= 0 && rec.Duration < r.cfg.MinDuration && !rec.Abnormal() {
			return
		}
	} else if rec.Failure = e.Failure; rec.Failure == tcp.NoFailure {
		rec.Failure = tcp.OtherFailure
	}
	r.queue.Add(rec)
}

// Due makes records of the connections that are due for one by a time. find returns
// a connection, nil if it is gone.
func (r *Recorder) Due(by time.Time, find func(tcp.Identity) *event.Connection) {
	now := r.now()
	r.schedule.due(by, now.Add(r.cfg.ProgressInterval), func(id tcp.Identity) bool {
		c := find(id)
		if c == nil {
			return false
		}
		rec := r.begin(Progress, c, nil)
		rec.At = rec.Observed
		if c.Details != nil && c.Has(tcp.FieldAge) {
			rec.Duration = c.Sample.Age
			rec.Start = rec.At.Add(-rec.Duration)
		}
		r.queue.Add(rec)
		return true
	})
}

// begin makes a record with what is the same in all kinds.
func (r *Recorder) begin(kind Kind, c *event.Connection, last *tcp.Socket) *Record {
	if last == nil && c.Details != nil {
		last = &c.Sample
	}
	var known tcp.Fields
	if int(c.Slot) < len(r.known) {
		known = r.known[c.Slot]
	}
	rec := &r.record
	*rec = Record{Kind: kind, Observed: r.now(), Duration: -1}
	rec.take(c, known, last)
	rec.Place = r.place(c.ID.Namespace)
	return rec
}
