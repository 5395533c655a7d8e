// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/receiver"

	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
)

// NewFactory returns the factory of the receiver tcp_stats.
func NewFactory() receiver.Factory {
	shared := newSharing()
	return receiver.NewFactory(metadata.Type,
		func() component.Config { return createDefaultConfig() },
		receiver.WithMetrics(func(_ context.Context, set receiver.Settings, cfg component.Config, next consumer.Metrics) (receiver.Metrics, error) {
			return shared.metrics(cfg.(*Config), set, next, sources()), nil
		}, metadata.MetricsStability),
		receiver.WithLogs(func(_ context.Context, set receiver.Settings, cfg component.Config, next consumer.Logs) (receiver.Logs, error) {
			return shared.logs(cfg.(*Config), set, next, sources()), nil
		}, metadata.LogsStability))
}
