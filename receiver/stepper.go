// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"

	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/receiver"
)

// Stepper is a receiver of metrics without a clock: it scrapes when it is told to.
// Benchmarks measure scrapes with it that come one at a time, as in a collector, where
// they come all the same while a pipeline holds one up.
type Stepper struct {
	receiver *tcpStats
	tick     int64
}

// NewStepper opens what the configuration asks for. The caller closes it.
func NewStepper(ctx context.Context, cfg *Config, set receiver.Settings, next consumer.Metrics) (*Stepper, error) {
	r := newTCPStats(cfg, set, next, sources())
	e, err := r.newEngine()
	if err != nil {
		return nil, err
	}
	if err := e.Open(ctx); err != nil {
		r.telemetry.Shutdown()
		return nil, err
	}
	r.engine = e
	return &Stepper{receiver: r}, nil
}

// Scrape makes one scrape and returns when the pipeline has taken it.
func (s *Stepper) Scrape(ctx context.Context) error {
	s.tick++
	return s.receiver.engine.Once(ctx, s.tick-1)
}

// Close gives back what was opened.
func (s *Stepper) Close() error {
	err := s.receiver.engine.Close()
	s.receiver.telemetry.Shutdown()
	return err
}
