// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/netns"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/table"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

func TestJail(t *testing.T) {
	w := newWriter(metadata.NewDefaultMetricsBuilderConfig())
	jailed := w.resources.of(&process.Process{PID: 7, JailID: 3}, netns.Place{})
	assert.Equal(t, map[string]any{"process.pid": int64(7), "process.freebsd.jail.id": int64(3)}, jailed.Attributes().AsRaw())
	free := w.resources.of(&process.Process{PID: 7}, netns.Place{})
	assert.Equal(t, map[string]any{"process.pid": int64(7)}, free.Attributes().AsRaw(), "no jail is no jail 0")
}

// Processes on the points: one resource for all, and listeners of several processes
// on one port stay several series. What is switched off, or filtered, is so here, too.
func TestProcessOnPoints(t *testing.T) {
	cfg := metadata.NewDefaultMetricsBuilderConfig()
	cfg.ResourceAttributes.ProcessOwner.Enabled = false
	require.NoError(t, confmap.NewFromStringMap(map[string]any{
		"process.executable.name": map[string]any{"metrics_exclude": []any{map[string]any{"strict": "curl"}}},
	}).Unmarshal(&cfg.ResourceAttributes))
	w := newWriter(cfg)
	w.processOnPoints = true
	w.complete = true
	other := &process.Process{PID: 813, Executable: "nginx"}
	owners := []*process.Process{nginx, other, nil, {PID: 9, Executable: "curl"}}
	want := []map[string]any{
		{"process.pid": int64(812), "process.executable.name": "nginx", "container.id": nginx.ContainerID},
		{"process.pid": int64(813), "process.executable.name": "nginx"},
		{},
	}
	check := func(md pmetric.Metrics, metric string, over bool) {
		t.Helper()
		require.Equal(t, 1, md.ResourceMetrics().Len())
		assert.Empty(t, md.ResourceMetrics().At(0).Resource().Attributes().AsRaw())
		var got []map[string]any
		for _, m := range md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().All() {
			if m.Name() != metric {
				continue
			}
			for _, dp := range points(m).All() {
				assert.Equal(t, over, dp.Flags().NoRecordedValue())
				of := make(map[string]any)
				for name, value := range dp.Attributes().AsRaw() {
					if !strings.HasPrefix(name, "network.") {
						of[name] = value
					}
				}
				got = append(got, of)
			}
		}
		assert.ElementsMatch(t, want, got)
	}
	var connections []*table.Connection
	var over []ending
	for _, p := range owners {
		c := connection(full(), p)
		connections = append(connections, c)
		over = append(over, ending{id: c.ID, process: p, local: c.Local, peer: c.Peer, fields: c.Fields})
		l := full()
		l.State = tcp.Listen
		w.AddListener(connection(l, p))
	}
	w.SortByHolder(connections)
	check(w.Connections(connections, now), "tcp.connection.rtt", false)
	check(w.Ended(over, now), "tcp.connection.rtt", true)
	check(w.System(&tcp.Counters{}, nil, now), "tcp.listener.queue.usage", false)
	check(w.System(&tcp.Counters{}, nil, now), "tcp.listener.queue.usage", true)
}
