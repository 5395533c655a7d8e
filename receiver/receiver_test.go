package receiver

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/metadatatest"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

func TestMain(m *testing.M) {
	if spec := os.Getenv(holderEnv); spec != "" {
		if err := hold(spec); err != nil {
			fmt.Fprintln(os.Stderr, "holder of connections:", err)
			os.Exit(1)
		}
		return
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
}

func newRig(t *testing.T, cfg *Config, next *refusing, sources ...*scripted) *rig {
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

// scrapeOnce opens the sources and scrapes without a clock.
func (r *rig) scrapeOnce(t *testing.T) {
	t.Helper()
	if r.scraper == nil {
		s, err := newScraper(context.Background(), r.cfg, r.set, r.next, r.factories)
		require.NoError(t, err)
		r.scraper = s
		t.Cleanup(func() { assert.NoError(t, s.close()) })
	}
	r.scraper.scrape(context.Background(), due{connections: r.cfg.Connections.Enabled, groups: r.cfg.Groups.Enabled, system: r.cfg.System.Enabled})
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

// sums adds up all points of a metric over all batches, and counts them.
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

func TestScrape(t *testing.T) {
	src := &scripted{name: "a", sockets: sample(10, tcp.Established, tcp.Listen)}
	r := newRig(t, testConfig(), &refusing{}, src)
	r.scrapeOnce(t)
	points, sum := r.sums("tcp.connection.rtt")
	assert.Equal(t, 5, points)
	assert.InDelta(t, 0.005, sum, 1e-9)
	points, sum = r.sums("system.network.connection.count")
	assert.Equal(t, int(tcp.NumStates)-1, points)
	assert.Equal(t, 10.0, sum)
	points, _ = r.sums("tcp.listener.queue.usage")
	assert.Equal(t, 1, points, "five that share one address are one series")
	_, sum = r.sums("system.network.tcp.connection.opens")
	assert.Equal(t, 12.0, sum)
	assert.Equal(t, []string{"TCP sockets are read by a"}, r.messages(), "one line, and no more while all is well")

	source := attribute.String("source", "a")
	metadatatest.AssertEqualReceiverTcpstatsSockets(t, r.telemetry, []metricdata.DataPoint[int64]{{Value: 10, Attributes: attribute.NewSet(source)}}, metricdatatest.IgnoreTimestamp())
	metadatatest.AssertEqualReceiverTcpstatsSourceInfo(t, r.telemetry, []metricdata.DataPoint[int64]{{Value: 1, Attributes: attribute.NewSet(source)}}, metricdatatest.IgnoreTimestamp())
	metadatatest.AssertEqualReceiverTcpstatsPoints(t, r.telemetry, []metricdata.DataPoint[int64]{{Value: int64(r.sink.DataPointCount())}}, metricdatatest.IgnoreTimestamp())
}

func TestSystemOnly(t *testing.T) {
	cfg := testConfig()
	cfg.Connections.Enabled = false
	r := newRig(t, cfg, &refusing{}, &scripted{name: "a", sockets: sample(10, tcp.Established, tcp.Listen)})
	r.scrapeOnce(t)
	assert.Equal(t, 5, r.scraper.table.Len(), "connections that nobody wants take no place in the table")
	points, _ := r.sums("tcp.connection.rtt")
	assert.Zero(t, points)
	_, sum := r.sums("system.network.connection.count")
	assert.Equal(t, 10.0, sum)
}

func TestCountersAloneNeedNoDump(t *testing.T) {
	cfg := testConfig()
	cfg.Connections.Enabled = false
	cfg.Metrics.SystemNetworkConnectionCount.Enabled = false
	cfg.Metrics.TCPListenerQueueLimit.Enabled = false
	cfg.Metrics.TCPListenerQueueUsage.Enabled = false
	src := &scripted{name: "a", results: []error{errors.New("was dumped")}}
	r := newRig(t, cfg, &refusing{}, src)
	r.scrapeOnce(t)
	assert.Equal(t, []string{"TCP sockets are read by a"}, r.messages())
	points, _ := r.sums("system.network.tcp.connection.opens")
	assert.Equal(t, 1, points)
}

func TestFilterAndLimit(t *testing.T) {
	cfg := testConfig()
	cfg.Filter.States = []string{"established"}
	cfg.Connections.Limit = 3
	cfg.Connections.BatchSize = 2
	r := newRig(t, cfg, &refusing{}, &scripted{name: "a", sockets: sample(20, tcp.Established, tcp.CloseWait, tcp.Listen, tcp.Established)})
	r.scrapeOnce(t)
	assert.Equal(t, 10, r.scraper.table.Len(), "what is filtered out takes no place in the table")
	points, sum := r.sums("tcp.connection.io")
	assert.Equal(t, 2*3, points)
	assert.Equal(t, 19.0+16+15, sum, "the busiest")
	_, sum = r.sums("system.network.connection.count")
	assert.Equal(t, 20.0, sum, "the host's own numbers know of no filter")
	assert.Len(t, r.sink.AllMetrics(), 3, "two batches of connections and the system's")
	metadatatest.AssertEqualReceiverTcpstatsDroppedSeries(t, r.telemetry, []metricdata.DataPoint[int64]{
		{Value: 7, Attributes: attribute.NewSet(attribute.String("reason", "limit"))},
	}, metricdatatest.IgnoreTimestamp())
}

func TestWhatCannotBeReadCostsOnlyItself(t *testing.T) {
	partial := &source.PartialError{Type: source.ErrorDecode, Count: 4, First: errors.New("record of 3 bytes")}
	src := &scripted{name: "a", sockets: sample(10, tcp.Established), results: []error{partial}, counters: errors.New("open /proc/net/netstat: gone")}
	r := newRig(t, testConfig(), &refusing{}, src)
	r.scrapeOnce(t)
	points, _ := r.sums("tcp.connection.rtt")
	assert.Equal(t, 10, points)
	points, _ = r.sums("system.network.tcp.connection.opens")
	assert.Equal(t, 1, points, "what could be read")
	entry := r.logs.FilterMessage("the scrape is partial").All()
	require.Len(t, entry, 1)
	assert.Equal(t, "source a: 4 not readable (decode), the first: record of 3 bytes\nread the host's TCP counters: open /proc/net/netstat: gone", entry[0].ContextMap()["error"])
	name := attribute.String("source", "a")
	metadatatest.AssertEqualReceiverTcpstatsSourceErrors(t, r.telemetry, []metricdata.DataPoint[int64]{
		{Value: 4, Attributes: attribute.NewSet(name, attribute.String("error.type", "decode"))},
		{Value: 1, Attributes: attribute.NewSet(name, attribute.String("error.type", "counters"))},
	}, metricdatatest.IgnoreTimestamp())

	src.sockets = src.sockets[:1]
	r.scrapeOnce(t)
	assert.Equal(t, 10, r.scraper.table.Len(), "a socket may be among what could not be read: it is not closed")
}

func TestInterruptedDumpsAreMadeAgain(t *testing.T) {
	src := &scripted{name: "a", sockets: sample(10, tcp.Established), results: []error{source.ErrInterrupted, source.ErrInterrupted, nil}}
	r := newRig(t, testConfig(), &refusing{}, src)
	r.scrapeOnce(t)
	points, _ := r.sums("tcp.connection.rtt")
	assert.Equal(t, 10, points)
	_, sum := r.sums("system.network.connection.count")
	assert.Equal(t, 10.0, sum, "counted once")
	assert.Empty(t, r.logs.FilterMessage("the scrape is partial").All())

	src.results = []error{source.ErrInterrupted}
	r.scrapeOnce(t)
	require.Len(t, r.logs.FilterMessage("the scrape is partial").All(), 1)
}

func TestALostSourceIsReplacedInTheSameScrape(t *testing.T) {
	better := &scripted{name: "better", rank: 2, sockets: sample(10, tcp.Established)}
	worse := &scripted{name: "worse", rank: 1, sockets: sample(7, tcp.Established)}
	r := newRig(t, testConfig(), &refusing{}, worse, better)
	r.scrapeOnce(t)
	better.openErr = errors.New("module unloaded")
	better.results = []error{errors.New("device gone")}
	r.sink.Reset()
	r.messages()
	r.scrapeOnce(t)
	points, _ := r.sums("tcp.connection.rtt")
	assert.Equal(t, 7, points)
	_, sum := r.sums("system.network.connection.count")
	assert.Equal(t, 7.0, sum)
	assert.Equal(t, []string{"TCP sockets are read by worse now: better is lost"}, r.messages())
	metadatatest.AssertEqualReceiverTcpstatsSourceInfo(t, r.telemetry, []metricdata.DataPoint[int64]{
		{Value: 0, Attributes: attribute.NewSet(attribute.String("source", "better"))},
		{Value: 1, Attributes: attribute.NewSet(attribute.String("source", "worse"))},
	}, metricdatatest.IgnoreTimestamp())
	assert.Equal(t, 1, better.closed)
}

func TestWithoutAnySourceLeft(t *testing.T) {
	src := &scripted{name: "a", sockets: sample(10, tcp.Established)}
	r := newRig(t, testConfig(), &refusing{}, src)
	r.scrapeOnce(t)
	src.openErr, src.results = errors.New("gone"), []error{errors.New("device gone")}
	r.scrapeOnce(t)
	r.sink.Reset()
	r.scrapeOnce(t)
	assert.Zero(t, r.sink.DataPointCount(), "old numbers are not told again")
	src.openErr, src.results = nil, nil
	r.scrapeOnce(t)
	points, _ := r.sums("tcp.connection.rtt")
	assert.Equal(t, 10, points)
}

func TestTimeoutCutsTheScrapeShort(t *testing.T) {
	cfg := testConfig()
	cfg.Timeout = 20 * time.Millisecond
	src := &scripted{name: "a", sockets: sample(10, tcp.Established), wait: true}
	r := newRig(t, cfg, &refusing{}, src)
	r.scrapeOnce(t)
	points, _ := r.sums("tcp.connection.rtt")
	assert.Equal(t, 10, points, "what was read is written")
	points, _ = r.sums("system.network.connection.count")
	assert.Zero(t, points, "a count of a part would be a lie")
	points, _ = r.sums("system.network.tcp.connection.opens")
	assert.Equal(t, 1, points)
	assert.Len(t, r.logs.FilterMessage("the scrape is partial").All(), 1)
	assert.Equal(t, 1, src.opened, "being slow is not being lost")
}

func TestPipelineThatRefuses(t *testing.T) {
	isConnections := func(md pmetric.Metrics) bool {
		return md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0).Name()[:4] == "tcp."
	}
	for name, tt := range map[string]struct {
		err     error
		batches int
		dropped int64
	}{
		"for now":  {errors.New("memory limit"), 1, 10},
		"for good": {consumererror.NewPermanent(errors.New("malformed")), 3, 4},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig()
			cfg.Connections.BatchSize = 4
			batches := 0
			next := &refusing{refuse: func(md pmetric.Metrics) error {
				if !isConnections(md) {
					return nil
				}
				if batches++; batches == 1 {
					return tt.err
				}
				return nil
			}}
			r := newRig(t, cfg, next, &scripted{name: "a", sockets: sample(10, tcp.Established)})
			r.scrapeOnce(t)
			assert.Equal(t, tt.batches, batches)
			metadatatest.AssertEqualReceiverTcpstatsDroppedSeries(t, r.telemetry, []metricdata.DataPoint[int64]{
				{Value: tt.dropped, Attributes: attribute.NewSet(attribute.String("reason", "pipeline"))},
			}, metricdatatest.IgnoreTimestamp())
			points, _ := r.sums("system.network.tcp.connection.opens")
			assert.Equal(t, 1, points, "the rest of the scrape goes on")
			require.Len(t, r.logs.FilterMessage("the scrape is partial").All(), 1)
		})
	}
}

