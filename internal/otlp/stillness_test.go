// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"context"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/receiver/receivertest"

	"github.com/netpulse/tcpstatsreceiver/internal/engine"
	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// kernel is a source whose sockets a test changes between scrapes.
type kernel struct {
	mu      sync.Mutex
	sockets []*tcp.Socket
	result  error // of the next dump, after it visited all
	opened  int
	reused  tcp.Socket

	// Of a kernel that leaves out what has not moved.
	moved   map[uint64]bool // cookies of those that have, since a dump that succeeded
	partial int             // dumps that left something out
	notices []tcp.Notice
	closed  chan struct{}
}

func (k *kernel) Name() string                                   { return "scripted" }
func (k *kernel) Capabilities() source.Capabilities              { return source.RTT }
func (k *kernel) Counters(context.Context) (tcp.Counters, error) { return tcp.Counters{}, nil }
func (k *kernel) Close() error                                   { return nil }

func (k *kernel) Sockets(_ context.Context, visit func(*tcp.Socket) error) error {
	return k.dump(visit, func(*tcp.Socket) bool { return true })
}

func (k *kernel) dump(visit func(*tcp.Socket) error, wanted func(*tcp.Socket) bool) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, s := range k.sockets {
		if !wanted(s) {
			continue
		}
		k.reused = *s
		if err := visit(&k.reused); err != nil {
			return err
		}
	}
	err := k.result
	if k.result = nil; err == nil {
		clear(k.moved)
	}
	return err
}

// movingKernel leaves out what has not moved, and gives notice of what has ended.
type movingKernel struct{ *kernel }

func (k movingKernel) Capabilities() source.Capabilities { return source.RTT | source.Closes }

func (k movingKernel) Moved(_ context.Context, visit func(*tcp.Socket) error) (all bool, err error) {
	k.partial++
	return false, k.dump(visit, func(s *tcp.Socket) bool { return s.State != tcp.Established || k.moved[s.ID.Cookie] })
}

func (k movingKernel) Closes() (source.CloseStream, error) {
	k.closed = make(chan struct{})
	return closes{k.kernel, k.closed}, nil
}

type closes struct {
	*kernel
	closed chan struct{}
}

func (c closes) Wait() error {
	<-c.closed
	return os.ErrClosed
}

func (c closes) Drain(visit func(*tcp.Notice) error) (uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.notices {
		if err := visit(&c.notices[i]); err != nil {
			return 0, err
		}
	}
	c.notices = nil
	return 0, nil
}

func (c closes) Close() error {
	close(c.closed)
	return nil
}

// value is the last one of a series.
type value struct {
	start  pcommon.Timestamp
	number float64
}

// backend keeps the last value of every series, as exporters that keep state do, and
// counts what it is sent.
type backend struct {
	series map[string]value
	key    []byte // reused
	// points and written are the points with a value and the connections that had any,
	// by peer port, in the scrape; ends are the series that ended in it.
	points  int
	written map[int64]bool
	ends    []string
	unknown []string // series that ended though they were not there
	// refuse refuses batches.
	refuse func(pmetric.Metrics) error
}

func (b *backend) take(_ context.Context, md pmetric.Metrics) error {
	if b.refuse != nil {
		if err := b.refuse(md); err != nil {
			return err
		}
	}
	eachPoint(md, func(resource pcommon.Map, m pmetric.Metric, dp pmetric.NumberDataPoint) {
		b.key = append(append(b.key[:0], m.Name()...), ' ')
		for _, attributes := range []pcommon.Map{dp.Attributes(), resource} {
			for name, value := range attributes.All() {
				b.key = append(append(b.key, name...), '=')
				if value.Type() == pcommon.ValueTypeInt {
					b.key = strconv.AppendInt(b.key, value.Int(), 10)
				} else {
					b.key = append(b.key, value.Str()...)
				}
				b.key = append(b.key, ' ')
			}
		}
		key := string(b.key)
		if dp.Flags().NoRecordedValue() {
			if _, ok := b.series[key]; !ok {
				b.unknown = append(b.unknown, key)
			}
			delete(b.series, key)
			b.ends = append(b.ends, key)
			return
		}
		b.points++
		port, _ := dp.Attributes().Get("network.peer.port")
		b.written[port.Int()] = true
		now := value{start: dp.StartTimestamp(), number: dp.DoubleValue() + float64(dp.IntValue())}
		if name := m.Name(); name == "tcp.connection.age" || name == "tcp.connection.idle" {
			now = value{start: dp.StartTimestamp()} // it grows by itself
		}
		b.series[key] = now
	})
	return nil
}

