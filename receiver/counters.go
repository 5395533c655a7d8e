package receiver

import (
	"context"
	"fmt"

	"github.com/netpulse/tcpstatsreceiver/internal/otlp"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// readCounters reads the counters of every network namespace. It comes before the
// dump, so that whatever they have counted can be seen there.
func (s *scraper) readCounters(ctx context.Context) error {
	var errs []error
	for sp := range s.spaces() {
		sp.counters, sp.byState = tcp.Counters{}, nil
		src, _ := s.sourceOf(ctx, sp)
		if src == nil {
			continue // the dump says why
		}
		var err error
		if sp.counters, err = src.Counters(ctx); err != nil {
			s.telemetry.sourceError(src.Name(), source.ErrorCounters, 1)
			errs = append(errs, fmt.Errorf("read the TCP counters of %s: %w", sp, err))
		}
		if counter, ok := src.(source.StateCounter); ok {
			if states, err := counter.States(ctx); err == nil {
				sp.byState = (*otlp.States)(&states)
			} else {
				s.telemetry.sourceError(src.Name(), source.ErrorCounters, 1)
				errs = append(errs, fmt.Errorf("count the sockets of %s in each state: %w", sp, err))
			}
		}
		if sp != s.own {
			// Each namespace shows those of the whole host.
			sp.counters.Unset(tcp.Orphans)
			sp.counters.Unset(tcp.MemoryUsage)
		}
	}
	return firstOf(1+len(s.others.spaces), "network namespaces have not all their TCP counters", errs)
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

// tellUnseen tells how many connections the kernel has counted that groups have
// not. The counters of this scrape were read before its dump, so all that they
// have could be seen by now.
func (s *scraper) tellUnseen(ctx context.Context) {
	if s.filter.Any() || s.executables.any() {
		return
	}
	if src, ok := s.selector.Current().(source.Confined); ok && src.Confined() {
		return // what is missing is others'
	}
	since := s.others.opened
	for sp := range s.spaces() {
		since += sp.opened(ctx, s)
	}
	s.telemetry.unseen(since - min(since, s.groups.Opened()))
}

// opened is how many connections were opened in the namespace that groups could
// have seen.
func (sp *space) opened(ctx context.Context, s *scraper) uint64 {
	if !sp.based {
		// To groups, what the first dump finds is not new. What is opened between it
		// and this look is, so a few that nobody has seen may be overlooked, but none
		// is made up.
		if src, _ := s.sourceOf(ctx, sp); src != nil {
			if counters, err := src.Counters(ctx); err == nil {
				sp.based, sp.base = true, opened(&counters)
			}
		}
		return 0
	}
	now := opened(&sp.counters)
	return now - min(now, sp.base)
}
