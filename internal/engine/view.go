package engine

import (
	"context"
	"errors"
	"iter"
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
	// Needs says what the view wants of the scrape at a tick, counted from 0.
	Needs(tick int64) Needs
	// Scrape reads a finished scrape, under the engine's lock. What it returns, if
	// anything, sends what was built; it is called without the lock, and may block
	// for as long as its context lives: until it returns, the view is passed over.
	Scrape(*Scrape) (send func(context.Context) error)
}

// Needs is what a view wants of a scrape. A scrape reads what any view wants.
type Needs struct {
	// Sockets are the connections and the listeners, Listeners the latter alone,
	// States how many sockets are in each state, those included that the filter
	// leaves out, Counters the system's own.
	Sockets, Listeners, States, Counters bool
}

func (n Needs) any() bool { return n != Needs{} }

// dump reports whether a dump is needed.
func (n Needs) dump() bool { return n.Sockets || n.Listeners || n.States }

func (n Needs) or(m Needs) Needs {
	return Needs{
		Sockets: n.Sockets || m.Sockets, Listeners: n.Listeners || m.Listeners,
		States: n.States || m.States, Counters: n.Counters || m.Counters,
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
}

// Connections iterates over the connections and listeners that this scrape saw
// and that are wanted.
func (s *Scrape) Connections() iter.Seq[*table.Connection] {
	return func(yield func(*table.Connection) bool) {
		for sp := range s.engine.spaces() {
			for c := range sp.table.All() {
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
			if sp != s.engine.own && sp.source == nil {
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
		if v.busy {
			v.missed.raise(1, func() {
				e.log.Warn("the pipeline has not taken the last scrape yet: this one is not written; counters go on, and ticks that are missed are counted in otelcol_receiver_tcpstats_missed_ticks")
			})
			e.telemetry.missed(metadata.AttributeMissedReasonPipeline, 1)
			continue
		}
		v.missed.clear(func(n uint64) {
			e.log.Info("the pipeline takes scrapes again", zap.Uint64("missed", n))
		})
		due = append(due, v)
		needs = needs.or(wants)
	}
	return due, needs
}

// sender sends what a view has built, until stop.
func (e *Engine) sender(v *viewing) {
	defer e.senders.Done()
	for {
		select {
		case <-e.stopping:
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
	err := d.send(e.batches)
	e.mu.Lock()
	defer e.mu.Unlock()
	d.view.busy = false
	switch {
	case err == nil:
		e.refused.clear(func(n uint64) { e.log.Info("the pipeline takes what is read again", zap.Uint64("refused", n)) })
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
}

// raise notes that the condition holds, and calls say if it did not before.
func (a *alarm) raise(count uint64, say func()) {
	a.count += count
	if !a.on {
		a.on = true
		say()
	}
}

// clear notes that the condition does not hold, and calls say with how often it
// did if it has until now.
func (a *alarm) clear(say func(count uint64)) {
	if a.on {
		count := a.count
		*a = alarm{}
		say(count)
	}
}
