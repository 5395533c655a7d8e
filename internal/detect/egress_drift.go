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
	// maxPrograms bounds the table, maxDestinations what it has of each: some 0.6 MB.
	maxPrograms     = 512
	maxDestinations = 128
)

// drift finds programs that talk to somewhere new. A destination is a network and a
// port: /16 of IPv4, /32 of IPv6, since services change their addresses within those
// every day; of private addresses it is /24 and /64.
type drift struct {
	cfg      *EgressDriftConfig
	report   *reporter
	programs lru[program]
}

type program struct {
	first time.Time
	known [maxDestinations]uint32 // hashes
	n     int
	// roams: it talks to more destinations than are worth learning, as browsers do.
	roams bool
}

func newDrift(cfg *EgressDriftConfig, report *reporter) *drift {
	return &drift{cfg: cfg, report: report, programs: newLRU[program](maxPrograms)}
}

func (d *drift) evicted() uint64 { return d.programs.evicted }

func (d *drift) ended(e *end) {
	if e.Role != tcp.Client || !e.Established || e.Peer.Addr().IsLoopback() {
		return
	}
	p, isNew := d.programs.get(e.whoHash)
	if isNew {
		*p = program{first: e.at}
	}
	if p.roams {
		return
	}
	network := networkOf(e.Peer.Addr())
	what := uint32(d.report.hash.pair(pairKey{addr: network.Addr(), port: e.Peer.Port()}))
	for _, known := range p.known[:p.n] {
		if known == what {
			return
		}
	}
	if p.n >= d.cfg.Destinations {
		p.roams = true
		return
	}
	p.known[p.n] = what
	p.n++
	if e.at.Sub(p.first) < d.cfg.Learn {
		return
	}
	f := event.Finding{
		Rule: "egress_drift", Category: event.Exfiltration, Process: e.Process,
		Subject: fmt.Sprintf("%s to %s, port %d", e.who, network, e.Peer.Port()),
		Body: fmt.Sprintf("%s connected to %s for the first time: it had talked to %d other networks since %s",
			describe(e.who, e.Process), named(e.Connection), p.n-1, clock(p.first)),
		Client: withoutPort(e.Local), Server: e.Peer, ServerName: nameOf(e.Connection), Namespace: e.ID.Namespace,
		Evidence: []event.Evidence{
			number("destinations", float64(p.n-1)), against("learned", round(e.at.Sub(p.first).Seconds()), d.cfg.Learn.Seconds()),
			number("bytes", float64(e.BytesSent)),
		},
		Peers: []string{endpoint(e.Peer)}, At: e.at, First: e.start, Last: e.at,
	}
	d.report.find(&f)
}

func networkOf(a netip.Addr) netip.Prefix {
	bits := 32
	switch {
	case a.Is4() && a.IsPrivate():
		bits = 24
	case a.Is4():
		bits = 16
	case a.IsPrivate() || a.IsLinkLocalUnicast():
		bits = 64
	}
	network, err := a.WithZone("").Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return network
}
