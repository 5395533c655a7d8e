// SPDX-License-Identifier: Apache-2.0

// Package promql runs what the receiver writes through Prometheus: its translation
// of OTLP, its storage and its engine. A module of its own keeps Prometheus out of
// the receiver's.
package promql

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/storage/remote/otlptranslator/prometheusremotewrite"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/receiver/receivertest"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/group"
	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/otlp"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

var began = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func at(seconds int) time.Time { return began.Add(time.Duration(seconds) * time.Second) }

// run is groups that are collected into a Prometheus.
type run struct {
	*group.Set
	writer *otlp.Writer
	db     *tsdb.DB
	engine *promql.Engine
	slot   uint32
}

func newRun(t *testing.T) *run {
	t.Helper()
	db, err := tsdb.Open(t.TempDir(), nil, nil, tsdb.DefaultOptions(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	r := &run{db: db, engine: promql.NewEngine(promql.EngineOpts{MaxSamples: 1 << 20, Timeout: 10 * time.Second})}
	r.writer = otlp.NewWriter(metadata.NewDefaultMetricsBuilderConfig(), receivertest.NewNopSettings(metadata.Type), began)
	by := []group.Attribute{group.ProcessExecutableName, group.Role, group.ServerPort}
	r.Set = group.NewSet(group.Config{
		By: by, Limit: 100, PeerPrefixIPv4: 32, PeerPrefixIPv6: 128, Expiry: time.Minute,
		Distributions: r.writer.Group(by, []float64{.001, .01, .1}),
	}, began)
	return r
}

// collect writes the groups, as a receiver does every 10 s.
func (r *run) collect(t *testing.T, seconds int) {
	t.Helper()
	now := at(seconds)
	r.Collect(now)
	app := r.db.Appender(context.Background())
	for _, md := range r.writer.Groups(r.Set, true, now) {
		c := prometheusremotewrite.NewPrometheusConverter()
		_, err := c.FromMetrics(context.Background(), md, prometheusremotewrite.Settings{AddMetricSuffixes: true})
		require.NoError(t, err)
		for _, series := range c.TimeSeries() {
			builder := labels.NewScratchBuilder(len(series.Labels))
			for _, l := range series.Labels {
				builder.Add(l.Name, l.Value)
			}
			builder.Sort()
			for _, s := range series.Samples {
				_, err := app.Append(storage.SeriesRef(0), builder.Labels(), s.Timestamp, s.Value)
				require.NoError(t, err)
			}
		}
	}
	require.NoError(t, app.Commit())
	r.End(true)
}

// query returns a query's answer at a time, by the labels without the name.
func (r *run) query(t *testing.T, expression string, seconds int) map[string]float64 {
	t.Helper()
	q, err := r.engine.NewInstantQuery(context.Background(), r.db, nil, expression, at(seconds))
	require.NoError(t, err, expression)
	defer q.Close()
	vector, err := q.Exec(context.Background()).Vector()
	require.NoError(t, err, expression)
	answer := make(map[string]float64)
	for _, s := range vector {
		answer[s.Metric.DropMetricName().String()] = s.F
	}
	return answer
}

// open is a connection of a process to, or on, a port.
func (r *run) open(executable string, role tcp.Role, port uint16) *event.Connection {
	c := r.attempt(executable, role, port)
	r.Opened(&event.Opened{Connection: c})
	return c
}

func (r *run) attempt(executable string, role tcp.Role, port uint16) *event.Connection {
	known := tcp.Fields(0)
	for f := range tcp.NumFields {
		known = known.With(f)
	}
	r.slot++
	c := &event.Connection{
		Slot: r.slot, Role: role, State: tcp.Established, Traits: &event.Traits{}, Fields: known, IsNew: true,
		Process: &process.Process{Executable: executable},
		Local:   netip.MustParseAddrPort("192.0.2.1:40000"), Peer: netip.AddrPortFrom(netip.MustParseAddr("192.0.2.2"), port),
	}
	if role == tcp.Server {
		c.Local, c.Peer = netip.AddrPortFrom(c.Local.Addr(), port), netip.MustParseAddrPort("192.0.2.2:40000")
	}
	r.Progress(&event.Progress{Connection: c, Was: event.NoState, Is: c.State, First: true})
	return c
}

func (r *run) end(c *event.Connection, e event.Ended) {
	e.Connection = c
	r.Progress(&event.Progress{Connection: c, Was: c.State, Is: event.NoState})
	r.Ended(&e)
	r.Progress(&event.Progress{Connection: c, Was: event.NoState, Is: event.NoState, Gone: true})
}

// A process that makes five connections and goes, all between two collections, has
// made five; and when its group has ended, nothing of it is shown.
func TestBirthAndDeath(t *testing.T) {
	r := newRun(t)
	const end = 200
	for now := 10; now <= end; now += 10 {
		if now == 70 {
			for range 5 {
				r.end(r.open("curl", tcp.Client, 443), event.Ended{Established: true, Cause: tcp.LocalClose})
			}
		}
		r.collect(t, now)
	}
	curl := `{process_executable_name="curl", server_port="443", tcp_role="client"}`
	for seconds, want := range map[int]float64{70: 5, 80: 5, 110: 5} {
		assert.InDelta(t, want, r.query(t, "increase(tcp_opens_total[1m])", seconds)[curl], 1e-9, "after %d s", seconds)
	}
	assert.Equal(t, map[string]float64{curl: 5}, r.query(t, "tcp_opens_total", 100))
	assert.Empty(t, r.query(t, "tcp_opens_total", end), "it has ended, and is not shown for 5 minutes more")
	assert.Empty(t, r.query(t, `count({__name__=~"tcp_.+"})`, end), "nor are its histograms")
}
