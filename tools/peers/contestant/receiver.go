//go:build linux

package contestant

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

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

// scrapes is the receiver, driven as the collector drives it. Its pipeline
// throws everything away, and holds the last batch of each scrape up until a
// pass is wanted: from one pass to the next is one whole scrape, whatever the
// receiver does at the side between them included.
type scrapes struct {
	receiver receiver.Metrics
	gate     *gate
}

func newReceiver(options map[string]any) (*scrapes, error) {
	factory := tcpstatsreceiver.NewFactory()
	cfg := factory.CreateDefaultConfig()
	keys := map[string]any{
		"initial_delay": "0s",
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
	// It scrapes as soon as it is let, more often than users may ask for.
	cfg.(*tcpstats.Config).CollectionInterval = time.Microsecond
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

	g := newGate()
	next, err := consumer.NewMetrics(g.consume)
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	r, err := factory.CreateMetrics(ctx, set, cfg, next)
	if err != nil {
		return nil, err
	}
	if err := r.Start(ctx, componenttest.NewNopHost()); err != nil {
		return nil, err
	}
	return &scrapes{receiver: r, gate: g}, nil
}

// first does not know how many sockets there are: where there are several
// network namespaces, the numbers of the others are still to come.
func (s *scrapes) first() (int, error) {
	<-s.gate.ends
	return unknown, nil
}

func (s *scrapes) pass() (sockets int, err error) {
	s.gate.next <- struct{}{}
	return <-s.gate.ends, nil
}

func (s *scrapes) close() error {
	close(s.gate.shut)
	if err := s.receiver.Shutdown(context.Background()); err != nil {
		return fmt.Errorf("shut the receiver down: %w", err)
	}
	return nil
}

// gate is a pipeline that discards, and stops a scrape at its end until the
// next is wanted.
type gate struct {
	ends chan int      // the sockets told of since the end before
	next chan struct{} // lets it go on
	shut chan struct{} // closed: nothing is held up any more

	mu      sync.Mutex
	begun   bool // a scrape has written something
	sockets int
}

func newGate() *gate {
	return &gate{ends: make(chan int), next: make(chan struct{}), shut: make(chan struct{})}
}

// consume takes the place of ConsumeMetrics. What the host as a whole has is
// what a scrape writes last; of several such batches it stops the first.
func (g *gate) consume(_ context.Context, md pmetric.Metrics) error {
	sockets, last := socketCount(md)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sockets += sockets
	if !last || !g.begun {
		g.begun = g.begun || !last
		return nil
	}
	sockets, g.begun, g.sockets = g.sockets, false, 0
	select {
	case g.ends <- sockets:
	case <-g.shut:
		return nil
	}
	select {
	case <-g.next:
	case <-g.shut:
	}
	return nil
}

// socketCount returns the number of sockets that a batch tells of.
func socketCount(md pmetric.Metrics) (sockets int, ok bool) {
	for _, resource := range md.ResourceMetrics().All() {
		for _, scope := range resource.ScopeMetrics().All() {
			for _, m := range scope.Metrics().All() {
				if m.Name() != "system.network.connection.count" {
					continue
				}
				ok = true
				for _, point := range m.Sum().DataPoints().All() {
					sockets += int(point.IntValue())
				}
			}
		}
	}
	return sockets, ok
}
