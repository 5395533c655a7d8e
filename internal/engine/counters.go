// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/netpulse/tcpstatsreceiver/internal/netns"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// readCounters reads the counters of every network namespace. It comes before the
// dump, so that whatever they have counted can be seen there.
func (e *Engine) readCounters(ctx context.Context) error {
	var errs []error
	for sp := range e.spaces() {
		first := sp.counters.Len() == 0
		sp.counters, sp.byState = tcp.Counters{}, nil
		if sp.spanned {
			if err := e.countStack(sp, first); err != nil {
				errs = append(errs, err)
			}
			continue
		}
		src, _ := e.sourceOf(ctx, sp)
		if src == nil {
			continue // the dump says why
		}
		var err error
		if sp.counters, err = src.Counters(ctx); err != nil {
			e.telemetry.sourceError(src.Name(), source.ErrorCounters, 1)
			errs = append(errs, fmt.Errorf("read the TCP counters of %s: %w", sp, err))
		}
		if counter, ok := src.(source.StateCounter); ok {
			if states, err := counter.States(ctx); err == nil {
				sp.byState = &states
			} else {
				e.telemetry.sourceError(src.Name(), source.ErrorCounters, 1)
				errs = append(errs, fmt.Errorf("count the sockets of %s in each state: %w", sp, err))
			}
		}
		if sp != e.own {
			// Each namespace shows those of the whole host.
			sp.counters.Unset(tcp.Orphans)
			sp.counters.Unset(tcp.MemoryUsage)
			if first {
				e.others.cameBack(sp)
			}
		}
	}
	return firstOf(1+len(e.others.spaces), "network namespaces have not all their TCP counters", errs)
}

// countStack takes the counters of a network stack that was listed.
func (e *Engine) countStack(sp *space, first bool) error {
	if sp.stack == nil {
		return nil
	}
	sp.counters, sp.byState = sp.stack.Counters, &sp.stack.States
	if first {
		e.others.cameBack(sp)
	}
	if sp.stack.Err == nil {
		return nil
	}
	sp.byState = nil
	e.telemetry.sourceError(sp.sourceName(e), source.ErrorCounters, 1)
	return fmt.Errorf("read the TCP counters of %s: %w", sp, sp.stack.Err)
}

// countersOf reads the counters of a namespace.
func (e *Engine) countersOf(ctx context.Context, sp *space) (counters tcp.Counters, err error) {
	if !sp.spanned {
		src, err := e.sourceOf(ctx, sp)
		if src == nil {
			return counters, errors.Join(err, errNoSource)
		}
		return src.Counters(ctx)
	}
	if e.others.spanning == nil {
		return counters, errNoSource
	}
	stacks, err := e.others.spanning.Stacks(ctx)
	if err != nil {
		return counters, err
	}
	for i := range stacks {
		if s := &stacks[i]; s.Namespace == sp.place.Namespace && s.Cookie == sp.cookie {
			return s.Counters, s.Err
		}
	}
	return counters, netns.ErrGone
}

// opened is how many connections were opened by the kernel's own count, at
// least. Embryos that were reset are among the failures but not among what was
// opened.
func opened(counters *tcp.Counters) uint64 {
	client, _ := counters.Get(tcp.OpensClient)
	server, _ := counters.Get(tcp.OpensServer)
	failed, _ := counters.Get(tcp.AttemptsFailed)
	return client + server - min(failed, client+server)
}

// reportUnseen reports how many connections the kernel has counted that the
// tables have not. The counters of this scrape were read before its dump, so all
// that they have could be seen by now.
func (e *Engine) reportUnseen(ctx context.Context) {
	if e.cfg.Filter.Any() || e.cfg.Wanted != nil {
		return
	}
	if src, ok := e.selector.Current().(source.Confined); ok && src.Confined() {
		return // what is missing is others'
	}
	kernel, seen := e.others.opened, e.others.seen
	for sp := range e.spaces() {
		kernel += sp.opened(ctx, e)
		seen += sp.table.Counts().Opened
	}
	e.unseen = kernel - min(kernel, seen)
	e.telemetry.unseen(e.unseen)
}

// opened is how many connections were opened in the namespace that could have
// been seen.
func (sp *space) opened(ctx context.Context, e *Engine) uint64 {
	counts := sp.table.Counts()
	if !sp.based {
		// What the first dump finds is not new. What is opened between it and this look
		// is, so a few that nobody has seen may be overlooked, but none is made up.
		if counters, err := e.countersOf(ctx, sp); err == nil {
			sp.based, sp.base = true, opened(&counters)
			sp.failedBefore = counts.Failed
			failed, _ := counters.Get(tcp.AttemptsFailed)
			sp.refusedBefore = failed
		}
		return 0
	}
	now := opened(&sp.counters)
	now -= min(now, sp.base)
	// The kernel counts an attempt that its own process gave up (a socket closed in
	// SYN_SENT) among what was opened, and never among what failed. Those that were
	// seen are taken off, less the failed ones, which are off already.
	failed, _ := sp.counters.Get(tcp.AttemptsFailed)
	failed -= min(failed, sp.refusedBefore)
	given := counts.Failed - min(counts.Failed, sp.failedBefore)
	// Those that still wait for an answer are counted by the kernel, too.
	waiting := uint64(max(0, sp.states[tcp.SynSent]))
	return now - min(now, waiting+given-min(given, failed))
}
