// SPDX-License-Identifier: Apache-2.0

// Package engine observes the TCP connections of one host: it owns the clock,
// the sources, the network namespaces, the tables and the attribution, reports
// what happens to connections to whoever listens, and shows finished scrapes to
// views.
//
// Its lock is held while a scrape reads and while notices of closes are counted,
// and never while anybody waits for a pipeline: a view builds under the lock and
// sends without it, in a goroutine of its own.
package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/netns"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/table"
)

// Engine is one observation of one host.
type Engine struct {
	cfg       Config
	log       *zap.Logger
	telemetry *telemetry
	narrow    *source.Filter // what the kernel may apply of the filter; nil: nothing

	// mu guards all that follows.
	mu        sync.Mutex
	selector  *source.Selector
	resolver  *process.Resolver // nil if processes cannot be read, or nobody asks
	own       *space
	others    others
	listeners listeners
	views     []*viewing
	slots     table.Slots
	peers     peers
	askers    askers
	// identifies is the kind of source whose identities the tables have.
	identifies string

	// detailed: the tables keep the Details of each connection.
	detailed bool

	claims []process.Claim // reused
	needs  Needs           // of this scrape
	ports  ports           // reused: those of the dump under way
	dumped []*space        // reused: what it is of
	// noticesLost is how many notices of closes were lost in all.
	noticesLost uint64
	// unseen is how many connections nobody has seen, as of the last scrape that
	// counted.
	unseen uint64

	denied  alarm // some sockets have no owner for want of permission
	walks   alarm // the walk over processes does not complete
	partial alarm // scrapes are not complete
	late    alarm // ticks were missed
	refused alarm // a pipeline refuses what it is handed

	stop context.CancelFunc // of the loop
	done chan struct{}      // the loop has ended
	// batches is the context of what pipelines are handed. It outlives that of the
	// scrape, so that a shutdown does not tear a batch from the pipeline.
	batches context.Context
	abandon context.CancelFunc
}

// New returns an engine that has opened nothing yet.
func New(cfg Config) *Engine {
	e := &Engine{cfg: cfg, log: cfg.Logger, telemetry: &telemetry{cfg.Telemetry}, detailed: cfg.Detailed}
	e.slots.Follow(cfg.Follow...)
	e.peers = newPeers(&e.cfg.Peers)
	if e.cfg.Filter.Any() {
		e.narrow = &e.cfg.Filter
	}
	return e
}

// Listen adds a listener. It may be called before Start only.
func (e *Engine) Listen(l event.Listener) { e.listeners = append(e.listeners, l) }

// Place returns where the sockets of a network namespace are. It is for listeners:
// the lock is held while they are called.
func (e *Engine) Place(namespace uint64) netns.Place { return e.others.place(namespace) }

// Start opens the best source and begins to scrape. It fails if none opens that
// meets the configuration.
func (e *Engine) Start(ctx context.Context) error {
	if err := e.Open(ctx); err != nil {
		return err
	}
	// The context of Start ends with Start.
	loopCtx, stop := context.WithCancel(context.Background())
	e.stop, e.done = stop, make(chan struct{})
	for _, v := range e.views {
		v.stop, v.stopped = make(chan struct{}), make(chan struct{})
		go e.sender(v)
	}
	go e.loop(loopCtx)
	return nil
}

// Open opens what a scrape needs, without a clock: for whoever scrapes by Once.
func (e *Engine) Open(ctx context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.batches, e.abandon = context.WithCancel(context.Background())
	for _, v := range e.views {
		v.batches, v.abandon = context.WithCancel(e.batches)
	}
	e.own = e.newSpace(time.Time{})
	e.own.start = e.cfg.Boot
	e.selector = source.NewSelector(e.cfg.Factories, e.cfg.Source, e.log, e.sourceChanged)
	if err := e.selector.Open(ctx, time.Now()); err != nil {
		e.abandon()
		return err
	}
	e.openPeers(ctx, e.own)
	e.followNamespaces()
	if e.cfg.Attribution || e.others.followed {
		var holders process.Holders
		if e.cfg.OpenHolders != nil {
			holders = e.cfg.OpenHolders()
		}
		resolver, err := process.NewResolver(process.Options{RefreshInterval: e.refreshInterval(), Holders: holders})
		if err != nil {
			e.log.Warn("sockets cannot be joined with their processes", zap.Error(err))
		} else {
			e.resolver = resolver
		}
	}
	return nil
}

// refreshInterval is a little less than configured: a tick that comes early would
// put a walk off by a whole one.
func (e *Engine) refreshInterval() time.Duration {
	return max(0, e.cfg.RefreshInterval-e.cfg.Interval/2)
}

// Shutdown ends the engine, after one more scrape for what happened since the last.
// A scrape under way is cut short, but for what pipelines have been handed already:
// they have until the context ends, or for some seconds, to take it.
func (e *Engine) Shutdown(ctx context.Context) error {
	if e.stop == nil {
		return nil
	}
	e.stop()
	select {
	case <-e.done:
	case <-ctx.Done():
		e.abandon()
		<-e.done
	}
	if e.cfg.Prompt {
		e.Drain()
	}
	err := e.endSenders(ctx, e.views)
	e.stop = nil
	return errors.Join(err, e.Close())
}

