// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/table"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// maxDumps is how often a dump is made in one scrape if the kernel says that
// it was interrupted.
const maxDumps = 3

// scrape does what one scrape does: dump, attribute, report, show. What fails
// costs only its own part. Whoever listens wants a dump at every tick: the more
// there are, the fewer connections open and close unseen.
func (e *Engine) scrape(ctx context.Context, tick int64) (built []delivery) {
	e.mu.Lock()
	defer e.mu.Unlock()
	began := time.Now()
	due, needs := e.due(tick)
	needs.Sockets = needs.Sockets || len(e.listeners) > 0
	if !needs.any() {
		return nil
	}
	e.keepDetails(e.cfg.Detailed || needs.Details)
	readCtx, cancel := e.limited(ctx)
	defer cancel()
	e.selector.TryBetter(readCtx, time.Now())

	e.findAskers(began) // before those that wait for an answer are given up
	e.followPeers(time.Now())
	errs := []error{e.findOthers(readCtx, time.Now()), e.findStacks(readCtx, time.Now())}
	if needs.Counters {
		errs = append(errs, e.readCounters(readCtx))
	}
	complete := false
	if needs.dump() {
		var err error
		complete, err = e.read(readCtx, needs, tick == FinalTick)
		errs = append(errs, err)
	}
	if ctx.Err() == nil {
		built = e.show(e.finished(began, tick, complete), due)
	}
	if needs.Counters && len(e.listeners) > 0 {
		e.reportUnseen(readCtx)
	}
	errs = append(errs, e.closeEmptied())
	e.sayPartial(ctx, errors.Join(errs...))
	return built
}

// limited returns a context for what one scrape reads.
func (e *Engine) limited(ctx context.Context) (context.Context, context.CancelFunc) {
	if e.cfg.Timeout > 0 {
		return context.WithTimeout(ctx, e.cfg.Timeout)
	}
	return ctx, func() {}
}

// read dumps all sockets, attributes them and reports what happened. complete says
// that all namespaces were read to their end.
func (e *Engine) read(ctx context.Context, needs Needs, last bool) (complete bool, err error) {
	e.needs = needs
	err = errors.Join(e.dump(ctx), e.attribute(ctx))
	complete = true
	for sp := range e.spaces() {
		e.countCloses(sp, last)
		sp.table.Report()
		// A namespace that never could be read has nothing that is missing now.
		complete = complete && (sp.complete || !sp.read && sp != e.own)
	}
	return complete, err
}

// finished is the scrape that has just been read.
func (e *Engine) finished(began time.Time, tick int64, complete bool) *Scrape {
	scrape := &Scrape{engine: e, Began: began, Now: time.Now(), Tick: tick, Complete: complete, Details: e.detailed, Lost: e.noticesLost}
	if src := e.selector.Current(); src != nil {
		scrape.Source, scrape.Capabilities = src.Name(), src.Capabilities()
	}
	return scrape
}

// sayPartial logs that scrapes are not complete, once when that begins and once
// when it is over.
func (e *Engine) sayPartial(ctx context.Context, err error) {
	switch {
	case ctx.Err() != nil:
	case err != nil:
		e.partial.raise(1, func() { e.log.Warn("the scrape is partial", zap.Error(err)) })
	default:
		e.partial.clear(1, func(n uint64) { e.log.Info("scrapes are complete again", zap.Uint64("partial", n)) })
	}
}

// dump reads the sockets of every network namespace into its table.
func (e *Engine) dump(ctx context.Context) error {
	defer e.telemetry.phase(e.selector, metadata.AttributePhaseDump)()
	err := errors.Join(e.dumpOwn(ctx), e.dumpOthers(ctx))
	if src := e.selector.Current(); src != nil {
		var seen int64
		for sp := range e.spaces() {
			for _, n := range sp.states {
				seen += n
			}
		}
		e.telemetry.sockets(src.Name(), seen)
	}
	return err
}

// errNoSource says that there is nothing to read from.
var errNoSource = errors.New("no source of TCP sockets is open")

// dumpOwn reads the collector's own network namespace. If the source is lost it
// goes on with the next one.
func (e *Engine) dumpOwn(ctx context.Context) error {
	for {
		src := e.selector.Current()
		if src == nil {
			e.own.unread()
			return errNoSource
		}
		ended, err := e.dumpFrom(ctx, e.own, src)
		switch {
		case ended:
			e.selector.Succeeded()
			return err
		case ctx.Err() != nil:
			return err
		case !e.selector.Failed(ctx, time.Now(), err):
			return err
		}
	}
}

// unread notes that this scrape does not read the namespace: what the last dump had is
// not what it saw.
func (sp *space) unread() {
	sp.complete = false
	sp.table.Begin(time.Now())
	sp.table.End(table.CutShort)
}

