// SPDX-License-Identifier: Apache-2.0

//go:build linux

package contestant

import (
	"context"
	"fmt"
	"maps"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/xconfmap"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.uber.org/zap"

	tcpstatsreceiver "github.com/netpulse/tcpstatsreceiver"
	tcpstats "github.com/netpulse/tcpstatsreceiver/receiver"
)

// scrapes is the receiver, which makes one scrape for each pass and hands it to a
// pipeline that throws everything away.
type scrapes struct {
	*tcpstats.Stepper
	sockets int // of this pass
}

func newReceiver(options map[string]any) (*scrapes, error) {
	factory := tcpstatsreceiver.NewFactory()
	cfg := factory.CreateDefaultConfig()
	keys := map[string]any{
		// At the defaults this is due at every scrape.
		"process": map[string]any{"refresh_interval": "0s"},
	}
	maps.Copy(keys, options)
	if err := confmap.NewFromStringMap(keys).Unmarshal(cfg); err != nil {
		return nil, err
	}
	if err := xconfmap.Validate(cfg); err != nil {
		return nil, err
	}
	log, err := zap.Config{
		Level: zap.NewAtomicLevelAt(zap.WarnLevel), Encoding: "console", EncoderConfig: zap.NewDevelopmentEncoderConfig(),
		OutputPaths: []string{"stderr"}, ErrorOutputPaths: []string{"stderr"},
	}.Build(zap.WithCaller(false), zap.AddStacktrace(zap.FatalLevel))
	if err != nil {
		return nil, err
	}
	// Its own telemetry is on, as it is in a collector.
	set := receiver.Settings{ID: component.NewID(factory.Type()), TelemetrySettings: componenttest.NewNopTelemetrySettings(), BuildInfo: component.NewDefaultBuildInfo()}
	set.Logger = log
	set.MeterProvider = metric.NewMeterProvider(metric.WithReader(metric.NewManualReader()))

	all := new(scrapes)
	next, err := consumer.NewMetrics(func(_ context.Context, md pmetric.Metrics) error {
		all.sockets += socketCount(md)
		return nil
	})
	if err != nil {
		return nil, err
	}
	all.Stepper, err = tcpstats.NewStepper(context.Background(), cfg.(*tcpstats.Config), set, next)
	return all, err
}

// first does not know how many sockets there are: where there are several
// network namespaces, the numbers of the others are still to come.
func (s *scrapes) first() (int, error) {
	_, err := s.pass()
	return unknown, err
}

func (s *scrapes) pass() (sockets int, err error) {
	s.sockets = 0
	err = s.Scrape(context.Background())
	return s.sockets, err
}

func (s *scrapes) close() error {
	if err := s.Close(); err != nil {
		return fmt.Errorf("close the receiver: %w", err)
	}
	return nil
}

// socketCount returns the number of sockets that a batch tells of.
func socketCount(md pmetric.Metrics) (sockets int) {
	for _, resource := range md.ResourceMetrics().All() {
		for _, scope := range resource.ScopeMetrics().All() {
			for _, m := range scope.Metrics().All() {
				if m.Name() != "system.network.connection.count" {
					continue
				}
				for _, point := range m.Sum().DataPoints().All() {
					sockets += int(point.IntValue())
				}
			}
		}
	}
	return sockets
}