func eachPoint(md pmetric.Metrics, visit func(resource pcommon.Map, m pmetric.Metric, dp pmetric.NumberDataPoint)) {
	for _, rm := range md.ResourceMetrics().All() {
		for _, m := range rm.ScopeMetrics().At(0).Metrics().All() {
			for _, dp := range points(m).All() {
				visit(rm.Resource().Attributes(), m, dp)
			}
		}
	}
}

// peers are the peer ports of the connections that a scrape wrote.
func (b *backend) peers() []int64 { return slices.Sorted(maps.Keys(b.written)) }

// ended are the peer ports whose series of a metric ended in a scrape.
func (b *backend) ended(metric string) (ports []string) {
	for _, key := range b.ends {
		if strings.HasPrefix(key, metric+" ") {
			_, port, _ := strings.Cut(key, "network.peer.port=")
			port, _, _ = strings.Cut(port, " ")
			ports = append(ports, port)
		}
	}
	slices.Sort(ports)
	return ports
}

// meddler is a view that decides owners and peers before the others look, as the
// attribution does.
type meddler struct{ meddle func(*engine.Scrape) }

func (m *meddler) Needs(int64) engine.Needs { return engine.Needs{Sockets: true} }

func (m *meddler) Scrape(s *engine.Scrape) func(context.Context) error {
	if m.meddle != nil {
		m.meddle(s)
	}
	return nil
}

// deaf is a listener that nothing comes of.
type deaf struct{}

func (deaf) Progress(*event.Progress) {}
func (deaf) Opened(*event.Opened)     {}
func (deaf) Ended(*event.Ended)       {}

// stillRig is an engine without a clock, with views of one kernel that differ in their
// configuration.
type stillRig struct {
	testing.TB
	*kernel
	engine   *engine.Engine
	meddler  meddler
	views    []*Metrics
	backends []*backend
	tick     int64
}

func newStillRig(t testing.TB, k *kernel, src source.Source, change func(*MetricsConfig), all ...ConnectionsConfig) *stillRig {
	telemetry := componenttest.NewNopTelemetrySettings()
	builder, err := metadata.NewTelemetryBuilder(telemetry)
	require.NoError(t, err)
	t.Cleanup(builder.Shutdown)
	r := &stillRig{TB: t, kernel: k}
	r.engine = engine.New(engine.Config{
		Interval: 1, Detailed: true, Boot: boot, Logger: telemetry.Logger, Telemetry: builder, Source: source.Choice{Name: source.Auto},
		Factories: []source.Factory{{Name: "scripted", Capabilities: src.Capabilities(), Open: func(context.Context) (source.Source, error) {
			k.opened++
			return src, nil
		}}},
	})
	r.engine.AddView(&r.meddler)
	r.engine.Listen(deaf{}) // without listeners no ends are looked for
	for _, connections := range all {
		b := &backend{series: make(map[string]value), written: make(map[int64]bool)}
		next, err := consumer.NewMetrics(b.take)
		require.NoError(t, err)
		cfg := MetricsConfig{
			MetricsBuilderConfig: metadata.NewDefaultMetricsBuilderConfig(), Connections: connections, Boot: boot,
			Receiver: receivertest.NewNopSettings(metadata.Type), Next: next, Telemetry: builder,
		}
		if change != nil {
			change(&cfg)
		}
		m, err := NewMetrics(cfg, now)
		require.NoError(t, err)
		r.engine.AddView(m)
		r.views, r.backends = append(r.views, m), append(r.backends, b)
	}
	require.NoError(t, r.engine.Open(context.Background()))
	t.Cleanup(func() { require.NoError(t, r.engine.Close()) })
	return r
}

// scrape makes the scrape of a tick. What comes of it shows in the backends.
func (r *stillRig) scrape(tick int64) {
	for _, b := range r.backends {
		b.points, b.ends = 0, nil
		clear(b.written)
	}
	_ = r.engine.Once(context.Background(), tick)
	r.tick = tick
}

// next makes the scrape of the next tick, and returns the peer ports of the connections
// that the first view wrote in it.
func (r *stillRig) next() []int64 {
	r.scrape(r.tick + 1)
	return r.backends[0].peers()
}

// every writes all connections, in batches that a test fills; change tells of what else.
func every(unchanged int64, change ...func(*ConnectionsConfig)) ConnectionsConfig {
	c := ConnectionsConfig{Every: 1, BatchSize: 7, Unchanged: unchanged}
	for _, do := range change {
		do(&c)
	}
	return c
}

// still is a socket whose peer's port is its cookie.
func still(cookie uint64) *tcp.Socket {
	s := full()
	s.ID.Cookie = cookie
	s.Peer = netip.AddrPortFrom(s.Peer.Addr(), uint16(cookie))
	return &s
}

func stills(n int) (all []*tcp.Socket) {
	for i := range n {
		all = append(all, still(uint64(i+1)))
	}
	return all
}

// never is longer than any of these tests.
const never = 1_000_000