// dumpFrom makes one dump, and another if the kernel says that it was
// interrupted. ended reports that it came to its end, save for those sockets that
// the error says could not be read.
func (e *Engine) dumpFrom(ctx context.Context, sp *space, src source.Source) (ended bool, err error) {
	dumped := e.dumpedBy(sp)
	visit := func(socket *tcp.Socket) error {
		if at := e.spaceOf(sp, socket.ID); at != nil {
			return e.visit(at, socket)
		}
		return nil
	}
	for _, at := range dumped {
		at.complete = false
	}
	if n, ok := src.(source.Narrower); ok {
		if err := n.Narrow(e.narrow, e.needs.States); err != nil {
			return false, fmt.Errorf("source %s: %w", src.Name(), err)
		}
	}
	e.rewatch(sp, src)
	moving, now := e.moving(sp, src), time.Now()
	for range maxDumps {
		clear(e.ports[:])
		for _, at := range dumped {
			at.states = tcp.States{}
			switch {
			case moving != nil:
				at.table.BeginMoved(now)
			case e.needs.Sockets:
				at.table.Begin(now)
			default:
				at.table.BeginListeners(now)
			}
		}
		if moving != nil {
			_, err = moving.Moved(ctx, visit)
		} else {
			err = src.Sockets(ctx, visit)
		}
		if !errors.Is(err, source.ErrInterrupted) {
			break
		}
		now = time.Now()
	}
	e.drain(sp)
	if moving != nil && sp.watch != nil {
		sp.watch.each(func(n *tcp.Notice) { sp.table.Vacate(&n.Socket) })
	}
	var partial *source.PartialError
	result := table.CutShort
	switch {
	case source.Whole(err):
		result = table.Complete
	case errors.Is(err, source.ErrInterrupted) || errors.As(err, &partial):
		result = table.Partial
	}
	if err == nil {
		e.sayWay(sp, src)
	}
	for _, at := range dumped {
		e.endDump(at, result, moving != nil, now)
	}
	if e.needs.Counters && sp.complete && sp.counted {
		e.countPorts(sp)
	}
	e.telemetry.sourceErrors(src.Name(), err)
	if result == table.Complete {
		return true, nil
	}
	return sp.complete, fmt.Errorf("source %s: %w", src.Name(), err)
}

// endDump ends the dump of a namespace that began at a time.
func (e *Engine) endDump(sp *space, result table.Result, moving bool, began time.Time) {
	sp.complete = result != table.CutShort
	if sp.complete {
		sp.read = true
		sp.dumps++
	}
	sp.table.End(result)
	switch {
	case result != table.Complete:
		sp.reconciled = time.Time{}
	case !moving:
		sp.reconciled = began
	default:
		// Those that it left out, and those that it had, which the table has, too.
		sp.states[tcp.Established] += int64(sp.table.Established())
		sp.table.EachPort(e.ports.add)
	}
	sp.counted = e.needs.States || e.narrow == nil
}

// sayWay logs which of its ways to make a dump a source takes from now on, each way
// once: a host may have about as many sockets as it takes for a turn.
func (e *Engine) sayWay(sp *space, src source.Source) {
	mixed, ok := src.(source.Mixed)
	if !ok {
		return
	}
	name, why := mixed.Way()
	if name == sp.way {
		return
	}
	sp.way = name
	log := e.log.Info
	if slices.Contains(sp.ways, name) {
		log = e.log.Debug
	} else {
		sp.ways = append(sp.ways, name)
	}
	log("dumps of TCP sockets are made by "+name, zap.String("source", src.Name()), zap.String("why", why))
}

// reconcileEvery is how often all sockets are read where a source can leave out
// those that have not changed: what it cannot see to have changed (owners, names of
// algorithms), and ends of which no notice came, are learned then.
const reconcileEvery = 5 * time.Minute

// moving returns the source if its next dump may leave out connections that have
// not changed: their ends are noticed, no notice was lost since all were read, none
// was missing then whose notice has not come, and nobody wants Details that are read
// anew.
func (e *Engine) moving(sp *space, src source.Source) source.Incremental {
	incremental, ok := src.(source.Incremental)
	anew := e.detailed && (e.cfg.Exact || !e.cfg.Detailed || e.needs.Details)
	if !ok || sp.watch == nil || anew || sp.reconciled.IsZero() || sp.table.Missing() > 0 || time.Since(sp.reconciled) >= reconcileEvery {
		return nil
	}
	return incremental
}

// visit counts a socket and, if it is wanted, takes it into the table. What is
// filtered out costs neither a place there nor a look for its process. Nor does
// a socket that was never connected, which FreeBSD lists, too.
func (e *Engine) visit(sp *space, socket *tcp.Socket) error {
	wanted := e.cfg.Filter.Match(socket)
	if !wanted || !sp.table.Moving() || socket.State != tcp.Established {
		sp.states[socket.State]++ // else the table counts it
	}
	if !sp.spanned { // another network stack has ports of its own
		e.ports.add(socket.Local.Port())
	}
	switch {
	case socket.State == tcp.Closed && socket.Peer.Port() == 0:
	case !e.needs.Sockets && socket.State != tcp.Listen:
	case wanted:
		sp.table.Observe(socket)
	case socket.State == tcp.Listen:
		sp.table.Listening(socket.Local)
	}
	return nil
}
