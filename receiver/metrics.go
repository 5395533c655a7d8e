// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/beneath"
	"github.com/netpulse/tcpstatsreceiver/internal/otlp"
)

// newMetrics returns what writes the metrics of each scrape.
func (r *tcpStats) newMetrics(boot, now time.Time) (*otlp.Metrics, error) {
	write, err := r.cfg.metrics()
	if err != nil {
		return nil, err
	}
	write.Beneath, write.Findings = beneath.NewReader().Read, r.counted
	write.Boot, write.Receiver, write.Next, write.Telemetry = boot, r.set, r.next, r.telemetry
	return otlp.NewMetrics(write, now)
}

// endMetrics ends the metrics while records go on.
func (r *tcpStats) endMetrics(ctx context.Context) error {
	if r.engine == nil || r.view == nil {
		return nil
	}
	view := r.view
	r.view = nil
	return r.engine.RemoveView(ctx, view)
}
