// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"iter"
	"net/netip"
	"slices"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// Detectors are the detectors of a configuration. They are used by one goroutine at
// a time, and call their sink from within their methods.
type Detectors struct {
	report       reporter
	hash         hasher
	ignoredPeers []netip.Prefix
	now          time.Time // of the latest event
	end          end       // reused: what is handed to an interface escapes
	query        query
	all          []detector
	progressers  []progresser
	enders       []ender
	attempters   []attempter
	scrapers     []scraper
	queriers     []querier
}

// detector is one detector. What it hears of depends on which of the interfaces
// below it has.
type detector interface {
	// evicted is how many entries its tables have lost for want of room.
	evicted() uint64
}

type progresser interface {
	progress(p *event.Progress, now time.Time)
}
type ender interface{ ended(*end) }
type attempter interface{ attempted(*Attempt) }
type scraper interface{ scraped(*Scrape) }
type querier interface{ queried(*query) }

// end is an event.Ended with what several detectors want of it.
type end struct {
	*event.Ended
	who     who
	whoHash uint64
	at      time.Time
	start   time.Time // when it was established, or the attempt was made; at if that is not known
}

// Attempt is a SYN to a port of this host on which nothing listens, or that was not
// answered. No socket shows it: it takes an engine that sees packets.
type Attempt struct {
	At          time.Time
	Local, Peer netip.AddrPort
	Namespace   uint64
}

// Query is a DNS query that was answered, or that was not in time.
type Query struct {
	At time.Time
	// Local is the host's address, Process who asked; nil if that is not known.
	Local    netip.Addr
	Process  *process.Process
	Resolver netip.AddrPort
	// Name is what was asked for, with or without a dot at its end.
	Name      string
	Answered  bool
	Answers   []netip.Addr
	Namespace uint64
}

// query is a Query with what several detectors want of it.
type query struct {
	*Query
	who     who
	whoHash uint64
}

// Scrape is what a finished scrape has read.
type Scrape struct {
	At time.Time
	// Complete reports that all connections are there.
	Complete bool
	// Connections iterates over connections and listeners.
	Connections iter.Seq[*event.Connection]
	Spaces      []Space
}

// Space is a network namespace in a scrape.
type Space struct {
	// Namespace is as in tcp.Identity, and 0 for the host's own. Name is for people.
	Namespace uint64
	Name      string
	Counters  tcp.Counters
	// FirstPort and LastPort are the ephemeral ports; 0: not known.
	FirstPort, LastPort uint16
	// Tracked is how many connections the kernel's connection tracking has, and
	// TrackedLimit how many it can have; 0: it is not known, or there is none.
	Tracked, TrackedLimit uint64
	// Gateway returns the gateway that leads to an address: an invalid one if the
	// address is on a link, and false if it is not known. nil: none is known.
	Gateway func(netip.Addr) (gateway netip.Addr, ok bool)
}

// space returns a namespace by that of a connection's identity; nil if there is none.
// Connections of the host's own namespace may have its inode.
func (s *Scrape) space(namespace uint64) (found *Space) {
	for i := range s.Spaces {
		switch s.Spaces[i].Namespace {
		case namespace:
			return &s.Spaces[i]
		case 0:
			found = &s.Spaces[i]
		}
	}
	return found
}

// Stats are the detectors' own numbers.
type Stats struct {
	// Evicted is how many entries of bounded tables were given up.
	Evicted uint64
	// Suppressed is how many findings were not reported because the same one was a
	// short time before, or because its executable is ignored.
	Suppressed uint64
}

// New returns the detectors that cfg enables. They hand findings to sink.
func New(cfg Config, sink func(*event.Finding)) (*Detectors, error) {
	if err := cfg.Check("detect"); err != nil {
		return nil, err
	}
	d := &Detectors{}
	var err error
	if d.ignoredPeers, err = parsePrefixes(cfg.Ignore.PeerCIDRs); err != nil {
		return nil, err
	}
	ignored, err := parsePatterns(cfg.Ignore.Executables)
	if err != nil {
		return nil, err
	}
	d.report = reporter{cfg: &cfg, ignored: ignored, sink: sink, hash: d.hash, reported: newLRU[reported](maxRemembered), isHome: isPrivate}
	for _, name := range Names() {
		if !slices.Contains(cfg.Enabled, name) {
			continue
		}
		switch name {
		case Scan:
			d.add(newOutbound(&cfg.Scan, &d.report))
			d.add(newInbound(&cfg.Scan, &d.report))
		case Beacon:
			d.add(newBeacons(&cfg.Beacon, &d.report))
		case DNSTunnel:
			d.add(newTunnels(&cfg.DNSTunnel, &d.report))
		case Egress:
			d.add(newEgress(&cfg.Egress, &d.report))
		case EgressDrift:
			d.add(newDrift(&cfg.EgressDrift, &d.report))
		case Listener:
			d.add(newNewListeners(&cfg.Listener, &d.report))
		case Stall:
			d.add(newStalls(&cfg.Stall, &d.report))
		case Saturation:
			d.add(newSaturations(&cfg.Saturation, &d.report))
			d.add(newGateways(&cfg.Saturation, &d.report))
		}
	}
	return d, nil
}

