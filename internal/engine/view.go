// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"iter"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/netns"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/table"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// View makes something of finished scrapes.
type View interface {
	// Needs says what the view wants of the scrape at a tick, counted from 0, or at
	// FinalTick.
	Needs(tick int64) Needs
	// Scrape reads a finished scrape, under the engine's lock. What it returns, if
	// anything, sends what was built; it is called without the lock, and may block
	// for as long as its context lives: until it returns, the view is passed over.
	Scrape(*Scrape) (send func(context.Context) error)
}

// FinalTick is the tick of the last scrape, at shutdown: what views have not
// written by then is lost.
const FinalTick int64 = -1

// Needs is what a view wants of a scrape. A scrape reads what any view wants.
type Needs struct {
	// Sockets are the connections and the listeners, Listeners the latter alone,
	// States how many sockets are in each state, those included that the filter
	// leaves out, Counters the system's own.
	Sockets, Listeners, States, Counters bool
	// Details are those of each connection. They cost memory and time, and are
	// given up when no view has needed them at a tick.
	Details bool
}

func (n Needs) any() bool { return n != Needs{} }

// dump reports whether a dump is needed.
func (n Needs) dump() bool { return n.Sockets || n.Listeners || n.States }

func (n Needs) or(m Needs) Needs {
	return Needs{
		Sockets: n.Sockets || m.Sockets, Listeners: n.Listeners || m.Listeners,
		States: n.States || m.States, Counters: n.Counters || m.Counters,
		Details: n.Details || m.Details,
	}
}

// Scrape is a finished scrape. It is good until the view returns, save for what
// is said of Later.
type Scrape struct {
	engine *Engine
	// Began is when the scrape began, Now when its dump was complete.
	Began, Now time.Time
	Tick       int64
	// Source is the name of the source in use, "" if there is none, and
	// Capabilities what it can do.
	Source       string
	Capabilities source.Capabilities
	// Lost is how many notices of closes were lost since the engine was opened.
	Lost uint64
	// Complete reports that every namespace was read to its end: what was not seen
	// is not there. Without it, nothing can be said of what is live.
	Complete bool
	// Details reports that the connections have their Details.
	Details bool
}

// Connections iterates over the connections and listeners that this scrape saw
// and that are wanted.
func (s *Scrape) Connections() iter.Seq[*table.Connection] {
	return s.Those(func(*table.Connection) bool { return true })
}

// Those iterates over those of Connections that want accepts, which must not use their
// Details: see [table.Table.Those].
func (s *Scrape) Those(want func(*table.Connection) bool) iter.Seq[*table.Connection] {
	both := func(c *table.Connection) bool { return s.engine.wanted(c) && want(c) }
	return func(yield func(*table.Connection) bool) {
		for sp := range s.engine.spaces() {
			for c := range sp.table.Those(both) {
				if !yield(c) {
					return
				}
			}
		}
	}
}

// Listeners iterates over the listeners that this scrape saw and that are wanted,
// without a look at the connections, of which there may be many more.
func (s *Scrape) Listeners() iter.Seq[*table.Connection] {
	return func(yield func(*table.Connection) bool) {
		for sp := range s.engine.spaces() {
			for c := range sp.table.Listeners() {
				if s.engine.wanted(c) && !yield(c) {
					return
				}
			}
		}
	}
}

// Space is a network namespace in a scrape.
type Space struct {
	netns.Place
	// Start is when the counters were 0.
	Start    time.Time
	Counters *tcp.Counters
	States   *tcp.States // nil: not known
}

// Spaces iterates over the namespaces whose counters were read: the collector's
// own, then the others.
func (s *Scrape) Spaces() iter.Seq[Space] {
	return func(yield func(Space) bool) {
		for sp := range s.engine.spaces() {
			if sp != s.engine.own && sp.source == nil && sp.stack == nil {
				continue
			}
			if !yield(Space{Place: sp.place, Start: sp.start, Counters: &sp.counters, States: sp.known()}) {
				return
			}
		}
	}
}

// Place returns where the sockets of a namespace are, by the namespace of their
// identities.
func (s *Scrape) Place(namespace uint64) netns.Place {
	return s.engine.others.place(namespace)
}

// Find returns a connection, nil if there is none.
func (s *Scrape) Find(id tcp.Identity) *table.Connection { return s.engine.find(id) }

// Later calls f under the engine's lock, when the scrape may be long over: views
// that build piece by piece call it from what they send. find returns a
// connection, nil if it is gone. f may iterate over Connections, too: it gets
// those of the newest scrape.
func (s *Scrape) Later(f func(find func(tcp.Identity) *table.Connection)) {
	s.engine.mu.Lock()
	defer s.engine.mu.Unlock()
	f(s.engine.find)
}

// viewing is a view and what it is doing.
type viewing struct {
	View
	toSend chan func(context.Context) error // for its sender, who waits for it
	busy   bool                             // its last scrape is still being sent
	missed alarm

	stop    chan struct{} // its sender is to end
	stopped chan struct{} // and has
	// batches is the context of what its pipeline is handed.
	batches context.Context
	abandon context.CancelFunc
}

