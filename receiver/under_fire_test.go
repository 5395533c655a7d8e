// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"

	"github.com/netpulse/tcpstatsreceiver/internal/metadatatest"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// Where no walk over the processes is due, a new connection waits one scrape for
// its process and is grouped without one after that: it is neither lost nor
// delayed for long.
func TestAConnectionWaitsForItsProcessOnce(t *testing.T) {
	cfg := groupConfig("process.executable.name", "tcp.role")
	cfg.Process.Attribution = true
	cfg.Process.RefreshInterval = time.Hour
	src := &scripted{name: "a", sockets: []tcp.Socket{held(established(1, 10))}}
	r := newRig(t, cfg, &refusing{}, src)
	r.scrapeOnce(t) // walks, and finds nobody
	opens := func() float64 {
		r.sink.Reset()
		r.scrapeOnce(t)
		_, n := r.sums("tcp.opens")
		return n
	}
	src.sockets = append(src.sockets, held(established(2, 20)))
	assert.Zero(t, opens(), "its process may be found by the next scrape")
	assert.Equal(t, 1.0, opens())
	_, sent := r.sums("tcp.io")
	assert.Equal(t, 20.0, sent)
}

// held gives a socket an inode, as if a process had it.
func held(s tcp.Socket) tcp.Socket {
	s.Inode = 1<<62 + s.ID.Cookie
	return s
}

// What is not complete says nothing of what is live: no counts, no states, no
// histograms. Counters go on.
func TestIncompleteScrapes(t *testing.T) {
	for name, spoil := range map[string]func(*Config, *scripted){
		"failed": func(_ *Config, src *scripted) {
			src.sockets, src.results = src.sockets[:4], []error{errors.New("device gone")}
		},
		"cut short": func(cfg *Config, src *scripted) {
			src.sockets, src.wait = src.sockets[:4], true
		},
		"failed at once": func(_ *Config, src *scripted) {
			src.sockets, src.results = nil, []error{errors.New("device gone")}
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := groupConfig("tcp.role")
			cfg.Timeout = 20 * time.Millisecond
			src := &scripted{name: "a", sockets: sample(10, tcp.Established)}
			r := newRig(t, cfg, &refusing{}, src)
			r.scrapeOnce(t)
			_, live := r.sums("tcp.count")
			assert.Equal(t, 10.0, live)
			spoil(cfg, src)
			r.sink.Reset()
			r.scrapeOnce(t)
			for _, metric := range []string{"tcp.count", "system.network.connection.count"} {
				points, _ := r.sums(metric)
				assert.Zero(t, points, metric)
			}
			for _, md := range r.sink.AllMetrics() {
				for _, rm := range md.ResourceMetrics().All() {
					for _, m := range rm.ScopeMetrics().At(0).Metrics().All() {
						assert.NotEqual(t, pmetric.MetricTypeHistogram, m.Type(), m.Name())
					}
				}
			}
			points, _ := r.sums("tcp.opens")
			assert.Equal(t, 1, points, "counters go on")
		})
	}
}

// A source that is opened anew after an error has the same connections, also
// where the kernel shows no identity of theirs.
func TestTheSameSourceAnew(t *testing.T) {
	anonymous := func(sent uint64) (all []tcp.Socket) {
		for i := range uint64(3) {
			s := established(i+1, sent)
			s.ID = tcp.Identity{}
			all = append(all, s)
		}
		return all
	}
	src := &scripted{name: "a", sockets: anonymous(100)}
	r := newRig(t, groupConfig("tcp.role"), &refusing{}, src)
	r.scrapeOnce(t)
	src.results = []error{errors.New("read: input/output error"), nil}
	r.scrapeOnce(t)
	assert.Equal(t, 2, src.opened)
	src.sockets = anonymous(150)
	r.sink.Reset()
	r.scrapeOnce(t)
	for metric, want := range map[string]float64{"tcp.opens": 0, "tcp.closes": 0, "tcp.io": 150, "tcp.count": 3} {
		_, got := r.sums(metric)
		assert.Equal(t, want, got, metric)
	}
}

