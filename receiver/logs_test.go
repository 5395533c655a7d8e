// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// refusingLogs is a sink of logs that refuses what refuse says.
type refusingLogs struct {
	consumertest.LogsSink
	refuse func(ctx context.Context) error
}

func (r *refusingLogs) ConsumeLogs(ctx context.Context, ld plog.Logs) error {
	if r.refuse != nil {
		if err := r.refuse(ctx); err != nil {
			return err
		}
	}
	return r.LogsSink.ConsumeLogs(ctx, ld)
}

// seen is a record as a test looks at it.
type seen struct {
	event string
	attrs map[string]any
	of    map[string]any // the resource's
	body  string
}

func recordsOf(sink *refusingLogs) (all []seen) {
	for _, ld := range sink.AllLogs() {
		for _, rl := range ld.ResourceLogs().All() {
			for _, lr := range rl.ScopeLogs().At(0).LogRecords().All() {
				all = append(all, seen{lr.EventName(), lr.Attributes().AsRaw(), rl.Resource().Attributes().AsRaw(), lr.Body().Str()})
			}
		}
	}
	return all
}

// logsRig is a receiver in a logs pipeline, with a scripted source and without a
// clock. Without groups, nothing of the metrics is written.
func logsRig(t *testing.T, cfg *Config, src interface{ factory() source.Factory }) (*rig, *refusingLogs) {
	t.Helper()
	sink := &refusingLogs{}
	r := newRig(t, cfg, &refusing{}, src)
	r.nextLogs, r.logsSet = sink, r.set
	return r, sink
}

// openLogs opens the sources and starts what writes records; what it returns ends
// that, and hands over what is queued.
func (r *rig) openLogs(t *testing.T) (end func()) {
	t.Helper()
	s := &steps{receiver: r.tcpStats}
	e, err := r.newEngine()
	require.NoError(t, err)
	require.NoError(t, e.Open(context.Background()))
	s.Engine, r.observer = e, s
	r.records.start()
	return sync.OnceFunc(func() {
		e.Drain()
		require.NoError(t, r.records.end(context.Background()))
		require.NoError(t, s.close())
	})
}

func recordsConfig(events ...string) *Config {
	cfg := groupConfig("tcp.role")
	cfg.System.Enabled = false
	cfg.Records.Limit = 0
	if len(events) > 0 {
		cfg.Records.Events = events
	}
	return cfg
}

func TestARecordOfEachEvent(t *testing.T) {
	src := &telling{scripted: scripted{name: "a"}}
	cfg := recordsConfig("start", "progress", "end", "failure")
	cfg.Records.ProgressInterval = 0
	r, sink := logsRig(t, cfg, src)
	end := r.openLogs(t)
	r.scrapeOnce(t)
	src.sockets = []tcp.Socket{established(1, 70)}
	r.scrapeOnce(t)
	time.Sleep(2 * cfg.CollectionInterval)
	src.sockets = []tcp.Socket{established(1, 90)}
	r.scrapeOnce(t)
	over := ended(established(1, 0), 100, 3)
	over.Cause = tcp.PeerReset
	refused := tcp.Notice{Socket: established(2, 0), NeverEstablished: true, Failure: tcp.Refused, Left: tcp.SynSent}
	refused.Fields, refused.State = 0, tcp.Closed
	src.tell(over, refused)
	src.sockets = nil
	end()

	var events []string
	for _, s := range recordsOf(sink) {
		events = append(events, s.event)
	}
	assert.Equal(t, []string{"tcp.connection.start", "tcp.connection.progress", "tcp.connection.end", "tcp.connection.failure"}, events)
	all := recordsOf(sink)
	require.Len(t, all, 4)
	assert.Equal(t, all[0].attrs["tcp.connection.id"], all[2].attrs["tcp.connection.id"])
	assert.EqualValues(t, 90, all[1].attrs["tcp.io.transmit"])
	assert.EqualValues(t, 100, all[2].attrs["tcp.io.transmit"])
	assert.EqualValues(t, 3, all[2].attrs["tcp.io.receive"])
	assert.Equal(t, "peer_reset", all[2].attrs["tcp.end.cause"])
	assert.Equal(t, "connection_reset", all[2].attrs["error.type"])
	assert.Equal(t, "connection_refused", all[3].attrs["error.type"])
	assert.NotContains(t, all[3].attrs, "tcp.end.cause")
}

// The filter holds for records as for groups.
func TestRecordsAreFiltered(t *testing.T) {
	src := &telling{scripted: scripted{name: "a"}}
	cfg := recordsConfig()
	cfg.Filter.PeerPorts = []any{"1-100"}
	r, sink := logsRig(t, cfg, src)
	end := r.openLogs(t)
	r.scrapeOnce(t)
	src.tell(ended(established(1, 0), 7, 3), ended(established(101, 0), 7, 3))
	end()
	all := recordsOf(sink)
	require.Len(t, all, 1)
	assert.EqualValues(t, 1, all[0].attrs["network.peer.port"])
}