// delivery is what a view has built and what is still to be sent.
type delivery struct {
	view *viewing
	send func(context.Context) error
}

// AddView adds a view. It may be called before Start only.
func (e *Engine) AddView(v View) {
	e.views = append(e.views, &viewing{View: v, toSend: make(chan func(context.Context) error, 1)})
}

// RemoveView ends a view while the engine goes on: when it returns, nothing more is
// sent for it. What its pipeline was handed is waited for as in Shutdown.
func (e *Engine) RemoveView(ctx context.Context, v View) error {
	e.mu.Lock()
	i := slices.IndexFunc(e.views, func(one *viewing) bool { return one.View == v })
	if i < 0 {
		e.mu.Unlock()
		return nil
	}
	removed := e.views[i]
	e.views = slices.Delete(e.views, i, i+1)
	e.mu.Unlock()
	return e.endSenders(ctx, []*viewing{removed})
}

const (
	// shutdownGrace is how long a shutdown waits for a pipeline that holds a batch
	// up: the pipeline is shut down after its receivers, so it can still take it.
	shutdownGrace = 5 * time.Second
	// abandonGrace is how long a pipeline has to return once the context of its batch
	// has ended. One that does not even then is left behind.
	abandonGrace = time.Second
)

// endSenders ends the senders of views. What pipelines have been handed already they
// have until the context ends, or for some seconds, to take.
func (e *Engine) endSenders(ctx context.Context, views []*viewing) error {
	for _, v := range views {
		close(v.stop)
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for _, v := range views {
			<-v.stopped
		}
	}()
	select {
	case <-sent:
	case <-time.After(shutdownGrace):
	case <-ctx.Done():
	}
	for _, v := range views {
		v.abandon()
	}
	select {
	case <-sent:
	case <-time.After(abandonGrace):
		return errors.New("a pipeline has not given back the batch that it was handed, though its context has ended")
	}
	return nil
}

// show has each view that is due read the scrape. e.mu is held.
func (e *Engine) show(scrape *Scrape, due []*viewing) (built []delivery) {
	for _, v := range due {
		if send := v.Scrape(scrape); send != nil {
			v.busy = true
			built = append(built, delivery{v, send})
		}
	}
	return built
}

// due returns the views that a scrape at a tick is for, and what they need. A view
// that is still sending misses it.
func (e *Engine) due(tick int64) (due []*viewing, needs Needs) {
	for _, v := range e.views {
		wants := v.Needs(tick)
		if !wants.any() {
			continue
		}
		// Not to be given up, and taken up again, for one scrape that is passed over.
		needs.Details = needs.Details || wants.Details
		if v.busy {
			v.missed.raise(1, func() {
				e.log.Warn("the pipeline has not taken the last scrape yet: this one is not written; counters go on, and ticks that are missed are counted in otelcol_receiver_tcpstats_missed_ticks")
			})
			e.telemetry.missed(metadata.AttributeMissedReasonPipeline, 1)
			continue
		}
		v.missed.clear(calmAfter, func(n uint64) {
			e.log.Info("the pipeline takes scrapes again", zap.Uint64("missed", n))
		})
		due = append(due, v)
		needs = needs.or(wants)
	}
	return due, needs
}

// sender sends what a view has built, until stop.
func (e *Engine) sender(v *viewing) {
	defer close(v.stopped)
	for {
		select {
		case <-v.stop:
			select {
			case send := <-v.toSend:
				_ = e.deliver(delivery{v, send})
			default:
			}
			return
		case send := <-v.toSend:
			_ = e.deliver(delivery{v, send})
		}
	}
}

// deliver sends what a view has built, and logs what comes of it.
func (e *Engine) deliver(d delivery) error {
	err := d.send(d.view.batches)
	e.mu.Lock()
	defer e.mu.Unlock()
	d.view.busy = false
	switch {
	case err == nil:
		e.refused.clear(1, func(n uint64) { e.log.Info("the pipeline takes what is read again", zap.Uint64("refused", n)) })
	case !errors.Is(err, context.Canceled):
		e.refused.raise(1, func() { e.log.Warn("the pipeline refuses what was read", zap.Error(err)) })
	}
	return err
}

// alarm is a condition that is logged once when it begins and once when it is
// over.
type alarm struct {
	on    bool
	count uint64
	calm  int // how often in a row it did not hold
}

// calmAfter is how often in a row a condition that comes and goes from tick to tick
// must not hold until it is over.
const calmAfter = 10

// raise notes that the condition holds, and calls say if it did not before.
func (a *alarm) raise(count uint64, say func()) {
	a.count += count
	a.calm = 0
	if !a.on {
		a.on = true
		say()
	}
}

// clear notes that the condition does not hold. When it has not after times in a
// row, say is called with how often it did.
func (a *alarm) clear(after int, say func(count uint64)) {
	if !a.on {
		return
	}
	if a.calm++; a.calm >= after {
		count := a.count
		*a = alarm{}
		say(count)
	}
}
