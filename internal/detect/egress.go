// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

const (
	// maxServices bounds the table: some 1 MB.
	maxServices = 1024
	// weekHours is how many hours the baseline has: a weekly backup is in it.
	weekHours = 7 * 24
)

// egress finds programs that send far more than ever to one kind of service.
type egress struct {
	cfg      *EgressConfig
	report   *reporter
	services lru[service]
	bySlot   []uint64 // the service's key of each connection, by its slot; 0: none

	values, scratch [weekHours]uint32
}

// service is what a program sent to a port in each hour.
type service struct {
	who      who
	port     uint16
	role     tcp.Role
	first    time.Time
	hour     int64 // that is counted now, since 1970
	bytes    uint64
	judged   bool              // in this hour
	earlier  [weekHours]uint32 // kB, a ring: of hour h at h % weekHours
	learned  int               // how many of them are known
	examples                   // of this hour
	local    netip.Addr
	process  *process.Process
}

func newEgress(cfg *EgressConfig, report *reporter) *egress {
	return &egress{cfg: cfg, report: report, services: newLRU[service](maxServices)}
}

func (g *egress) evicted() uint64 { return g.services.evicted }

func (g *egress) progress(p *event.Progress, now time.Time) {
	for int(p.Slot) >= len(g.bySlot) {
		g.bySlot = append(g.bySlot, 0)
	}
	key := g.bySlot[p.Slot]
	if p.First {
		key = 0
	}
	if p.Gone {
		g.bySlot[p.Slot] = 0
		return
	}
	if p.Delta.BytesSent == 0 || p.Peer.Addr().IsLoopback() || now.IsZero() {
		return
	}
	if key == 0 {
		port := p.Peer.Port()
		if p.Role == tcp.Server {
			port = p.Local.Port()
		}
		key = g.report.hash.pair(pairKey{who: g.report.who(p.Connection), port: port, kind: uint8(p.Role)}) | 1
		g.bySlot[p.Slot] = key
	}
	s, isNew := g.services.get(key)
	if isNew {
		port := p.Peer.Port()
		if p.Role == tcp.Server {
			port = p.Local.Port()
		}
		*s = service{who: whoOf(p.Connection), port: port, role: p.Role, first: now, hour: hourOf(now)}
	}
	s.turn(hourOf(now))
	s.bytes += p.Delta.BytesSent
	s.examples.add(p.Peer)
	s.local, s.process = p.Local.Addr(), p.Process
	if s.bytes >= uint64(g.cfg.Bytes) && !s.judged {
		g.judge(s, now)
	}
}

func hourOf(t time.Time) int64 { return t.Unix() / 3600 }

// turn moves on to an hour. Those in between had nothing.
func (s *service) turn(hour int64) {
	for s.hour < hour {
		s.earlier[s.hour%weekHours] = uint32(min(s.bytes/1000, 1<<32-1))
		s.learned = min(s.learned+1, weekHours)
		s.bytes, s.judged, s.examples = 0, false, examples{}
		s.hour++
		if hour-s.hour > weekHours {
			s.hour = hour - weekHours
		}
	}
}

// judge compares this hour with those before, of which it needs enough. The hours
// without traffic are not counted: the median of a daily backup would be 0.
func (g *egress) judge(s *service, now time.Time) {
	if now.Sub(s.first) < g.cfg.Learn {
		return
	}
	n := 0
	for i := range s.learned {
		if kb := s.earlier[(s.hour-1-int64(i))%weekHours]; kb > 0 {
			g.values[n] = kb
			n++
		}
	}
	if n == 0 {
		return
	}
	slices.Sort(g.values[:n])
	median, most := middle(g.values[:n]), float64(g.values[n-1])
	for i, v := range g.values[:n] {
		g.scratch[i] = uint32(max(float64(v)-median, median-float64(v)))
	}
	slices.Sort(g.scratch[:n])
	mad := middle(g.scratch[:n])
	// 1.4826 MAD is the standard deviation of normal values; six of them are no chance.
	// A backup that grows is no news: it must be twice the most ever.
	threshold := 1000 * max(float64(g.cfg.Factor)*median, median+6*1.4826*mad, 2*most)
	if float64(s.bytes) <= threshold {
		return
	}
	s.judged = true
	threshold = max(threshold, float64(g.cfg.Bytes))
	hour := time.Unix(s.hour*3600, 0)
	f := event.Finding{
		Rule: "egress", Category: event.Exfiltration, Process: s.process,
		Subject: fmt.Sprintf("%s, port %d", s.who, s.port),
		Body: fmt.Sprintf("%s sent %d MB on port %d since %s: the median of an hour is %.1f MB, and the most was %.1f MB",
			describe(s.who, s.process), s.bytes/1e6, s.port, clock(hour), median/1e3, most/1e3),
		Namespace: s.who.namespace,
		Evidence: []event.Evidence{
			against("bytes", float64(s.bytes), threshold), number("median", 1000*median), number("mad", 1000*mad),
			number("most", 1000*most), number("hours", float64(n)),
		},
		Peers: s.strings(), At: now, First: hour, Last: now,
	}
	f.Client, f.Server = netip.AddrPortFrom(s.local, 0), netip.AddrPort{}
	if s.examples.n > 0 {
		f.Server = s.examples.all[0]
	}
	if s.role == tcp.Server {
		f.Client, f.Server = f.Server, netip.AddrPortFrom(s.local, s.port)
	}
	g.report.find(&f)
}