// droppedRecords are the counts of the receiver's telemetry by reason.
func (r *rig) droppedRecords(t *testing.T) map[string]int {
	t.Helper()
	counts := make(map[string]int)
	m, err := r.telemetry.GetMetric("otelcol_receiver_tcpstats_dropped_records")
	if err != nil {
		return counts
	}
	for _, dp := range m.Data.(metricdata.Sum[int64]).DataPoints {
		reason, _ := dp.Attributes.Value(attribute.Key("reason"))
		counts[reason.AsString()] = int(dp.Value)
	}
	return counts
}

// Whatever the pipeline does, records and counted drops are the closes of the
// groups and the failures together.
func TestRecordsAndDropsAreAllEnds(t *testing.T) {
	const each, times = 700, 10
	for name, tt := range map[string]struct {
		limit  int
		refuse func(n int) error
		reason string
	}{
		"no limit": {0, nil, ""},
		"limit":    {500, nil, "limit"},
		"refusals": {0, func(n int) error {
			if n%2 == 0 {
				return errors.New("no")
			}
			return nil
		}, "pipeline"},
	} {
		t.Run(name, func(t *testing.T) {
			src := &telling{scripted: scripted{name: "a"}}
			cfg := recordsConfig()
			cfg.Records.Limit = tt.limit
			r, sink := logsRig(t, cfg, src)
			n := 0
			sink.refuse = func(context.Context) error {
				if n++; tt.refuse != nil {
					return tt.refuse(n)
				}
				return nil
			}
			end := r.openLogs(t)
			r.scrapeOnce(t)
			id := uint64(0)
			for range times {
				var notices []tcp.Notice
				for range each {
					id++
					if id%10 == 0 {
						failed := tcp.Notice{Socket: established(id, 0), NeverEstablished: true, Failure: tcp.Refused}
						failed.Fields = 0
						notices = append(notices, failed)
					} else {
						notices = append(notices, ended(established(id, 0), id, 3))
					}
				}
				src.tell(notices...)
				r.sink.Reset()
				r.scrapeOnce(t)
			}
			_, closes := r.sums("tcp.closes")
			end()

			dropped := r.droppedRecords(t)
			told, ends, failures := 0, 0, 0
			for _, s := range recordsOf(sink) {
				if n, ok := s.attrs["tcp.record.dropped"]; ok {
					told += int(n.(int64))
				}
				switch s.event {
				case "tcp.connection.end":
					ends++
				case "tcp.connection.failure":
					failures++
				}
			}
			all := 0
			for _, n := range dropped {
				all += n
			}
			assert.EqualValues(t, each*times*9/10, closes)
			assert.Equal(t, each*times, ends+failures+all, "%v", dropped)
			assert.LessOrEqual(t, told, all)
			if tt.reason == "" {
				assert.Empty(t, dropped)
			} else {
				assert.Equal(t, all, dropped[tt.reason])
				assert.Positive(t, all)
				if tt.reason == "limit" {
					assert.GreaterOrEqual(t, failures, cfg.Records.Limit/10)
				} else {
					assert.Positive(t, told)
				}
			}
		})
	}
}

// clockedPair is a receiver of both signals that runs by the clock.
func clockedPair(t *testing.T, cfg *Config, src interface{ factory() source.Factory }, next consumer.Metrics, nextLogs consumer.Logs) (r *rig, inMetrics, inLogs *face) {
	t.Helper()
	r = newRig(t, cfg, &refusing{}, src)
	s := newSharing()
	inMetrics = s.metrics(cfg, r.set, next, r.factories)
	inLogs = s.logs(cfg, r.set, nextLogs, r.factories)
	assert.Same(t, inMetrics.of, inLogs.of)
	return r, inMetrics, inLogs
}

// closing is a source of which a connection ends at every dump.
type closing struct {
	telling
	id uint64
}

func (s *closing) factory() source.Factory {
	f := s.telling.factory()
	open := f.Open
	f.Open = func(ctx context.Context) (source.Source, error) {
		_, err := open(ctx)
		return s, err
	}
	return f
}

func (s *closing) Sockets(ctx context.Context, visit func(*tcp.Socket) error) error {
	s.id++
	s.tell(ended(established(s.id, 0), 7, 3))
	return s.telling.Sockets(ctx, visit)
}