// Once makes one scrape, sends what the views make of it, and returns what came of
// that. Ticks count from 0.
func (e *Engine) Once(ctx context.Context, tick int64) error {
	var errs []error
	for _, d := range e.scrape(ctx, tick) {
		errs = append(errs, e.deliver(d))
	}
	return errors.Join(errs...)
}

// Close gives back what Open has opened.
func (e *Engine) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.abandon()
	e.endWatch(e.own)
	err := errors.Join(e.leaveAll(), e.closePeers(e.own), e.selector.Close())
	if e.cfg.Peers.Places != nil {
		e.cfg.Peers.Places.Close()
	}
	if e.resolver != nil {
		err = errors.Join(err, e.resolver.Close())
	}
	return err
}

// loop scrapes at every tick. A scrape that takes longer makes it miss ticks;
// they are counted, and not made up for.
func (e *Engine) loop(ctx context.Context) {
	defer close(e.done)
	delay := time.NewTimer(e.cfg.InitialDelay)
	defer delay.Stop()
	select {
	case <-delay.C:
	case <-ctx.Done():
		return
	}
	began := time.Now()
	ticker := time.NewTicker(e.cfg.Interval)
	defer ticker.Stop()
	prompt, stop := e.prompt()
	defer stop()
	for last := int64(-1); ; {
		// Half an interval makes up for a ticker that is a little early.
		tick := int64((time.Since(began) + e.cfg.Interval/2) / e.cfg.Interval)
		if missed := tick - last - 1; missed > 0 {
			e.telemetry.missed(metadata.AttributeMissedReasonScrape, missed)
			e.late.raise(uint64(missed), func() {
				e.log.Warn("a scrape takes longer than collection_interval: ticks are missed", zap.Int64("missed", missed), zap.Duration("collection_interval", e.cfg.Interval))
			})
		} else {
			e.late.clear(calmAfter, func(n uint64) { e.log.Info("scrapes keep up with collection_interval again", zap.Uint64("missed", n)) })
		}
		last = tick
		for _, d := range e.scrape(ctx, tick) {
			d.view.toSend <- d.send
		}
		for waiting := true; waiting; {
			select {
			case <-prompt:
				e.Drain()
			case <-ticker.C:
				waiting = false
			case <-ctx.Done():
				e.scrapeLast()
				return
			}
		}
	}
}

// finalGrace is how long the last scrape may take.
const finalGrace = 2 * time.Second

// sendGrace is how long the last scrape waits for views that are still sending the
// one before: without it, they would miss the last.
const sendGrace = time.Second

// scrapeLast makes the last scrape. A view whose pipeline hangs misses it.
func (e *Engine) scrapeLast() {
	for until := time.Now().Add(sendGrace); e.sending() && time.Now().Before(until) && e.batches.Err() == nil; {
		time.Sleep(sendGrace / 200)
	}
	ctx, cancel := context.WithTimeout(e.batches, finalGrace)
	defer cancel()
	for _, d := range e.scrape(ctx, FinalTick) {
		d.view.toSend <- d.send
	}
}

// sending reports whether any view is still sending a scrape.
func (e *Engine) sending() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.ContainsFunc(e.views, func(v *viewing) bool { return v.busy })
}

// sourceChanged forgets the connections if another kind of source takes over: their
// identities are the other one's. Those of a source that was lost and comes back are
// still the same.
//
// What was noticed until now is counted: it goes with the watch.
func (e *Engine) sourceChanged(from, to string) {
	other := to != "" && to != e.identifies
	for sp := range e.spaces() {
		e.drain(sp)
		e.countCloses(sp, other)
	}
	for sp := range e.spaces() {
		sp.reconciled = time.Time{}
		if other {
			sp.table.Reset()
			sp.unexplained = nil
		}
	}
	if to != "" {
		e.identifies = to
	}
	e.reopenOthers()
	e.others.spanning, _ = e.span(e.selector.Current()) // the next scrape says why not
	e.watchSpace(e.own, e.selector.Current())
	e.telemetry.sourceChanged(from, to)
}

// listeners are all who hear of what happens to connections.
type listeners []event.Listener

func (all listeners) Progress(p *event.Progress) {
	for _, l := range all {
		l.Progress(p)
	}
}

func (all listeners) Opened(o *event.Opened) {
	for _, l := range all {
		l.Opened(o)
	}
}

func (all listeners) Ended(e *event.Ended) {
	for _, l := range all {
		l.Ended(e)
	}
}

// firstOf makes one error of those of some namespaces.
func firstOf(all int, what string, errs []error) error {
	switch {
	case len(errs) == 0:
		return nil
	case all == 1:
		return errs[0]
	}
	return fmt.Errorf("%d of %d %s, the first: %w", len(errs), all, what, errs[0])
}
