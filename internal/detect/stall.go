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
	// The bounds of the tables: some 1.5 MB.
	maxFlows    = 2048
	maxNetworks = 4096
	// minSegments is how many segments a share of them needs, in one scrape.
	minSegments = 100
)

// stalls finds connections that stand still: the peer has closed its window, or
// segments are lost, or everybody in one network is far slower than usual.
type stalls struct {
	cfg      *StallConfig
	report   *reporter
	flows    lru[flow]    // by program and service
	networks lru[network] // by the network of peers
	bySlot   []standing
	scrape   uint32
}

// standing is what is remembered of one connection.
type standing struct {
	segments, retransmits uint32 // the low 32 bits, at the last scrape
	cookie                uint32 // of the connection that had the slot then
	closed                uint8  // scrapes in a row in which the peer's window was closed
}

// flow is what a program does with a service.
type flow struct {
	scrape                uint32 // of which the numbers below are
	who                   who
	port                  uint16
	role                  tcp.Role
	segments, retransmits uint64
	closed                int
	lossy                 lasting
	stuck                 lasting
	process               *process.Process
	examples
}

// network is peers that are close to each other.
type network struct {
	scrape uint32
	prefix netip.Prefix
	sum    time.Duration
	n      int
	pace   pace
	slow   lasting
	examples
}

// lasting is a condition that must hold for some scrapes before it counts, and must
// not hold for as many before it is over.
type lasting struct {
	held, lapsed uint16
	on           bool
	since        time.Time
}

// update takes what a scrape says, and returns whether the state began or is over.
func (l *lasting) update(holds bool, scrapes int, at time.Time) (began, over bool) {
	if holds {
		if l.held == 0 {
			l.since = at
		}
		l.held, l.lapsed = min(l.held+1, 1<<15), 0
		if !l.on && int(l.held) >= scrapes {
			l.on = true
			return true, false
		}
		return false, false
	}
	l.lapsed = min(l.lapsed+1, 1<<15)
	if !l.on {
		l.held = 0
	} else if int(l.lapsed) >= scrapes {
		*l = lasting{}
		return false, true
	}
	return false, false
}

func newStalls(cfg *StallConfig, report *reporter) *stalls {
	return &stalls{cfg: cfg, report: report, flows: newLRU[flow](maxFlows), networks: newLRU[network](maxNetworks)}
}

func (s *stalls) evicted() uint64 { return s.flows.evicted + s.networks.evicted }

func (s *stalls) scraped(sc *Scrape) {
	if !sc.Complete || sc.Connections == nil {
		return
	}
	s.scrape++
	for c := range sc.Connections {
		if c.State != tcp.Listen && c.Role != tcp.NoRole {
			s.connection(c)
		}
	}
	s.flows.all(func(f *flow) { s.judgeFlow(f, sc.At) })
	s.networks.all(func(n *network) { s.judgeNetwork(n, sc.At) })
}

func (s *stalls) connection(c *event.Connection) {
	if c.Details == nil {
		return
	}
	port := c.Peer.Port()
	if c.Role == tcp.Server {
		port = c.Local.Port()
	}
	w := whoOf(c)
	f, isNew := s.flows.get(s.report.hash.pair(pairKey{who: s.report.who(c), port: port, kind: uint8(c.Role)}))
	if isNew {
		*f = flow{who: w, port: port, role: c.Role}
	}
	if f.scrape != s.scrape {
		f.scrape, f.segments, f.retransmits, f.closed, f.examples = s.scrape, 0, 0, 0, examples{}
	}
	f.process = c.Process
	for int(c.Slot) >= len(s.bySlot) {
		s.bySlot = append(s.bySlot, standing{})
	}
	last := &s.bySlot[c.Slot]
	now := standing{segments: uint32(c.Sample.SegmentsSent), retransmits: uint32(c.Retransmits), cookie: uint32(c.ID.Cookie)}
	if last.cookie == now.cookie {
		now.closed = last.closed
		if c.Has(tcp.FieldSegmentsSent) && c.Has(tcp.FieldRetransmits) {
			f.segments += uint64(now.segments - last.segments)
			again := now.retransmits - last.retransmits
			f.retransmits += uint64(again)
			if again > 0 {
				f.examples.add(c.Peer)
			}
		}
	}
	if c.Has(tcp.FieldSendWindow) && c.Sample.SendWindow == 0 && c.Has(tcp.FieldUnsent) && c.Sample.Unsent > 0 && c.State != tcp.SynSent {
		now.closed = min(now.closed+1, 255)
		if int(now.closed) >= s.cfg.Scrapes {
			f.closed++
			f.examples.add(c.Peer)
		}
	} else {
		now.closed = 0
	}
	*last = now
	if c.Has(tcp.FieldSmoothedRTT) && c.SmoothedRTT > 0 && c.State == tcp.Established && !c.Peer.Addr().IsLoopback() {
		s.rtt(c)
	}
}

