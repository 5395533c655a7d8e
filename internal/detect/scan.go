// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
)

// The bounds of the tables of one direction: some 2 MB.
const (
	maxScanners = 1024
	maxByPort   = 2048
	maxByHost   = 2048
)

// scans finds who tries many hosts on one port, or many ports of one host, in one
// direction. The thresholds are those of Zeek's scan script: failed attempts alone,
// 25 hosts or 15 ports in 5 minutes. What a scanner tries more slowly is remembered
// for ScanConfig.SlowWindow.
//
// There is one finding for each scanner, whatever it scans.
type scans struct {
	cfg    *ScanConfig
	report *reporter
	rule   string
	// known are the scanners that were found: nothing is remembered of what they try
	// while they go on.
	known  lru[hush]
	byPort lru[tries] // the hosts that a scanner tried on one port
	byHost lru[tries] // the ports that a scanner tried of one host
}

// attempt is one attempt that came to nothing.
type attempt struct {
	who     who // the scanner
	whoHash uint64
	process *process.Process // of the scanner, if it runs here
	from    netip.AddrPort   // port 0
	to      netip.AddrPort
	at      time.Time
}

func newScans(rule string, cfg *ScanConfig, report *reporter) scans {
	return scans{
		cfg: cfg, report: report, rule: rule,
		known: newLRU[hush](maxScanners), byPort: newLRU[tries](maxByPort), byHost: newLRU[tries](maxByHost),
	}
}

func (s *scans) evicted() uint64 { return s.known.evicted + s.byPort.evicted + s.byHost.evicted }

func (s *scans) portKey(scanner uint64, port uint16) uint64 {
	return s.report.hash.pair(pairKey{who: scanner, port: port})
}

// failed takes an attempt that came to nothing.
func (s *scans) failed(a *attempt) {
	if known := s.known.find(a.whoHash); known != nil && known.quiet(s.report.cfg, a.at, 0) {
		return
	}
	addr := s.report.hash.pair(pairKey{addr: a.to.Addr()})
	hosts, isNew := s.byPort.get(s.portKey(a.whoHash, a.to.Port()))
	if isNew {
		hosts.reset(a.at, s.cfg.Hosts)
	}
	hosts.add(uint32(addr), a.at)
	hosts.examples.add(a.to)
	if n, first, window := s.over(hosts, s.cfg.Hosts, a.at); n >= s.cfg.Hosts && hosts.reached.count() < float64(n) {
		s.found(a, hosts, first, fmt.Sprintf("%d hosts on port %d", n, a.to.Port()), window,
			against("hosts", float64(n), float64(s.cfg.Hosts)), number("hosts.reached", hosts.reached.count()))
		return
	}
	ports, isNew := s.byHost.get(s.report.hash.pair(pairKey{who: a.whoHash, addr: a.to.Addr()}))
	if isNew {
		ports.reset(a.at, s.cfg.Ports)
	}
	ports.add(uint32(a.to.Port()), a.at)
	ports.examples.add(a.to)
	if n, first, window := s.over(ports, s.cfg.Ports, a.at); n >= s.cfg.Ports {
		s.found(a, ports, first, fmt.Sprintf("%d ports of %s", n, a.to.Addr()), window,
			against("ports", float64(n), float64(s.cfg.Ports)))
	}
}

// reached takes a connection that was established. Who reaches more hosts on a port
// than it fails to reach does not scan.
func (s *scans) reached(scanner uint64, to netip.AddrPort) {
	if hosts := s.byPort.find(s.portKey(scanner, to.Port())); hosts != nil {
		hosts.reached.add(s.report.hash.pair(pairKey{addr: to.Addr()}))
	}
}

// over counts what was tried within the window or, if that is not enough, within the
// slow window.
func (s *scans) over(t *tries, threshold int, at time.Time) (n int, first time.Time, window time.Duration) {
	if len(t.tried) < threshold {
		return len(t.tried), at, 0
	}
	for _, window := range [...]time.Duration{s.cfg.Window, s.cfg.SlowWindow} {
		if n, first := t.within(window, at); n >= threshold {
			return n, first, window
		}
	}
	return 0, at, 0
}

func (s *scans) found(a *attempt, t *tries, first time.Time, what string, window time.Duration, evidence ...event.Evidence) {
	f := event.Finding{
		Rule: s.rule, Category: event.Reconnaissance, Subject: a.who.String(), Process: a.process,
		Body:   fmt.Sprintf("%s tried %s within %s, since %s, and reached none of them", describe(a.who, a.process), what, window, clock(first)),
		Client: a.from, Server: a.to, Namespace: a.who.namespace,
		Evidence: append(evidence, number("window", window.Seconds())),
		Peers:    t.strings(), At: a.at, First: first, Last: a.at,
	}
	known, _ := s.known.get(a.whoHash)
	*known = s.report.find(&f)
	// Whoever goes on is found again by what it tries from then on.
	t.reset(a.at, cap(t.tried))
}

// clock is a time for people.
func clock(t time.Time) string { return t.UTC().Format("15:04:05 UTC") }