func TestRunsByTheClockAndStops(t *testing.T) {
	src := &scripted{name: "a", sockets: sample(10, tcp.Established)}
	r := newRig(t, testConfig(), &refusing{}, src)
	require.NoError(t, r.Start(context.Background(), componenttest.NewNopHost()))
	assert.Eventually(t, func() bool { return len(r.sink.AllMetrics()) >= 6 }, 5*time.Second, time.Millisecond)
	require.NoError(t, r.Shutdown(context.Background()))
	assert.Equal(t, 1, src.closed)
	n := len(r.sink.AllMetrics())
	time.Sleep(30 * time.Millisecond)
	assert.Len(t, r.sink.AllMetrics(), n, "nothing after the shutdown")
}

func TestShutdownBeforeTheFirstScrape(t *testing.T) {
	cfg := testConfig()
	cfg.InitialDelay = time.Hour
	r := newRig(t, cfg, &refusing{}, &scripted{name: "a"})
	require.NoError(t, r.Shutdown(context.Background()), "never started")
	require.NoError(t, r.Start(context.Background(), componenttest.NewNopHost()))
	require.NoError(t, r.Shutdown(context.Background()))
	assert.Zero(t, r.sink.DataPointCount())
}

// blocking is a pipeline under back-pressure: it takes nothing until its
// context ends.
type blocking struct {
	refusing
	entered chan struct{}
	once    sync.Once
}