func (s *stalls) rtt(c *event.Connection) {
	prefix := nearby(c.Peer.Addr())
	n, isNew := s.networks.get(s.report.hash.pair(pairKey{addr: prefix.Addr()}))
	if isNew {
		*n = network{prefix: prefix}
	}
	if n.scrape != s.scrape {
		n.scrape, n.sum, n.n, n.examples = s.scrape, 0, 0, examples{}
	}
	n.sum += c.SmoothedRTT
	n.n++
	n.examples.add(c.Peer)
}

// nearby is the network of an address that is most likely in one place.
func nearby(a netip.Addr) netip.Prefix {
	bits := 48
	if a.Is4() {
		bits = 24
	}
	prefix, err := a.WithZone("").Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return prefix
}

func (s *stalls) judgeFlow(f *flow, at time.Time) {
	if f.scrape != s.scrape {
		f.segments, f.retransmits, f.closed = 0, 0, 0
	}
	share := 0.0
	if f.segments >= minSegments {
		share = float64(f.retransmits) / float64(f.segments)
	}
	if began, over := f.lossy.update(share > s.cfg.Retransmits, s.cfg.Scrapes, at); began || over {
		s.state(began, &event.Finding{
			Rule: "stall.retransmits", Process: f.process, Subject: fmt.Sprintf("%s, port %d", f.who, f.port),
			Body: fmt.Sprintf("%s had to send %.1f %% of its segments again on port %d, in %d scrapes in a row",
				describe(f.who, f.process), 100*share, f.port, s.cfg.Scrapes),
			Evidence: []event.Evidence{
				against("retransmit_share", round(share), s.cfg.Retransmits), number("segments", float64(f.segments)),
				number("retransmits", float64(f.retransmits)), number("scrapes", float64(s.cfg.Scrapes)),
			},
			Peers: f.strings(), At: at, First: firstOf(f.lossy.since, at), Last: at, Namespace: f.who.namespace,
		}, "the connections of %s on port %d lose segments no more", f.who, f.port)
	}
	// The connections have waited for as many scrapes already.
	if began, over := f.stuck.update(f.closed > 0, 1, at); began || over {
		s.state(began, &event.Finding{
			Rule: "stall.zero_window", Process: f.process, Subject: fmt.Sprintf("%s, port %d", f.who, f.port),
			Body: fmt.Sprintf("%d connections of %s on port %d cannot send: the peers have not taken any data for %d scrapes",
				f.closed, describe(f.who, f.process), f.port, s.cfg.Scrapes),
			Evidence: []event.Evidence{against("connections", float64(f.closed), 1), number("scrapes", float64(s.cfg.Scrapes))},
			Peers:    f.strings(), At: at, First: firstOf(f.stuck.since, at), Last: at, Namespace: f.who.namespace,
		}, "the peers of %s on port %d take data again", f.who, f.port)
	}
}

func (s *stalls) judgeNetwork(n *network, at time.Time) {
	if n.scrape != s.scrape {
		if _, over := n.slow.update(false, s.cfg.Scrapes, at); over {
			s.network(n, false, 0, at)
		}
		return
	}
	mean := n.sum / time.Duration(n.n)
	slow := n.pace.slow(mean, s.cfg.RTTFactor)
	if began, over := n.slow.update(slow, s.cfg.Scrapes, at); began || over {
		s.network(n, began, mean.Seconds(), at)
	}
	if !slow {
		n.pace.learn(mean)
	}
}

func (s *stalls) network(n *network, began bool, mean float64, at time.Time) {
	s.state(began, &event.Finding{
		Rule: "stall.rtt", Subject: n.prefix.String(),
		Body: fmt.Sprintf("the round trip to %s takes %.0f ms, in %d scrapes in a row: it takes %.0f ms usually",
			n.prefix, 1000*mean, s.cfg.Scrapes, 1000*n.pace.usual),
		Evidence: []event.Evidence{against("rtt", round(mean), round(s.cfg.RTTFactor*n.pace.usual)), number("rtt.usual", round(n.pace.usual)), number("connections", float64(n.n))},
		Peers:    n.strings(), At: at, First: firstOf(n.slow.since, at), Last: at,
	}, "the round trip to %s is as usual again", n.prefix)
}

// state reports that a state began or, with the sentence that follows, is over.
func (s *stalls) state(began bool, f *event.Finding, format string, args ...any) {
	f.Category = event.Availability
	if began {
		s.report.raise(f)
		return
	}
	f.Body = fmt.Sprintf(format, args...)
	s.report.over(f)
}

func firstOf(t, fallback time.Time) time.Time {
	if t.IsZero() {
		return fallback
	}
	return t
}
