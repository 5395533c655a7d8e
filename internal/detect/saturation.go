// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

const (
	// The bounds of the tables: some 2 MB.
	maxQueues    = 1024
	maxHolders   = 1024
	maxTuples    = 8192
	maxResolvers = 64
	maxSpaces    = 1024
	// calm is for how many scrapes a resource must be free again before its state is
	// over, growing for how many scrapes CLOSE_WAIT must not have fallen.
	calm    = 3
	growing = 3
	// minQueries is how many queries the share of lost answers needs, in
	// resolverWindow.
	minQueries     = 5
	resolverWindow = time.Minute
)

// saturations finds resources that run out: accept queues, SYN cookies, ephemeral
// ports, connection tracking, memory, connections that a program forgot to close, and
// resolvers that do not answer.
type saturations struct {
	cfg       *SaturationConfig
	report    *reporter
	queues    lru[queue]
	holders   lru[holder]
	tuples    lru[tuple]
	spaces    lru[spaceState]
	resolvers lru[resolver]
	scrape    uint32
}

// queue is a listener's accept queue.
type queue struct {
	full lasting
	last uint32 // scrape
	// awaits is since when the queue is full and its program not known.
	awaits time.Time
	gone   event.Finding // its end
}

// holder is a program and its connections in CLOSE_WAIT.
type holder struct {
	who           who
	process       *process.Process
	scrape        uint32
	count, before int // now, and at the scrape before
	grown         int // scrapes in which they were too many and did not fall
	forgotten     lasting
	examples
}

// tuple is a local address and a peer's endpoint, between which each ephemeral port
// serves once.
type tuple struct {
	scrape uint32
	ports  int
	state  lasting
	local  netip.Addr
	peer   netip.AddrPort
	who    who
	of     *process.Process
}

// spaceState is what was found of a network namespace.
type spaceState struct {
	last                       [2]uint64 // SYN cookies sent and memory pressures
	known                      [2]bool
	cookies, pressure, tracked lasting
}

type resolver struct {
	began       time.Time
	asked, lost int
	on          bool
	process     *process.Process // the latest that was known to ask in vain
}

func newSaturations(cfg *SaturationConfig, report *reporter) *saturations {
	return &saturations{
		cfg: cfg, report: report, queues: newLRU[queue](maxQueues), holders: newLRU[holder](maxHolders),
		tuples: newLRU[tuple](maxTuples), spaces: newLRU[spaceState](maxSpaces), resolvers: newLRU[resolver](maxResolvers),
	}
}

func (s *saturations) evicted() uint64 {
	return s.queues.evicted + s.holders.evicted + s.tuples.evicted + s.spaces.evicted + s.resolvers.evicted
}

func (s *saturations) scraped(sc *Scrape) {
	for i := range sc.Spaces {
		s.space(&sc.Spaces[i], sc.At)
	}
	if sc.Connections == nil {
		return
	}
	s.scrape++
	for c := range sc.Connections {
		switch {
		case c.State == tcp.Listen:
			s.queue(c, sc.At)
			continue
		case c.State == tcp.CloseWait:
			s.closeWait(c)
		}
		if c.Role == tcp.Client && sc.isEphemeral(c.ID.Namespace, c.Local.Port()) {
			s.tuple(c)
		}
	}
	if !sc.Complete {
		return
	}
	s.queues.all(func(q *queue) { s.vanished(q, sc.At) })
	s.holders.all(func(h *holder) { s.judgeHolder(h, sc.At) })
	s.tuples.all(func(t *tuple) { s.judgeTuple(t, sc) })
}

func (s *saturations) state(f *event.Finding, began bool, over string) {
	f.Category = event.Availability
	if f.First.IsZero() {
		f.First = f.At
	}
	f.Last = f.At
	if began {
		s.report.raise(f)
		return
	}
	f.Body = over
	s.report.over(f)
}

// queue looks at one accept queue. One that is full turns connections away.
func (s *saturations) queue(c *event.Connection, at time.Time) {
	if c.Details == nil || !c.Has(tcp.FieldQueueLength) || !c.Has(tcp.FieldQueueLimit) || c.Sample.QueueLimit == 0 {
		return
	}
	q, isNew := s.queues.get(s.report.hash.pair(pairKey{who: c.ID.Cookie ^ c.ID.Namespace, addr: c.Local.Addr(), port: c.Local.Port()}))
	if isNew {
		*q = queue{}
	}
	q.last = s.scrape
	length, limit := float64(c.Sample.QueueLength), float64(c.Sample.QueueLimit)
	holds := length >= limit || q.full.on && length >= s.cfg.Usage*limit
	if holds && c.Process == nil && !q.full.on {
		if q.awaits.IsZero() {
			q.awaits = at
		}
		if at.Sub(q.awaits) < patience {
			return
		}
	} else if !holds {
		q.awaits = time.Time{}
	}
	began, over := q.full.update(holds, 1, at)
	if !began && !over {
		return
	}
	f := event.Finding{
		Rule: "saturation.accept_queue", Severity: event.Error, Process: c.Process, Server: c.Local, Namespace: c.ID.Namespace,
		Subject: fmt.Sprintf("%s on %s", whoOf(c), c.Local), At: at,
		Body: fmt.Sprintf("%s does not accept connections on %s as fast as they come: its queue of %d is full, and more are turned away",
			describe(whoOf(c), c.Process), c.Local, c.Sample.QueueLimit),
		Evidence: []event.Evidence{against("queue.length", length, limit), number("queue.limit", limit)},
	}
	q.gone = event.Finding{Rule: f.Rule, Severity: f.Severity, Process: f.Process, Server: f.Server, Namespace: f.Namespace, Subject: f.Subject}
	s.state(&f, began, fmt.Sprintf("the accept queue of %s on %s has room again", describe(whoOf(c), c.Process), c.Local))
}