// So has one that could not be opened for a while, with nothing else in its place.
func TestTheSameSourceComesBack(t *testing.T) {
	src := &scripted{name: "a", sockets: []tcp.Socket{established(1, 100), established(2, 100)}}
	r := newRig(t, groupConfig("tcp.role"), &refusing{}, src)
	r.scrapeOnce(t)
	src.results, src.openErr = []error{errors.New("read: input/output error"), nil}, errors.New("too many open files")
	r.scrapeOnce(t)
	r.scrapeOnce(t)
	src.openErr, src.sockets = nil, []tcp.Socket{established(1, 150), established(3, 7)}
	r.sink.Reset()
	r.scrapeOnce(t)
	for metric, want := range map[string]float64{"tcp.opens": 1, "tcp.closes": 1, "tcp.io": 57, "tcp.count": 2} {
		_, got := r.sums(metric)
		assert.Equal(t, want, got, metric)
	}
}

// Sockets that their owner closes while they connect are no connections that
// nobody has seen, though the kernel counts them among those that were opened.
func TestAbandonedAttemptsAreNotUnseen(t *testing.T) {
	src := &attempting{scripted: &scripted{name: "a"}}
	r := newRig(t, groupConfig("tcp.role"), &refusing{}, src)
	r.scrapeOnce(t)
	for i := range uint64(20) {
		s := established(i+1, 0)
		s.State = tcp.SynSent
		src.sockets = append(src.sockets, s)
	}
	src.opens = 20
	r.scrapeOnce(t)
	metadatatest.AssertEqualReceiverTcpstatsUnseenConnections(t, r.telemetry, []metricdata.DataPoint[int64]{{Value: 0}}, metricdatatest.IgnoreTimestamp())
	src.sockets = nil // closed before anybody answered: AttemptFails does not count them
	r.scrapeOnce(t)
	r.scrapeOnce(t)
	metadatatest.AssertEqualReceiverTcpstatsUnseenConnections(t, r.telemetry, []metricdata.DataPoint[int64]{{Value: 0}}, metricdatatest.IgnoreTimestamp())
	src.opens += 7 // by connections that were gone before a dump
	r.scrapeOnce(t)
	metadatatest.AssertEqualReceiverTcpstatsUnseenConnections(t, r.telemetry, []metricdata.DataPoint[int64]{{Value: 7}}, metricdatatest.IgnoreTimestamp())
}

// attempting is a source whose kernel counts attempts to connect.
type attempting struct {
	*scripted
	opens uint64
}

func (a *attempting) factory() source.Factory {
	f := a.scripted.factory()
	f.Open = func(context.Context) (source.Source, error) { return a, nil }
	return f
}

func (a *attempting) Counters(context.Context) (counters tcp.Counters, err error) {
	counters.Set(tcp.OpensClient, a.opens)
	counters.Set(tcp.AttemptsFailed, 0)
	return counters, nil
}

// How connections end knows of the filter on executables.
func TestEndsKnowOfTheFilter(t *testing.T) {
	cfg := groupConfig("tcp.role")
	cfg.Process.Attribution = true
	cfg.Filter.Executables.Include = []string{"curl"}
	cfg.Metrics.SystemNetworkTCPRtt.Enabled = true
	src := &telling{scripted: scripted{name: "a"}}
	r := newRig(t, cfg, &refusing{}, src)
	r.scrapeOnce(t)
	of := func(cookie uint64, executable string) tcp.Notice {
		n := ended(established(cookie, 0), 10, 0)
		n.SmoothedRTT, n.Fields = time.Millisecond, n.Fields.With(tcp.FieldSmoothedRTT)
		n.Holder = &tcp.Holder{UID: 4_000_000_000, Executable: executable}
		return n
	}
	src.tell(of(1, "curl"), of(2, "wget"), of(3, "wget"))
	r.sink.Reset()
	r.scrapeOnce(t)
	_, closes := r.sums("tcp.closes")
	assert.Equal(t, 1.0, closes)
	var samples uint64
	for _, md := range r.sink.AllMetrics() {
		for _, rm := range md.ResourceMetrics().All() {
			for _, m := range rm.ScopeMetrics().At(0).Metrics().All() {
				if m.Name() == "system.network.tcp.rtt" {
					samples += m.Histogram().DataPoints().At(0).Count()
				}
			}
		}
	}
	assert.Equal(t, uint64(1), samples)
}

// hanging is a pipeline that takes nothing for a while.
type hanging struct {
	refusing
	entered chan struct{}
	once    sync.Once
	release chan struct{}
}