func (b *blocking) ConsumeMetrics(ctx context.Context, _ pmetric.Metrics) error {
	b.once.Do(func() { close(b.entered) })
	<-ctx.Done()
	return ctx.Err()
}

func TestShutdownFreesABlockedPipeline(t *testing.T) {
	next := &blocking{entered: make(chan struct{})}
	r := newRig(t, testConfig(), &next.refusing, &scripted{name: "a", sockets: sample(3, tcp.Established)})
	r.next = next
	require.NoError(t, r.Start(context.Background(), componenttest.NewNopHost()))
	<-next.entered
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	require.NoError(t, r.Shutdown(ctx))
	assert.Empty(t, r.logs.FilterMessage("the scrape is partial").All(), "a shutdown is no trouble to be told of")
}

func TestStartFailsWithoutASource(t *testing.T) {
	r := newRig(t, testConfig(), &refusing{}, &scripted{name: "a", openErr: errors.New("permission denied (grant it)")})
	assert.EqualError(t, r.Start(context.Background(), componenttest.NewNopHost()), "no source of TCP sockets can be opened: a: permission denied (grant it)")
	require.NoError(t, r.Shutdown(context.Background()))
}

// statusHost keeps what components report.
type statusHost struct {
	component.Host
	events []*componentstatus.Event
}

