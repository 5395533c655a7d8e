package page

import (
	"context"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/engine"
	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/table"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// Needs implements engine.View. A page that nobody looks at adds nothing to what a
// scrape reads: as a listener it has the sockets dumped anyway.
func (p *Page) Needs(int64) engine.Needs {
	if p.looking(time.Now()) {
		return engine.Needs{Sockets: true, Listeners: true, States: true, Counters: true}
	}
	return engine.Needs{Sockets: true}
}

// Scrape implements engine.View.
func (p *Page) Scrape(s *engine.Scrape) func(context.Context) error {
	point, elapsed := p.sampler.sample(s, p.cfg.Interval)
	looking := p.looking(s.Now)
	if p.watched.Swap(looking) && !looking {
		p.stream.rest()
	}
	var newest *snapshot
	if looking {
		newest = take(s, elapsed)
		newest.banner(p, s)
		newest.point = point
	}
	p.mu.Lock()
	p.scrape, p.rates, p.newest, p.tick = s, elapsed, newest, s.Tick
	p.mu.Unlock()
	if newest == nil {
		return nil
	}
	return func(context.Context) error {
		p.flush()
		p.publish(newest)
		return nil
	}
}

// current returns the newest snapshot, and takes one if there is none because
// nobody looked; nil before the first scrape.
func (p *Page) current() *snapshot {
	p.mu.Lock()
	scrape, elapsed, newest, tick := p.scrape, p.rates, p.newest, p.tick
	p.mu.Unlock()
	if newest != nil || scrape == nil {
		return newest
	}
	// The engine's lock comes before the page's: Scrape is called with it held.
	scrape.Later(func(func(tcp.Identity) *table.Connection) {
		newest = take(scrape, elapsed)
		newest.banner(p, scrape)
		newest.point = p.sampler.history.last()
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tick == tick && p.newest == nil {
		p.newest = newest
	}
	return newest
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
	p.recent.ended(e, p.watched.Load())
}