func (h *hanging) ConsumeMetrics(ctx context.Context, md pmetric.Metrics) error {
	h.once.Do(func() { close(h.entered) })
	select {
	case <-h.release:
	case <-ctx.Done():
		return ctx.Err()
	}
	return h.refusing.ConsumeMetrics(ctx, md)
}

// A backend that hangs costs points and no counts: dumps go on, and every notice
// is counted. 300,000 closes are a minute of 5,000 a second. What is missed is
// counted, and logged once.
func TestAPipelineThatHangs(t *testing.T) {
	const batches, each = 300, 1000
	next := &hanging{entered: make(chan struct{}), release: make(chan struct{})}
	src := &telling{scripted: scripted{name: "a"}}
	cfg := groupConfig("tcp.role")
	cfg.CollectionInterval = 20 * time.Millisecond
	r := newRig(t, cfg, &next.refusing, src)
	r.next = next
	require.NoError(t, r.Start(t.Context(), componenttest.NewNopHost()))
	<-next.entered
	n := uint64(0)
	for range batches {
		notices := make([]tcp.Notice, each)
		for i := range notices {
			n++
			s := established(n%60_000+1, 0)
			s.ID.Cookie = n
			notices[i] = ended(s, 10, 0)
		}
		src.tell(notices...)
		require.Eventually(t, src.drained, 10*time.Second, 100*time.Microsecond, "notices wait for the pipeline")
	}
	missed, err := r.telemetry.GetMetric("otelcol_receiver_tcpstats_missed_ticks")
	require.NoError(t, err)
	var byPipeline int64
	for _, dp := range missed.Data.(metricdata.Sum[int64]).DataPoints {
		if reason, _ := dp.Attributes.Value(attribute.Key("reason")); reason.AsString() == "pipeline" {
			byPipeline = dp.Value
		}
	}
	assert.Positive(t, byPipeline)
	close(next.release)
	total := func() float64 {
		r.sink.Reset()
		time.Sleep(50 * time.Millisecond)
		var closes float64
		for _, md := range r.sink.AllMetrics() {
			for _, rm := range md.ResourceMetrics().All() {
				for _, m := range rm.ScopeMetrics().At(0).Metrics().All() {
					if m.Name() == "tcp.closes" {
						closes = float64(m.Sum().DataPoints().At(0).IntValue())
					}
				}
			}
		}
		return closes
	}
	assert.Eventually(t, func() bool { return total() == batches*each }, 10*time.Second, time.Millisecond)
	again := func() bool { return r.logs.FilterMessage("the pipeline takes scrapes again").Len() > 0 }
	assert.Eventually(t, again, 10*time.Second, time.Millisecond)
	require.NoError(t, r.Shutdown(t.Context()))
	assert.Len(t, r.logs.FilterMessageSnippet("the pipeline has not taken the last scrape yet").All(), 1)
	assert.Len(t, r.logs.FilterMessage("the pipeline takes scrapes again").All(), 1)
	_, err = r.telemetry.GetMetric("otelcol_receiver_tcpstats_events_lost")
	assert.Error(t, err, "nothing was lost")
}

// drained reports whether all notices were taken.
func (s *telling) drained() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.notices) == 0
}

// A scrape that takes longer than the interval is logged once, and what it costs
// is counted.
func TestMissedTicks(t *testing.T) {
	cfg := testConfig()
	cfg.CollectionInterval = 5 * time.Millisecond
	cfg.Timeout = 20 * time.Millisecond
	src := &scripted{name: "a", wait: true}
	r := newRig(t, cfg, &refusing{}, src)
	require.NoError(t, r.Start(t.Context(), componenttest.NewNopHost()))
	require.Eventually(t, func() bool {
		_, err := r.telemetry.GetMetric("otelcol_receiver_tcpstats_missed_ticks")
		return err == nil
	}, 10*time.Second, time.Millisecond)
	time.Sleep(60 * time.Millisecond)
	src.mu.Lock()
	src.wait = false
	src.mu.Unlock()
	require.Eventually(t, func() bool {
		return r.logs.FilterMessage("scrapes keep up with collection_interval again").Len() > 0
	}, 10*time.Second, time.Millisecond)
	require.NoError(t, r.Shutdown(t.Context()))
	assert.Len(t, r.logs.FilterMessageSnippet("ticks are missed").All(), 1)
	assert.Len(t, r.logs.FilterMessage("the scrape is partial").All(), 1, fmt.Sprint(r.messages()))
}
