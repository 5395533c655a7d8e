// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/receiver"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
)

// sharing finds the receiver of a configuration. A receiver that stands in a metrics
// and in a logs pipeline is created once for each, with one configuration: both are
// faces of one receiver with one engine.
//
// All faces are created before any is started, and each is shut down, whether it was
// started or not.
type sharing struct {
	mu       sync.Mutex // guards all that follows, and the faces
	byConfig map[*Config]*shared
}

func newSharing() *sharing { return &sharing{byConfig: make(map[*Config]*shared)} }

// shared is a receiver and how many faces it has.
type shared struct {
	*tcpStats
	faces   int // that were not shut down
	started int
}

// face is the receiver of one signal. It implements component.Component.
type face struct {
	sharing *sharing
	of      *shared
	signal  signal
	started bool
	ended   bool
}

// signal is what a face is for.
type signal uint8

// The signals.
const (
	metrics signal = iota
	logs
)

func (s *sharing) metrics(cfg *Config, set receiver.Settings, next consumer.Metrics, factories []source.Factory) *face {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := s.find(cfg, func(r *tcpStats) bool { return r.next == nil })
	if of == nil {
		of = s.add(newTCPStats(cfg, set, nil, factories))
	}
	of.next = next
	return s.face(of, metrics)
}

func (s *sharing) logs(cfg *Config, set receiver.Settings, next consumer.Logs, factories []source.Factory) *face {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := s.find(cfg, func(r *tcpStats) bool { return r.nextLogs == nil })
	if of == nil {
		of = s.add(newTCPStats(cfg, set, nil, factories))
	}
	of.nextLogs, of.logsSet = next, set
	return s.face(of, logs)
}

// find returns the receiver of a configuration, nil if there is none that has not
// started and whose place for the signal is free.
func (s *sharing) find(cfg *Config, free func(*tcpStats) bool) *shared {
	of := s.byConfig[cfg]
	if of == nil || of.started > 0 || !free(of.tcpStats) {
		return nil
	}
	return of
}

func (s *sharing) add(r *tcpStats) *shared {
	of := &shared{tcpStats: r}
	s.byConfig[r.cfg] = of
	return of
}

func (s *sharing) face(of *shared, signal signal) *face {
	of.faces++
	return &face{sharing: s, of: of, signal: signal}
}

// Start implements component.Component. The first one starts the receiver for all
// signals.
func (f *face) Start(ctx context.Context, host component.Host) error {
	f.sharing.mu.Lock()
	defer f.sharing.mu.Unlock()
	if f.of.started == 0 {
		if err := f.of.tcpStats.Start(ctx, host); err != nil {
			return err
		}
	}
	f.started = true
	f.of.started++
	return nil
}

// Shutdown implements component.Component. It ends the signal, and the last one the
// receiver.
func (f *face) Shutdown(ctx context.Context) error {
	f.sharing.mu.Lock()
	defer f.sharing.mu.Unlock()
	if f.ended {
		return nil
	}
	f.ended = true
	if f.of.faces--; f.of.faces == 0 && f.sharing.byConfig[f.of.cfg] == f.of {
		delete(f.sharing.byConfig, f.of.cfg)
	}
	if f.started {
		f.of.started--
	}
	// A later start of the other signal starts that one alone.
	if f.signal == metrics {
		f.of.next = nil
	} else {
		f.of.nextLogs = nil
	}
	switch {
	case f.of.started == 0:
		return f.of.tcpStats.Shutdown(ctx)
	case f.signal == metrics:
		return f.of.endMetrics(ctx)
	}
	return f.of.endLogs(ctx)
}
