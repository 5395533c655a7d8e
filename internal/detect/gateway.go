// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

const (
	// maxGateways bounds the table of gateways, maxNetworks (see stall.go) that of the
	// networks behind them: some 0.6 MB.
	maxGateways = 64
	// Through a gateway there must be so many connections that send, to so many
	// networks: what fewer have in common may be their peers.
	minThrough         = 5
	minThroughNetworks = 3
	// lossyShare is from which share of its segments a connection loses them.
	lossyShare = 0.05
	// gatewayScrapes is for how many scrapes a gateway must lose segments, or lose none.
	gatewayScrapes = 3
	// segmentSize is how many bytes a segment has where nobody counts segments.
	segmentSize = 1448
)

// gateways finds gateways that lose segments, or slow them down: connections to many
// networks suffer at once, and all of these are behind one gateway.
type gateways struct {
	cfg      *SaturationConfig
	report   *reporter
	networks lru[behind]
	gateways lru[gateway]
	scrape   uint32
}

// behind is a network of peers.
type behind struct {
	scrape        uint32 // of which the numbers below are
	namespace     uint64
	peer          netip.AddrPort // one of them
	active, lossy int            // connections that sent, and those that lost segments
	sum           time.Duration  // of round-trip times
	n             int
	pace          pace
}

// gateway is what leads to networks, or nothing: a link of this host.
type gateway struct {
	scrape        uint32
	namespace     uint64
	addr          netip.Addr // invalid: none
	active, lossy int
	networks      int // with connections that send
	paced, slow   int // networks whose round-trip time is known, and of them the slow ones
	bad           lasting
	examples
}

func newGateways(cfg *SaturationConfig, report *reporter) *gateways {
	return &gateways{cfg: cfg, report: report, scrape: 1, networks: newLRU[behind](maxNetworks), gateways: newLRU[gateway](maxGateways)}
}

func (g *gateways) evicted() uint64 { return g.networks.evicted + g.gateways.evicted }

// progress takes what a connection sent since the last scrape.
func (g *gateways) progress(p *event.Progress, _ time.Time) {
	d := &p.Delta
	if p.Gone || d.BytesSent == 0 && d.Retransmits == 0 && d.BytesReceived == 0 || p.Peer.Addr().IsLoopback() || p.Peer.Addr() == p.Local.Addr() {
		return
	}
	b := g.network(p.Connection)
	if d.BytesSent > 0 || d.Retransmits > 0 {
		segments := d.BytesSent/segmentSize + 1
		if p.Growth != nil && p.Growth[event.SegmentsSent] > 0 {
			segments = uint64(p.Growth[event.SegmentsSent])
		}
		b.active++
		if float64(d.Retransmits) > lossyShare*float64(segments) {
			b.lossy++
		}
	}
	if p.Has(tcp.FieldSmoothedRTT) && p.SmoothedRTT > 0 && p.Is == tcp.Established {
		b.sum += p.SmoothedRTT
		b.n++
	}
}

func (g *gateways) network(c *event.Connection) *behind {
	prefix := nearby(c.Peer.Addr())
	b, isNew := g.networks.get(g.report.hash.pair(pairKey{who: c.ID.Namespace, addr: prefix.Addr()}))
	if isNew {
		*b = behind{}
	}
	if b.scrape != g.scrape {
		*b = behind{scrape: g.scrape, namespace: c.ID.Namespace, peer: c.Peer, pace: b.pace}
	}
	return b
}

func (g *gateways) scraped(sc *Scrape) {
	g.networks.all(func(b *behind) {
		if b.scrape != g.scrape {
			return
		}
		sp := sc.space(b.namespace)
		if sp == nil || sp.Gateway == nil {
			return
		}
		if addr, ok := sp.Gateway(b.peer.Addr()); ok {
			g.add(g.gateway(b.namespace, addr), b)
		}
	})
	g.gateways.all(func(one *gateway) { g.judge(one, sc.At) })
	g.scrape++
}