// A pipeline that takes nothing costs the other signal nothing.
func TestAHangingPipelineDelaysNoOther(t *testing.T) {
	hang := func(entered chan struct{}) func(context.Context) error {
		var once sync.Once
		return func(ctx context.Context) error {
			once.Do(func() { close(entered) })
			<-ctx.Done()
			return ctx.Err()
		}
	}
	for _, hanging := range []string{"logs", "metrics"} {
		t.Run(hanging, func(t *testing.T) {
			src := &closing{telling: telling{scripted: scripted{name: "a"}}}
			metricsSink, logsSink := &refusing{}, &refusingLogs{}
			entered := make(chan struct{})
			var next consumer.Metrics = metricsSink
			if hanging == "logs" {
				logsSink.refuse = hang(entered)
			} else {
				blocked := &blocking{entered: entered, release: make(chan struct{})}
				next = blocked
			}
			r, inMetrics, inLogs := clockedPair(t, recordsConfig(), src, next, logsSink)
			host := componenttest.NewNopHost()
			require.NoError(t, inLogs.Start(context.Background(), host))
			require.NoError(t, inMetrics.Start(context.Background(), host))
			<-entered
			before := [2]int{len(metricsSink.AllMetrics()), logsSink.LogRecordCount()}
			if hanging == "logs" {
				assert.Eventually(t, func() bool { return len(metricsSink.AllMetrics()) >= before[0]+20 }, 5*time.Second, time.Millisecond)
			} else {
				assert.Eventually(t, func() bool { return logsSink.LogRecordCount() >= before[1]+20 }, 5*time.Second, time.Millisecond)
			}
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
			defer cancel()
			require.NoError(t, inMetrics.Shutdown(ctx))
			require.NoError(t, inLogs.Shutdown(ctx))
			if hanging == "logs" {
				assert.Zero(t, logsSink.LogRecordCount())
				dropped := r.droppedRecords(t)
				assert.Equal(t, []string{"pipeline"}, keys(dropped), "what was queued was offered in vain")
				assert.EqualValues(t, src.id-1, dropped["pipeline"], "all but the one that ended before the first dump")
			}
		})
	}
}

func keys(counts map[string]int) (all []string) {
	for key := range counts {
		all = append(all, key)
	}
	return all
}

// Each signal alone, both, and any order of start and shutdown: the first start
// opens the source, the last shutdown closes it, and a signal that was shut down
// gets nothing more. TestMain sees that no goroutine is left.
func TestSignalsShareOneReceiver(t *testing.T) {
	host := componenttest.NewNopHost()
	for _, tt := range []struct{ start, stop []string }{
		{[]string{"metrics"}, []string{"metrics"}},
		{[]string{"logs"}, []string{"logs"}},
		{[]string{"metrics", "logs"}, []string{"metrics", "logs"}},
		{[]string{"metrics", "logs"}, []string{"logs", "metrics"}},
		{[]string{"logs", "metrics"}, []string{"metrics", "logs"}},
		{[]string{"logs", "metrics"}, []string{"logs", "metrics"}},
	} {
		t.Run(fmt.Sprint(tt), func(t *testing.T) {
			src := &closing{telling: telling{scripted: scripted{name: "a"}}}
			cfg := recordsConfig()
			r := newRig(t, cfg, &refusing{}, src)
			s := newSharing()
			metricsSink, logsSink := &refusing{}, &refusingLogs{}
			for range 2 { // as in a reload
				faces := make(map[string]*face)
				for _, signal := range tt.start {
					if signal == "metrics" {
						faces[signal] = s.metrics(cfg, r.set, metricsSink, r.factories)
					} else {
						faces[signal] = s.logs(cfg, r.set, logsSink, r.factories)
					}
				}
				assert.Len(t, s.byConfig, 1)
				opened := src.opened
				metricsSink.Reset()
				logsSink.Reset()
				for _, signal := range tt.start {
					require.NoError(t, faces[signal].Start(context.Background(), host))
				}
				assert.Equal(t, opened+1, src.opened)
				got := map[string]func() int{"metrics": func() int { return len(metricsSink.AllMetrics()) }, "logs": logsSink.LogRecordCount}
				for signal := range faces {
					assert.Eventually(t, func() bool { return got[signal]() > 2 }, 5*time.Second, time.Millisecond, signal)
				}
				for i, signal := range tt.stop {
					require.NoError(t, faces[signal].Shutdown(context.Background()))
					require.NoError(t, faces[signal].Shutdown(context.Background()), "twice")
					n := got[signal]()
					if i+1 < len(tt.stop) {
						assert.Equal(t, src.opened-1, src.scripted.closed, "the other goes on")
						other := tt.stop[i+1]
						m := got[other]()
						assert.Eventually(t, func() bool { return got[other]() > m+2 }, 5*time.Second, time.Millisecond, other)
					}
					assert.Equal(t, n, got[signal](), "nothing comes after the shutdown")
				}
				assert.Equal(t, src.opened, src.scripted.closed)
				assert.Zero(t, src.open, "watches of closes")
				assert.Empty(t, s.byConfig)
			}
		})
	}
}

