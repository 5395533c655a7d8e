// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// points has all data points of the metrics of one name, with the attributes of
// their resource added.
func points(md []pmetric.Metrics, name string) (all []map[string]any) {
	for _, md := range md {
		for _, rm := range md.ResourceMetrics().All() {
			for _, sm := range rm.ScopeMetrics().All() {
				for _, m := range sm.Metrics().All() {
					if m.Name() != name {
						continue
					}
					var dps pmetric.NumberDataPointSlice
					if m.Type() == pmetric.MetricTypeGauge {
						dps = m.Gauge().DataPoints()
					} else {
						dps = m.Sum().DataPoints()
					}
					for _, dp := range dps.All() {
						attributes := dp.Attributes().AsRaw()
						for k, v := range rm.Resource().Attributes().AsRaw() {
							attributes[k] = v
						}
						attributes["value"] = dp.DoubleValue() + float64(dp.IntValue())
						all = append(all, attributes)
					}
				}
			}
		}
	}
	return all
}

// The whole way on a running FreeBSD: from the kernel to what the pipeline gets.
func TestFreeBSD(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	cfg := createDefaultConfig()
	cfg.CollectionInterval = 10 * time.Millisecond
	cfg.Process.RefreshInterval = 0
	cfg.Connections.Enabled = true
	cfg.Groups.By = []string{"process.executable.name", "tcp.role", "server.port", "tcp.congestion_control", "tcp.stack"}
	next := &refusing{}
	r := newRig(t, cfg, next)
	r.factories = sources()
	r.scrapeOnce(t)
	lines := r.logs.FilterMessage("TCP sockets are read by sysctl").All()
	require.Len(t, lines, 1)
	assert.Equal(t, "RTT and bytes need the tcpstats module", lines[0].ContextMap()["lacks"])

	const n = 3
	for range n {
		c, err := net.Dial("tcp4", l.Addr().String())
		require.NoError(t, err)
		defer c.Close()
		a, err := l.Accept()
		require.NoError(t, err)
		defer a.Close()
	}
	next.Reset()
	r.scrapeOnce(t)
	assert.Empty(t, r.logs.FilterMessage("the scrape is partial").All())
	exe, err := os.Executable()
	require.NoError(t, err)
	program, port := filepath.Base(exe), int64(l.Addr().(*net.TCPAddr).Port)

	all := next.AllMetrics()
	windows := 0
	for _, p := range points(all, "tcp.connection.congestion_window") {
		if p["network.local.port"] != port && p["network.peer.port"] != port {
			continue
		}
		windows++
		assert.Positive(t, p["value"])
		assert.Equal(t, "ipv4", p["network.type"])
		assert.Equal(t, int64(os.Getpid()), p["process.pid"])
		assert.Equal(t, program, p["process.executable.name"])
		assert.NotContains(t, p, "process.freebsd.jail.id")
	}
	assert.Equal(t, 2*n, windows)

	live := map[string]float64{}
	for _, p := range points(all, "tcp.count") {
		if p["server.port"] == port && p["network.connection.state"] == "established" {
			live[p["tcp.role"].(string)] += p["value"].(float64)
			assert.Equal(t, program, p["process.executable.name"])
			assert.NotEmpty(t, p["tcp.congestion_control"])
			assert.NotEmpty(t, p["tcp.stack"])
		}
	}
	assert.Equal(t, map[string]float64{"client": n, "server": n}, live)

	limit := 0
	for _, p := range points(all, "tcp.listener.queue.limit") {
		if p["network.local.port"] == port {
			limit++
			assert.Positive(t, p["value"])
		}
	}
	assert.Equal(t, 1, limit)
	established := 0.0
	for _, p := range points(all, "system.network.connection.count") {
		if p["network.connection.state"] == "established" {
			established = p["value"].(float64)
		}
	}
	assert.GreaterOrEqual(t, established, 2.0*n)
	assert.NotEmpty(t, points(all, "system.network.tcp.connection.opens"))
	for _, unknown := range []string{"tcp.connection.rtt", "tcp.connection.io", "tcp.rtt", "tcp.io", "system.network.tcp.resets"} {
		assert.Empty(t, points(all, unknown), unknown)
	}
}
