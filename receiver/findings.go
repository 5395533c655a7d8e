// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/netpulse/tcpstatsreceiver/internal/capture"
	"github.com/netpulse/tcpstatsreceiver/internal/detect"
	"github.com/netpulse/tcpstatsreceiver/internal/engine"
	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/page"
	"github.com/netpulse/tcpstatsreceiver/internal/route"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// findings are the detectors as a listener and as a view of an engine, which guards
// them with its lock.
type findings struct {
	*detect.Detectors
	enabled  []string
	detailed bool
	listener event.Connection // reused
	limits   func() limits
	// packets are what engines that capture packets have shown; lost counts what of it
	// was lost.
	packets observations
	lost    func(uint64)
}

// limits are the limits of the collector's own network namespace that no counter
// shows, and its routes. 0: not known.
type limits struct {
	firstPort, lastPort   uint16
	tracked, trackedLimit uint64
	routes                route.Table
}

// newFindings returns the detectors that a configuration enables, nil if there are
// none. report is called under the engine's lock, and must not block.
func newFindings(cfg detect.Config, report func(*event.Finding)) (*findings, error) {
	if len(cfg.Enabled) == 0 {
		return nil, nil
	}
	detectors, err := detect.New(cfg, report)
	if err != nil {
		return nil, err
	}
	return &findings{Detectors: detectors, enabled: cfg.Enabled, detailed: slices.Contains(cfg.Enabled, detect.Stall), limits: readLimits, lost: func(uint64) {}}, nil
}

// found passes a finding on: to the metrics, which count it, to the page, and to the
// logs pipeline or, without one, to the collector's own log. It is called under the
// engine's lock, and does not block.
func (r *tcpStats) found(f *event.Finding) {
	r.counted.Count(f)
	if r.pageFindings != nil {
		select {
		case r.pageFindings <- pageFinding(f):
		default: // nobody has read so many: the older ones say more
		}
	}
	if l := r.findingsTo.Load(); l != nil {
		l.found(f)
		return
	}
	r.set.Logger.Warn(f.Body, zap.String("security_rule.name", f.Rule), zap.String("tcp.finding.id", f.ID), zap.Bool("tcp.finding.ended", f.Ended))
}

// pageFinding is a finding as the page shows it.
func pageFinding(f *event.Finding) page.Finding {
	severity := "warn"
	if f.Severity == event.Error {
		severity = "error"
	}
	var detail strings.Builder
	for i, e := range f.Evidence {
		if i > 0 {
			detail.WriteString(", ")
		}
		fmt.Fprintf(&detail, "%s %g", e.Name, e.Value)
		if e.HasThreshold {
			fmt.Fprintf(&detail, " (threshold %g)", e.Threshold)
		}
	}
	return page.Finding{Time: f.At, Rule: f.Rule, Severity: severity, Title: f.Body, Detail: detail.String()}
}

// maxFindings is how many findings wait for the logs pipeline.
const maxFindings = 1000

// wantsPackets reports whether a detector looks at packets that are captured.
func wantsPackets(detector string) bool {
	return detector == detect.Scan || detector == detect.DNSTunnel || detector == detect.Saturation
}

// blind says what the enabled detectors cannot find without an engine that captures
// packets; "" if nothing.
func (f *findings) blind() string {
	var all []string
	for _, b := range []struct{ detector, what string }{
		{detect.Scan, "scan.inbound of closed ports, which meet no socket"},
		{detect.DNSTunnel, "dns_tunnel, which needs DNS messages"},
		{detect.Saturation, "saturation.resolver, which needs DNS messages"},
	} {
		if slices.Contains(f.enabled, b.detector) {
			all = append(all, b.what)
		}
	}
	return strings.Join(all, "; ")
}

// observe has the engine hand over what packets show, of what the enabled detectors
// want. Without a capture of packets, it logs what is not found for want of one.
func (f *findings) observe(cfg *engine.PeersConfig, log *zap.Logger) {
	blind := f.blind()
	if blind == "" {
		return
	}
	if !cfg.Names {
		log.Info("detect: some findings need packets, which are not captured: set peers::dns::enabled to true, which takes CAP_NET_RAW, or CAP_BPF and CAP_NET_ADMIN (FreeBSD: access to /dev/bpf)",
			zap.String("not_found", blind), zap.Strings("engines", capture.Names(cfg.Engines)))
		return
	}
	cfg.Blind = blind
	if slices.Contains(f.enabled, detect.DNSTunnel) || slices.Contains(f.enabled, detect.Saturation) {
		cfg.Observers = append(cfg.Observers, f.packets.looked)
		cfg.Askers = true
	}
	if slices.Contains(f.enabled, detect.Scan) {
		cfg.Knocks = append(cfg.Knocks, f.packets.knocked)
	}
}

// Detailed reports whether the detectors want all that is known of each connection.
func (f *findings) Detailed() bool { return f.detailed }

// follows are the counters whose growth the detectors want.
func (f *findings) follows() []event.Kind {
	if slices.Contains(f.enabled, detect.Saturation) {
		return []event.Kind{event.SegmentsSent} // through each gateway
	}
	return nil
}

// Needs implements engine.View.
func (f *findings) Needs(int64) engine.Needs {
	return engine.Needs{Sockets: true, Listeners: true, Counters: true}
}

// Scrape implements engine.View. There is nothing to send: findings are reported as
// they are made.
func (f *findings) Scrape(s *engine.Scrape) func(context.Context) error {
	if lost := f.packets.hand(f.Detectors, s.Asker); lost > 0 {
		f.lost(lost)
	}
	scrape := detect.Scrape{At: s.Now, Complete: s.Complete, Connections: func(yield func(*event.Connection) bool) {
		for c := range s.Connections() {
			one := &c.Connection
			if c.State == tcp.Listen {
				// Whose a listener is changes with who holds it.
				f.listener = c.Connection
				f.listener.Process = c.Owner.Process
				one = &f.listener
			}
			if !yield(one) {
				return
			}
		}
	}}
	for sp := range s.Spaces() {
		space := detect.Space{Namespace: sp.Namespace, Name: sp.Name, Counters: *sp.Counters}
		if sp.Namespace == 0 {
			l := f.limits()
			space.FirstPort, space.LastPort, space.Tracked, space.TrackedLimit = l.firstPort, l.lastPort, l.tracked, l.trackedLimit
			space.Gateway = l.routes.Gateway
		}
		scrape.Spaces = append(scrape.Spaces, space)
	}
	f.Scraped(&scrape)
	return nil
}