// What was shut down is not started again with the other signal.
func TestOneSignalAfterTheOther(t *testing.T) {
	src := &closing{telling: telling{scripted: scripted{name: "a"}}}
	metricsSink, logsSink := &refusing{}, &refusingLogs{}
	_, inMetrics, inLogs := clockedPair(t, recordsConfig(), src, metricsSink, logsSink)
	require.NoError(t, inMetrics.Start(context.Background(), componenttest.NewNopHost()))
	require.NoError(t, inMetrics.Shutdown(context.Background()))
	metricsSink.Reset()
	require.NoError(t, inLogs.Start(context.Background(), componenttest.NewNopHost()))
	assert.Eventually(t, func() bool { return logsSink.LogRecordCount() > 5 }, 5*time.Second, time.Millisecond)
	require.NoError(t, inLogs.Shutdown(context.Background()))
	assert.Empty(t, metricsSink.AllMetrics())
	assert.Equal(t, 2, src.scripted.closed)
}

func TestTwoReceiversShareNothing(t *testing.T) {
	s := newSharing()
	var faces []*face
	for range 2 {
		cfg := recordsConfig()
		r := newRig(t, cfg, &refusing{}, &telling{scripted: scripted{name: "a"}})
		faces = append(faces, s.metrics(cfg, r.set, &refusing{}, r.factories), s.logs(cfg, r.set, &refusingLogs{}, r.factories))
	}
	assert.Same(t, faces[0].of, faces[1].of)
	assert.Same(t, faces[2].of, faces[3].of)
	assert.NotSame(t, faces[0].of, faces[2].of)
	for _, f := range faces {
		require.NoError(t, f.Shutdown(context.Background()), "never started")
	}
	assert.Empty(t, s.byConfig)
}

func TestAStartThatFailsLeavesNothing(t *testing.T) {
	cfg := recordsConfig()
	r, inMetrics, inLogs := clockedPair(t, cfg, &scripted{name: "a", openErr: errors.New("no")}, &refusing{}, &refusingLogs{})
	_ = r
	require.Error(t, inMetrics.Start(context.Background(), componenttest.NewNopHost()))
	require.NoError(t, inMetrics.Shutdown(context.Background()))
	require.NoError(t, inLogs.Shutdown(context.Background()))
}

func TestRecordsThatNobodyReads(t *testing.T) {
	for _, configured := range []bool{true, false} {
		cfg := testConfig()
		cfg.recordsSet = configured
		r := newRig(t, cfg, &refusing{}, &scripted{name: "a"})
		require.NoError(t, r.Start(context.Background(), componenttest.NewNopHost()))
		require.NoError(t, r.Shutdown(context.Background()))
		said := r.logs.FilterMessageSnippet("records are configured, but nobody reads them").Len()
		assert.Equal(t, configured, said == 1)
	}
}

// Ends are recorded within a second or so, though the next scrape is far.
func TestRecordsDoNotWaitForTheScrape(t *testing.T) {
	src := &quiet{telling{scripted: scripted{name: "a"}}}
	cfg := recordsConfig()
	cfg.CollectionInterval = time.Hour
	sink := &refusingLogs{}
	_, inMetrics, inLogs := clockedPair(t, cfg, src, &refusing{}, sink)
	require.NoError(t, inLogs.Start(context.Background(), componenttest.NewNopHost()))
	require.NoError(t, inMetrics.Start(context.Background(), componenttest.NewNopHost()))
	require.Eventually(t, func() bool { return inMetrics.of.engine.Once(context.Background(), 1) == nil }, time.Second, time.Millisecond)
	src.tell(ended(established(1, 0), 7, 3))
	assert.Eventually(t, func() bool { return sink.LogRecordCount() == 1 }, 5*time.Second, time.Millisecond)
	require.NoError(t, inMetrics.Shutdown(context.Background()))
	require.NoError(t, inLogs.Shutdown(context.Background()))
}

// quiet is a source that wakes nobody for a few notices, as bpf does.
type quiet struct{ telling }

func (s *quiet) factory() source.Factory {
	f := s.telling.factory()
	open := f.Open
	f.Open = func(ctx context.Context) (source.Source, error) {
		_, err := open(ctx)
		return s, err
	}
	return f
}

func (s *quiet) Closes() (source.CloseStream, error) {
	stream, err := s.telling.Closes()
	return quietStream{stream.(tellingStream)}, err
}

type quietStream struct{ tellingStream }

func (s quietStream) Wait() error {
	<-s.source.closed
	return os.ErrClosed
}
