// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"

	"github.com/netpulse/tcpstatsreceiver/internal/metadatatest"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

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
}

// census is a source that knows the states of more sockets than it lists.
type census struct {
	scripted
	states error
}

func (c *census) factory() source.Factory {
	f := c.scripted.factory()
	f.Open = func(context.Context) (source.Source, error) { return c, nil }
	return f
}

func (c *census) States(context.Context) (tcp.States, error) {
	return tcp.States{tcp.Established: 70, tcp.Closed: 2}, c.states
}

func TestStatesThatTheSourceCounts(t *testing.T) {
	src := &census{scripted: scripted{name: "a", sockets: sample(10, tcp.Established)}}
	r := newRig(t, testConfig(), &refusing{}, src)
	r.scrapeOnce(t)
	_, sum := r.sums("system.network.connection.count")
	assert.Equal(t, 72.0, sum)
	metadatatest.AssertEqualReceiverTcpstatsSockets(t, r.telemetry, []metricdata.DataPoint[int64]{
		{Value: 10, Attributes: attribute.NewSet(attribute.String("source", "a"))},
	}, metricdatatest.IgnoreTimestamp())

	src.states = errors.New("not permitted")
	r.sink.Reset()
	r.scrapeOnce(t)
	_, sum = r.sums("system.network.connection.count")
	assert.Equal(t, 10.0, sum, "those that were listed")
	assert.Len(t, r.logs.FilterMessage("the scrape is partial").All(), 1)
}

// A list that changed while the kernel made it has all that was there.
func TestSocketsThatComeAndGoMeanwhile(t *testing.T) {
	changed := &source.PartialError{Type: source.ErrorInterrupted, Count: 1, First: errors.New("sockets came or went")}
	src := &scripted{name: "a", sockets: sample(10, tcp.Established), results: []error{changed}}
	r := newRig(t, testConfig(), &refusing{}, src)
	r.scrapeOnce(t)
	assert.Equal(t, 10, r.observer.Len())
	src.sockets = src.sockets[:3]
	r.scrapeOnce(t)
	assert.Equal(t, 3, r.observer.Len(), "what is missing is gone")
	assert.Empty(t, r.logs.FilterMessage("the scrape is partial").All(), "it is so at every scrape of a busy host")
	metadatatest.AssertEqualReceiverTcpstatsSourceErrors(t, r.telemetry, []metricdata.DataPoint[int64]{
		{Value: 2, Attributes: attribute.NewSet(attribute.String("source", "a"), attribute.String("error.type", "interrupted"))},
	}, metricdatatest.IgnoreTimestamp())
}

func TestSocketsThatWereNeverConnected(t *testing.T) {
	sockets := sample(2, tcp.Closed)
	sockets[0].Peer = netip.MustParseAddrPort("0.0.0.0:0")
	r := newRig(t, testConfig(), &refusing{}, &scripted{name: "a", sockets: sockets})
	r.scrapeOnce(t)
	assert.Equal(t, 1, r.observer.Len(), "they are no connections")
	_, sum := r.sums("system.network.connection.count")
	assert.Equal(t, 2.0, sum, "but sockets")
}

func TestSystemOnly(t *testing.T) {
	cfg := testConfig()
	cfg.Connections.Enabled = false
	r := newRig(t, cfg, &refusing{}, &scripted{name: "a", sockets: sample(10, tcp.Established, tcp.Listen)})
	r.scrapeOnce(t)
	assert.Equal(t, 5, r.observer.Len(), "connections that nobody wants take no place in the table")
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
	cfg.Metrics.TCPListenerDrops.Enabled = false
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
	assert.Equal(t, 10, r.observer.Len(), "what is filtered out takes no place in the table")
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
	assert.Equal(t, "read the TCP counters of the collector's network namespace: open /proc/net/netstat: gone\nsource a: 4 not readable (decode), the first: record of 3 bytes", entry[0].ContextMap()["error"])
	name := attribute.String("source", "a")
	metadatatest.AssertEqualReceiverTcpstatsSourceErrors(t, r.telemetry, []metricdata.DataPoint[int64]{
		{Value: 4, Attributes: attribute.NewSet(name, attribute.String("error.type", "decode"))},
		{Value: 1, Attributes: attribute.NewSet(name, attribute.String("error.type", "counters"))},
	}, metricdatatest.IgnoreTimestamp())

	src.sockets = src.sockets[:1]
	r.scrapeOnce(t)
	assert.Equal(t, 10, r.observer.Len(), "a socket may be among what could not be read: it is not closed")
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
	r.scrapeOnce(t)
	require.Len(t, r.logs.FilterMessage("the scrape is partial").All(), 1, "once, though it goes on")
	src.results = nil
	r.scrapeOnce(t)
	r.scrapeOnce(t)
	require.Len(t, r.logs.FilterMessage("scrapes are complete again").All(), 1)
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
			require.Len(t, r.logs.FilterMessage("the pipeline refuses what was read").All(), 1)
			r.scrapeOnce(t)
			assert.Len(t, r.logs.FilterMessage("the pipeline takes what is read again").All(), 1)
		})
	}
}

// narrowing is a source that leaves out what it is told to.
type narrowing struct {
	*scripted
	asked []string
}

func (n *narrowing) factory() source.Factory {
	f := n.scripted.factory()
	f.Open = func(context.Context) (source.Source, error) { return n, nil }
	return f
}

func (n *narrowing) Narrow(f *source.Filter, counted bool) error {
	n.asked = append(n.asked, fmt.Sprintf("filter %t, counted %t", f != nil, counted))
	return nil
}

// The kernel may filter only where nobody wants the number of all sockets.
func TestFilterInTheKernel(t *testing.T) {
	cfg := testConfig()
	cfg.Filter.LocalPorts = []any{443}
	cfg.System.Interval = 2 * cfg.CollectionInterval
	src := &narrowing{scripted: &scripted{name: "only", sockets: sample(3, tcp.Established)}}
	r := newRig(t, cfg, &refusing{}, src)
	r.scrapeOnce(t)
	points, _ := r.sums("system.network.connection.count")
	assert.Positive(t, points)

	r.sink.Reset()
	r.scrapeOnce(t) // the host's numbers are not due
	points, _ = r.sums("tcp.connection.rtt")
	assert.Equal(t, 3, points)

	assert.Equal(t, []string{"filter true, counted true", "filter true, counted false"}, src.asked)

	cfg.Metrics.SystemNetworkConnectionCount.Enabled = false
	src.asked = nil
	r = newRig(t, cfg, &refusing{}, src)
	r.scrapeOnce(t)
	points, _ = r.sums("system.network.connection.count")
	assert.Zero(t, points)
	assert.Equal(t, []string{"filter true, counted false"}, src.asked)
}