func (g *gateways) gateway(namespace uint64, addr netip.Addr) *gateway {
	one, isNew := g.gateways.get(g.key(namespace, addr))
	if isNew {
		*one = gateway{namespace: namespace, addr: addr}
	}
	if one.scrape != g.scrape {
		*one = gateway{scrape: g.scrape, namespace: namespace, addr: addr, bad: one.bad}
	}
	return one
}

func (g *gateways) key(namespace uint64, addr netip.Addr) uint64 {
	return g.report.hash.pair(pairKey{who: namespace, addr: addr})
}

func (g *gateways) add(one *gateway, b *behind) {
	one.active += b.active
	one.lossy += b.lossy
	if b.active > 0 {
		one.networks++
	}
	if b.lossy > 0 {
		one.examples.add(b.peer)
	}
	if b.n == 0 {
		return
	}
	mean := b.sum / time.Duration(b.n)
	if !b.pace.known() {
		b.pace.learn(mean)
		return
	}
	one.paced++
	if b.pace.slow(mean, gatewaySlow) {
		one.slow++
		one.examples.add(b.peer)
		return
	}
	b.pace.learn(mean)
}

// gatewaySlow is how many times as usual the round trips through a slow gateway take,
// as StallConfig.RTTFactor has it.
const gatewaySlow = 3

// judge reports a gateway through which most connections lose segments, or most
// networks have become slow.
func (g *gateways) judge(one *gateway, at time.Time) {
	if !one.addr.IsValid() {
		return
	}
	if one.scrape != g.scrape {
		*one = gateway{namespace: one.namespace, addr: one.addr, bad: one.bad}
	}
	enough := one.active >= minThrough && one.networks >= minThroughNetworks
	lossy := ratio(one.lossy, one.active)
	slow := ratio(one.slow, one.paced)
	loses := enough && lossy >= g.cfg.LostAnswers
	slows := one.paced >= minThroughNetworks && slow >= g.cfg.LostAnswers
	if !loses && !slows && !enough && one.lossy > 0 {
		return // too few to say that it is over
	}
	began, over := one.bad.update(loses || slows, gatewayScrapes, at)
	if !began && !over {
		return
	}
	f := event.Finding{
		Rule: "saturation.gateway", Category: event.Availability, Subject: "gateway " + one.addr.String(), Namespace: one.namespace,
		Evidence: []event.Evidence{
			against("lossy_share", round(lossy), g.cfg.LostAnswers), number("connections", float64(one.active)), number("networks", float64(one.networks)),
			against("slow_share", round(slow), g.cfg.LostAnswers),
		},
		Peers: one.strings(), At: at, First: firstOf(one.bad.since, at), Last: at,
	}
	if over {
		f.Body = fmt.Sprintf("connections through the gateway %s do well again", one.addr)
		g.report.over(&f)
		return
	}
	if loses && one.lossy == one.active {
		f.Severity = event.Error
	}
	f.Body = fmt.Sprintf("%d of %d connections through the gateway %s, to %d networks, lose segments since %s",
		one.lossy, one.active, one.addr, one.networks, clock(f.First))
	if !loses {
		f.Body = fmt.Sprintf("the round trips to %d of %d networks behind the gateway %s take %d times as long as usual, or more, since %s",
			one.slow, one.paced, one.addr, gatewaySlow, clock(f.First))
	}
	f.Body += g.besides(one, &f)
	g.report.raise(&f)
}

// besides says how connections fare that need no gateway, and adds that to the
// evidence: if they suffer as well, it is not the gateway but this host's link.
func (g *gateways) besides(one *gateway, f *event.Finding) string {
	direct := g.gateways.find(g.key(one.namespace, netip.Addr{}))
	if direct == nil || direct.scrape != g.scrape || direct.active == 0 {
		return ""
	}
	share := ratio(direct.lossy, direct.active)
	f.Evidence = append(f.Evidence, number("direct.lossy_share", round(share)), number("direct.connections", float64(direct.active)))
	if share >= g.cfg.LostAnswers {
		return "; so do those to peers on this host's own links: look at these first"
	}
	return "; those to peers on this host's own links do not"
}

func ratio(part, all int) float64 {
	if all == 0 {
		return 0
	}
	return float64(part) / float64(all)
}
