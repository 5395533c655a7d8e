package receiver

import (
	"context"
	"slices"

	"github.com/netpulse/tcpstatsreceiver/internal/detect"
	"github.com/netpulse/tcpstatsreceiver/internal/engine"
	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// findings are the detectors as a listener and as a view of an engine, which guards
// them with its lock.
type findings struct {
	*detect.Detectors
	detailed bool
	listener event.Connection // reused
	limits   func() limits
}

// limits are the limits of the collector's own network namespace that no counter
// shows. 0: not known.
type limits struct {
	firstPort, lastPort   uint16
	tracked, trackedLimit uint64
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
	return &findings{Detectors: detectors, detailed: slices.Contains(cfg.Enabled, detect.Stall), limits: readLimits}, nil
}

// Detailed reports whether the detectors want all that is known of each connection.
func (f *findings) Detailed() bool { return f.detailed }

// Needs implements engine.View.
func (f *findings) Needs(int64) engine.Needs {
	return engine.Needs{Sockets: true, Listeners: true, Counters: true}
}

// Scrape implements engine.View. There is nothing to send: findings are reported as
// they are made.
func (f *findings) Scrape(s *engine.Scrape) func(context.Context) error {
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
		}
		scrape.Spaces = append(scrape.Spaces, space)
	}
	f.Scraped(&scrape)
	return nil
}
