// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/netpulse/tcpstatsreceiver/internal/engine"
	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

func TestMain(m *testing.M) {
	for env, run := range map[string]func(spec string) error{holderEnv: hold, burstEnv: burst, inhabitantEnv: inhabit} {
		if spec := os.Getenv(env); spec != "" {
			if err := run(spec); err != nil {
				fmt.Fprintf(os.Stderr, "%s: %v\n", env, err)
				os.Exit(1)
			}
			return
		}
	}
	goleak.VerifyTestMain(m)
}

// scripted is a source that plays one result after another, then the last one
// again and again.
type scripted struct {
	name    string
	rank    int
	openErr error

	mu       sync.Mutex
	sockets  []tcp.Socket
	results  []error // of Sockets, after it visited all
	counters error
	wait     bool // until the context ends
	opened   int
	closed   int
}

func (s *scripted) factory() source.Factory {
	return source.Factory{Name: s.name, Rank: s.rank, Capabilities: source.RTT, Open: func(context.Context) (source.Source, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.openErr != nil {
			return nil, s.openErr
		}
		s.opened++
		return s, nil
	}}
}

func (s *scripted) Name() string                      { return s.name }
func (s *scripted) Capabilities() source.Capabilities { return source.RTT }

func (s *scripted) Sockets(ctx context.Context, visit func(*tcp.Socket) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sock := range s.sockets {
		if err := visit(&sock); err != nil {
			return err
		}
	}
	if s.wait {
		<-ctx.Done()
		return ctx.Err()
	}
	if len(s.results) == 0 {
		return nil
	}
	result := s.results[0]
	if len(s.results) > 1 {
		s.results = s.results[1:]
	}
	return result
}

func (s *scripted) Counters(context.Context) (tcp.Counters, error) {
	var counters tcp.Counters
	counters.Set(tcp.OpensServer, 12)
	return counters, s.counters
}

func (s *scripted) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed++
	return nil
}

func sample(n int, states ...tcp.State) (sockets []tcp.Socket) {
	for i := range n {
		s := tcp.Socket{
			ID:    tcp.Identity{Cookie: uint64(i + 1)},
			Local: netip.MustParseAddrPort("192.0.2.1:443"),
			Peer:  netip.AddrPortFrom(netip.MustParseAddr("192.0.2.2"), uint16(i+1)),
			State: states[i%len(states)],
		}
		if s.State == tcp.Listen {
			s.Peer = netip.MustParseAddrPort("0.0.0.0:0")
			s.Fields = s.Fields.With(tcp.FieldQueueLength)
		} else {
			s.Fields = s.Fields.With(tcp.FieldSmoothedRTT).With(tcp.FieldBytesSent).With(tcp.FieldBytesReceived)
			s.SmoothedRTT = time.Millisecond
			s.BytesSent = uint64(i)
		}
		sockets = append(sockets, s)
	}
	return sockets
}

// rig is a receiver with scripted sources.
type rig struct {
	*tcpStats
	sink      *consumertest.MetricsSink
	logs      *observer.ObservedLogs
	telemetry *componenttest.Telemetry
	observer  *steps
}

func newRig(t *testing.T, cfg *Config, next *refusing, sources ...interface{ factory() source.Factory }) *rig {
	t.Helper()
	core, logs := observer.New(zap.DebugLevel)
	telemetry := componenttest.NewTelemetry()
	t.Cleanup(func() { assert.NoError(t, telemetry.Shutdown(context.Background())) })
	set := receivertest.NewNopSettings(metadata.Type)
	set.TelemetrySettings = telemetry.NewTelemetrySettings()
	set.Logger = zap.New(core)
	var factories []source.Factory
	for _, s := range sources {
		factories = append(factories, s.factory())
	}
	r := &rig{sink: &next.MetricsSink, logs: logs, telemetry: telemetry}
	r.tcpStats = newTCPStats(cfg, receiver.Settings{ID: set.ID, TelemetrySettings: set.TelemetrySettings, BuildInfo: set.BuildInfo}, next, factories)
	return r
}

// open opens the sources, without a clock.
func (r *rig) open(t *testing.T) {
	t.Helper()
	if r.observer != nil {
		return
	}
	s, err := newSteps(r.cfg, r.set, r.next, r.factories...)
	require.NoError(t, err)
	r.observer = s
	t.Cleanup(func() { assert.NoError(t, s.close()) })
}

// scrapeOnce opens the sources and scrapes without a clock.
func (r *rig) scrapeOnce(t *testing.T) {
	t.Helper()
	r.open(t)
	_ = r.observer.scrape() // what comes of it shows in the sink
}

// steps is the engine of a receiver that scrapes when it is told to.
type steps struct {
	*engine.Engine
	receiver *tcpStats
	tick     int64
}

// newSteps opens a source; close gives it back.
func newSteps(cfg *Config, set receiver.Settings, next consumer.Metrics, factories ...source.Factory) (*steps, error) {
	s := &steps{receiver: newTCPStats(cfg, set, next, factories)}
	e, err := s.receiver.newEngine()
	if err != nil {
		return nil, err
	}
	if err := e.Open(context.Background()); err != nil {
		return nil, err
	}
	s.Engine = e
	return s, nil
}

func (s *steps) scrape() error {
	s.tick++
	return s.Once(context.Background(), s.tick-1)
}

func (s *steps) close() error {
	defer s.receiver.telemetry.Shutdown()
	return s.Close()
}

// refusing is a sink that refuses what refuse says.
type refusing struct {
	consumertest.MetricsSink
	refuse func(pmetric.Metrics) error
}

func (r *refusing) ConsumeMetrics(ctx context.Context, md pmetric.Metrics) error {
	if r.refuse != nil {
		if err := r.refuse(md); err != nil {
			return err
		}
	}
	return r.MetricsSink.ConsumeMetrics(ctx, md)
}

func testConfig() *Config {
	cfg := createDefaultConfig()
	cfg.CollectionInterval = 10 * time.Millisecond
	cfg.InitialDelay = 0
	cfg.Process.Attribution = false
	cfg.Connections.Enabled = true
	cfg.Groups.Enabled = false
	return cfg
}

// sums adds up all points of a metric over all batches, and counts them. Those that
// only end a series have no value.
func (r *rig) sums(name string) (points int, sum float64) {
	for _, md := range r.sink.AllMetrics() {
		for _, rm := range md.ResourceMetrics().All() {
			for _, sm := range rm.ScopeMetrics().All() {
				for _, m := range sm.Metrics().All() {
					if m.Name() != name {
						continue
					}
					var dps pmetric.NumberDataPointSlice
					if m.Type() == pmetric.MetricTypeSum {
						dps = m.Sum().DataPoints()
					} else {
						dps = m.Gauge().DataPoints()
					}
					for _, dp := range dps.All() {
						if dp.Flags().NoRecordedValue() {
							continue
						}
						points++
						sum += dp.DoubleValue() + float64(dp.IntValue())
					}
				}
			}
		}
	}
	return points, sum
}

func (r *rig) messages() (all []string) {
	for _, e := range r.logs.TakeAll() {
		all = append(all, e.Message)
	}
	return all
}