// vanished ends the state of a listener that is not there any more.
func (s *saturations) vanished(q *queue, at time.Time) {
	if q.last == s.scrape || !q.full.on {
		return
	}
	q.full = lasting{}
	f := q.gone
	f.At = at
	s.state(&f, false, f.Subject+" listens no more")
}

func (s *saturations) closeWait(c *event.Connection) {
	w := whoOf(c)
	h, isNew := s.holders.get(s.report.who(c))
	if isNew {
		*h = holder{who: w}
	}
	if h.scrape != s.scrape {
		h.scrape, h.count, h.examples = s.scrape, 0, examples{}
	}
	h.count++
	h.process = c.Process
	h.examples.add(c.Peer)
}

// judgeHolder reports a program that has many connections which their peers have
// closed, and does not close them: a leak.
func (s *saturations) judgeHolder(h *holder, at time.Time) {
	if h.scrape != s.scrape {
		h.count = 0
	}
	if h.count < h.before || h.count < s.cfg.CloseWait {
		h.grown = 0
	} else {
		h.grown++
	}
	h.before = h.count
	holds := h.count >= s.cfg.CloseWait && (h.grown >= growing || h.forgotten.on)
	began, over := h.forgotten.update(holds, 1, at)
	if !began && !over {
		return
	}
	s.state(&event.Finding{
		Rule: "saturation.close_wait", Process: h.process, Subject: h.who.String(), Namespace: h.who.namespace, At: at,
		Body: fmt.Sprintf("%s has %d connections that their peers have closed, and does not close them: it will run out of descriptors",
			describe(h.who, h.process), h.count),
		Evidence: []event.Evidence{against("close_wait", float64(h.count), float64(s.cfg.CloseWait))},
		Peers:    h.strings(),
	}, began, fmt.Sprintf("%s has closed its connections", describe(h.who, h.process)))
}

func (s *saturations) tuple(c *event.Connection) {
	t, isNew := s.tuples.get(s.report.hash.pair(pairKey{
		who: s.report.hash.pair(pairKey{who: c.ID.Namespace, addr: c.Local.Addr()}), addr: c.Peer.Addr(), port: c.Peer.Port(),
	}))
	if isNew {
		*t = tuple{local: c.Local.Addr(), peer: c.Peer, who: who{namespace: c.ID.Namespace}}
	}
	if t.scrape != s.scrape {
		t.scrape, t.ports = s.scrape, 0
	}
	t.ports++
	if c.Process != nil {
		t.who, t.of = whoOf(c), c.Process
	}
}

// judgeTuple reports that the ephemeral ports towards one endpoint run out.
func (s *saturations) judgeTuple(t *tuple, sc *Scrape) {
	if t.scrape != s.scrape {
		t.ports = 0
	}
	limit := sc.ephemeral(t.who.namespace)
	if limit == 0 {
		return
	}
	usage := float64(t.ports) / float64(limit)
	began, over := t.state.update(usage > s.cfg.Usage, 1, sc.At)
	if !began && !over {
		return
	}
	severity := event.Warning
	if t.ports >= limit {
		severity = event.Error
	}
	s.state(&event.Finding{
		Rule: "saturation.ephemeral_ports", Severity: severity, Process: t.of, Namespace: t.who.namespace, At: sc.At,
		Subject: fmt.Sprintf("%s to %s", t.local, t.peer),
		Body: fmt.Sprintf("%d of %d ephemeral ports from %s to %s are in use: soon no more connections there can be opened",
			t.ports, limit, t.local, t.peer),
		Client: netip.AddrPortFrom(t.local, 0), Server: t.peer,
		Evidence: []event.Evidence{against("usage", round(usage), s.cfg.Usage), number("ports", float64(t.ports)), number("limit", float64(limit))},
		Peers:    []string{endpoint(t.peer)},
	}, began, fmt.Sprintf("ephemeral ports from %s to %s are free again", t.local, t.peer))
}

// ephemeral is how many ephemeral ports a namespace has; 0 if that is not known.
func (s *Scrape) ephemeral(namespace uint64) int {
	if sp := s.space(namespace); sp != nil && sp.LastPort > sp.FirstPort {
		return int(sp.LastPort) - int(sp.FirstPort) + 1
	}
	return 0
}