// SetHome says which addresses are at home: who calls those is no beacon. Without it,
// private addresses are.
func (d *Detectors) SetHome(isHome func(netip.Addr) bool) { d.report.isHome = isHome }

func (d *Detectors) add(one detector) {
	d.all = append(d.all, one)
	if l, ok := one.(progresser); ok {
		d.progressers = append(d.progressers, l)
	}
	if l, ok := one.(ender); ok {
		d.enders = append(d.enders, l)
	}
	if l, ok := one.(attempter); ok {
		d.attempters = append(d.attempters, l)
	}
	if l, ok := one.(scraper); ok {
		d.scrapers = append(d.scrapers, l)
	}
	if l, ok := one.(querier); ok {
		d.queriers = append(d.queriers, l)
	}
}

// Progress implements event.Listener. It happens at the time of the latest event
// before.
func (d *Detectors) Progress(p *event.Progress) {
	if len(d.progressers) == 0 || d.ignores(p.Peer.Addr()) {
		return
	}
	for _, one := range d.progressers {
		one.progress(p, d.now)
	}
}

// Opened implements event.Listener. Detectors look at connections when they end,
// when their numbers are known, or at scrapes.
func (d *Detectors) Opened(o *event.Opened) { d.Reach(o.At) }

// Ended implements event.Listener.
func (d *Detectors) Ended(e *event.Ended) {
	at := e.At
	if at.IsZero() {
		at = d.now
	}
	d.Reach(at)
	if len(d.enders) == 0 || d.ignores(e.Peer.Addr()) {
		return
	}
	it := &d.end
	*it = end{Ended: e, who: whoOf(e.Connection), at: at, start: e.Start}
	if it.start.IsZero() {
		it.start = at
	}
	it.whoHash = d.report.crew.hash(d.hash, it.who, e.Process)
	for _, one := range d.enders {
		one.ended(it)
	}
	*it = end{}
}

// Attempted takes an attempt that met no socket.
func (d *Detectors) Attempted(a *Attempt) {
	d.Reach(a.At)
	if d.ignores(a.Peer.Addr()) {
		return
	}
	for _, one := range d.attempters {
		one.attempted(a)
	}
}

// Queried takes a DNS query.
func (d *Detectors) Queried(q *Query) {
	d.Reach(q.At)
	if len(d.queriers) == 0 {
		return
	}
	it := &d.query
	*it = query{Query: q, who: who{addr: q.Local, namespace: q.Namespace}}
	if p := q.Process; p != nil && p.Executable != "" {
		it.who = who{executable: p.Executable, container: p.ContainerID, namespace: q.Namespace}
	}
	it.whoHash = d.report.crew.hash(d.hash, it.who, q.Process)
	for _, one := range d.queriers {
		one.queried(it)
	}
	*it = query{}
}

// Scraped takes a finished scrape.
func (d *Detectors) Scraped(s *Scrape) {
	d.Reach(s.At)
	for _, one := range d.scrapers {
		one.scraped(s)
	}
}

// Stats returns the detectors' own numbers.
func (d *Detectors) Stats() Stats {
	s := Stats{Evicted: d.report.reported.evicted, Suppressed: d.report.suppressed}
	for _, one := range d.all {
		s.Evicted += one.evicted()
	}
	return s
}

// Reach moves the clock on to a time at which nothing else may have happened. The
// clock never goes back.
func (d *Detectors) Reach(at time.Time) {
	if at.After(d.now) {
		d.now = at
	}
}

func (d *Detectors) ignores(peer netip.Addr) bool {
	for i := range d.ignoredPeers {
		if d.ignoredPeers[i].Contains(peer) {
			return true
		}
	}
	return false
}
