// SPDX-License-Identifier: Apache-2.0

package page

import (
	"cmp"
	"context"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/engine"
	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// Needs implements engine.View. A page that nobody looks at adds nothing to what a
// scrape reads: as a listener it has the sockets dumped anyway.
func (p *Page) Needs(int64) engine.Needs {
	now := time.Now()
	if p.looking(now) {
		return engine.Needs{Sockets: true, Listeners: true, States: true, Counters: true, Details: true}
	}
	return engine.Needs{Sockets: true, Details: p.mayLook(now)}
}

// Scrape implements engine.View.
func (p *Page) Scrape(s *engine.Scrape) func(context.Context) error {
	point, elapsed := p.sampler.sample(s, p.cfg.Interval)
	looking := p.looking(s.Now)
	elapsed = p.sinceLast(s, elapsed)
	left := p.watched.Swap(looking) && !looking
	var newest *snapshot
	// Who came after Needs has all read once this scrape is over.
	if looking && s.Details {
		newest = p.copied(s, elapsed, point)
	}
	p.mu.Lock()
	p.scrape, p.elapsed, p.newest, p.tick = s, elapsed, newest, s.Tick
	p.mu.Unlock()
	if left {
		// Not here: who is sent everything for the first time has the stream to itself for
		// as long as that takes to encode.
		return func(context.Context) error {
			p.stream.rest()
			return nil
		}
	}
	if newest == nil {
		return nil
	}
	return func(context.Context) error {
		p.flush()
		p.publish(newest)
		return nil
	}
}

// copied is a copy of a scrape. The engine's lock is held.
func (p *Page) copied(s *engine.Scrape, elapsed float64, point *point) *snapshot {
	n := take(s, elapsed)
	n.banner(p, s)
	n.point = point
	p.late = nil
	for i := range n.rows {
		if r := &n.rows[i]; r.Process == nil && r.process != nil {
			if p.late == nil {
				p.late = make(map[tcp.Identity]*process.Process)
			}
			p.late[r.ID] = r.process
		}
	}
	return n
}

// sinceLast returns the seconds since the dump before this one, which is what the
// deltas of connections are of. That is not always the last scrape's: the first
// viewer has a dump made between two scrapes.
func (p *Page) sinceLast(s *engine.Scrape, scrapes float64) float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	elapsed := scrapes
	if !p.dumped.IsZero() {
		elapsed = max(1e-3, s.Now.Sub(p.dumped).Seconds())
	}
	p.dumped = s.Now
	return elapsed
}

// current returns the newest snapshot, and takes one if there is none because
// nobody looked; nil before the first scrape.
func (p *Page) current(ctx context.Context) *snapshot {
	if newest, any := p.latest(); newest != nil || !any {
		return newest
	}
	// Those who come together wait for one dump.
	p.first.Lock()
	defer p.first.Unlock()
	newest, _ := p.latest()
	if newest != nil {
		return newest
	}
	p.mu.Lock()
	scrape, tick := p.scrape, p.tick
	p.mu.Unlock()
	if !scrape.Details {
		p.settle(ctx)
	}
	// The engine's lock comes before the page's: Scrape is called with it held.
	err := scrape.WithDetails(ctx, func(s *engine.Scrape) {
		p.mu.Lock()
		elapsed := p.elapsed
		p.mu.Unlock()
		if s != scrape {
			elapsed = p.sinceLast(s, elapsed)
		}
		newest = p.copied(s, elapsed, p.sampler.history.last())
	})
	if err != nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tick == tick && p.newest == nil {
		p.newest = newest
	}
	return newest
}

// latest returns the newest snapshot, nil if there is none, and whether there was a
// scrape.
func (p *Page) latest() (newest *snapshot, any bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.newest, p.scrape != nil
}

// leastElapsed is over how long rates are taken at least, where the page itself
// decides that: over less, one packet looks like a flood.
const leastElapsed = 200 * time.Millisecond

// settle waits until the last dump is long enough ago.
func (p *Page) settle(ctx context.Context) {
	p.mu.Lock()
	wait := leastElapsed - time.Since(p.dumped)
	p.mu.Unlock()
	if wait <= 0 {
		return
	}
	select {
	case <-time.After(wait):
	case <-ctx.Done():
	case <-p.stopping:
	}
}

// Progress implements event.Listener.
func (p *Page) Progress(e *event.Progress) { p.sampler.progress(e) }

// Opened implements event.Listener.
func (p *Page) Opened(e *event.Opened) {
	p.sampler.opens++
	if p.watched.Load() {
		p.recent.opened(e)
	}
}

// Ended implements event.Listener.
func (p *Page) Ended(e *event.Ended) {
	if e.Established {
		p.sampler.closes++
	} else {
		p.sampler.failures[e.Failure]++
	}
	p.recent.ended(e, cmp.Or(e.Process, p.late[e.ID]), p.watched.Load())
}