func (h *statusHost) Report(e *componentstatus.Event) { h.events = append(h.events, e) }

func TestASystemThatHasNoSourceYet(t *testing.T) {
	r := newRig(t, testConfig(), &refusing{})
	host := &statusHost{Host: componenttest.NewNopHost()}
	require.NoError(t, r.Start(context.Background(), host), "one configuration serves a mixed fleet")
	require.Len(t, host.events, 1)
	assert.Equal(t, componentstatus.StatusPermanentError, host.events[0].Status())
	require.Len(t, r.messages(), 1)
	require.NoError(t, r.Shutdown(context.Background()))
}

func TestTiers(t *testing.T) {
	var got []int64
	every := newTier(60*time.Second, 10*time.Second)
	for tick := range int64(20) {
		if tick == 6 || tick == 7 { // missed: the pipeline blocked
			continue
		}
		if every.due(tick) {
			got = append(got, tick)
		}
	}
	assert.Equal(t, []int64{0, 8, 12, 18}, got)

	always := newTier(0, 10*time.Second)
	for tick := range int64(5) {
		assert.True(t, always.due(tick))
	}
}

func TestNothingDueReadsNothing(t *testing.T) {
	src := &scripted{name: "a", results: []error{errors.New("was dumped")}}
	r := newRig(t, testConfig(), &refusing{}, src)
	r.scrapeOnce(t)
	r.messages()
	r.scraper.scrape(context.Background(), due{})
	assert.Empty(t, r.messages())
}
