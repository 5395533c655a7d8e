// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"
)

// writtenRecord is a record as the file exporter has written it.
type writtenRecord struct {
	plog.LogRecord
	attrs, of map[string]any // its own, and its resource's
}

// readRecords reads JSON Lines.
func readRecords(t *testing.T, path string) (all []writtenRecord) {
	t.Helper()
	text, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return nil
	}
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		if !strings.HasSuffix(line, "\n") {
			break // it is being written
		}
		ld, err := (&plog.JSONUnmarshaler{}).UnmarshalLogs([]byte(line))
		require.NoError(t, err)
		for _, rl := range ld.ResourceLogs().All() {
			for _, lr := range rl.ScopeLogs().At(0).LogRecords().All() {
				all = append(all, writtenRecord{lr, lr.Attributes().AsRaw(), rl.Resource().Attributes().AsRaw()})
			}
		}
	}
	return all
}

// recordsOf returns the records of connections to a port, by role.
func recordsOf(t *testing.T, path string, port uint16, client netip.AddrPort) map[string]writtenRecord {
	t.Helper()
	byRole := make(map[string]writtenRecord)
	for _, r := range readRecords(t, path) {
		if r.attrs["server.port"] != int64(port) || client.IsValid() && r.attrs["client.port"] != int64(client.Port()) {
			continue
		}
		role := r.attrs["tcp.role"].(string)
		require.NotContains(t, byRole, role, "one record each")
		byRole[role] = r
	}
	return byRole
}

// calm is an interval that no busy machine misses; records are written within a
// second all the same.
const calm = "2s"

const (
	bothPipelines   = "{metrics: {receivers: [tcp_stats], exporters: [otlp_grpc]}, logs: {receivers: [tcp_stats], exporters: [file]}}"
	logsPipeline    = "{logs: {receivers: [tcp_stats], exporters: [file]}}"
	metricsPipeline = "{metrics: {receivers: [tcp_stats], exporters: [otlp_grpc]}}"
)

func fileExporter(path string) string {
	return fmt.Sprintf("  file: {path: %q, flush_interval: 100ms}", path)
}

// TestRecords has records written of connections whose ends the processes know.
func TestRecords(t *testing.T) {
	for name, pipelines := range map[string]string{"both": bothPipelines, "logs": logsPipeline, "pooled": bothPipelines} {
		t.Run(name, func(t *testing.T) {
			server, client := startProcess(t, "e2e-server", 0), startProcess(t, "e2e-client", 0)
			l := server.Listen(t, ListenArgs{At: loopback, Backlog: 4})
			port := l.Local.Port()
			path := public(t, "records-"+name+".jsonl")
			var args []string
			if name == "pooled" { // pdata uses values again, as docs/records.md says
				args = append(args, "--feature-gates=pdata.useProtoPooling")
			}
			c := startCollectorWith(t, every(calm, "records: {limit: 0}"), 0, fileExporter(path), pipelines, args...)
			best := c.best(t)
			c.await(t, "no scrape", func() bool {
				_, ok := c.Telemetry(t)[sample(ownPrefix+"sockets", map[string]string{"source": best})]
				return ok
			})

			inOrder, reset := connect(t, client, l, ConnectArgs{}), connect(t, client, l, ConnectArgs{})
			inOrder.talk(t, 5000, 70, 0)
			reset.talk(t, 10, 20, 0)
			inOrder.Client.ShutdownWrite(t)
			inOrder.Server.ReceiveEnd(t)
			inOrder.Server.Close(t)
			inOrder.Client.ReceiveEnd(t)
			inOrder.Client.Close(t)
			reset.Client.Reset(t)
			reset.Server.Close(t)
			unused, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			refused := unused.Addr().(*net.TCPAddr).AddrPort()
			require.NoError(t, unused.Close())
			_, err = net.Dial("tcp", refused.String())
			require.Error(t, err)

			var ended, cut map[string]writtenRecord
			c.await(t, "not all records are written", func() bool {
				ended = recordsOf(t, path, port, inOrder.Client.Local)
				cut = recordsOf(t, path, port, reset.Client.Local)
				return len(ended) == 2 && len(cut) == 2
			})
			for role, p := range map[string]*Process{"client": client, "server": server} {
				e, r := ended[role], cut[role]
				assert.Equal(t, "tcp.connection.end", e.EventName())
				assert.Equal(t, plog.SeverityNumberInfo, e.SeverityNumber())
				assert.Equal(t, "tcp.connection.end", r.EventName())
				sent, got := int64(5000), int64(70)
				if role == "server" {
					sent, got = got, sent
				}
				assert.Equal(t, sent, e.attrs["tcp.io.transmit"])
				assert.Equal(t, got, e.attrs["tcp.io.receive"])
				if best != "bpf" {
					continue // nobody knows the process of what no scrape saw, nor the cause
				}
				assert.Equal(t, int64(p.PID), e.of["process.pid"])
				assert.Equal(t, p.Executable, e.of["process.executable.name"])
				assert.Contains(t, e.Body().Str(), p.Executable)
				assert.Equal(t, map[string]any{"client": "local_close", "server": "peer_close"}[role], e.attrs["tcp.end.cause"])
				assert.Equal(t, map[string]any{"client": "local_reset", "server": "peer_reset"}[role], r.attrs["tcp.end.cause"])
				assert.Equal(t, plog.SeverityNumberWarn, r.SeverityNumber())
				assert.Positive(t, e.attrs["tcp.connection.duration"])
				assert.Contains(t, e.attrs, "tcp.connection.start_time")
			}
			id := ended["client"].attrs["network.community_id"]
			assert.NotEmpty(t, id)
			assert.Equal(t, id, ended["server"].attrs["network.community_id"], "both ends have one")
			assert.NotEqual(t, id, cut["client"].attrs["network.community_id"])
			assert.NotEqual(t, ended["client"].attrs["tcp.connection.id"], ended["server"].attrs["tcp.connection.id"])
			if best == "bpf" {
				c.await(t, "no record of the failure", func() bool { return len(recordsOf(t, path, refused.Port(), netip.AddrPort{})) == 1 })
				failed := recordsOf(t, path, refused.Port(), netip.AddrPort{})["client"]
				assert.Equal(t, "tcp.connection.failure", failed.EventName())
				assert.Equal(t, "connection_refused", failed.attrs["error.type"])
				assert.Equal(t, int64(os.Getpid()), failed.of["process.pid"])
			}
			if name == "logs" {
				assert.Zero(t, c.Sink.Points())
			}
		})
	}
}

// TestTwoReceivers has two receivers of different names, of which each has an engine
// and a filter of its own.
func TestTwoReceivers(t *testing.T) {
	server, client := startProcess(t, "e2e-server", 0), startProcess(t, "e2e-client", 0)
	var listeners []*Held
	for range 2 {
		listeners = append(listeners, server.Listen(t, ListenArgs{At: loopback, Backlog: 4}))
	}
	filter := func(i int) string {
		return every(calm, fmt.Sprintf("records: {limit: 0}, filter: {local_ports: [%d]}", listeners[i].Local.Port()))
	}
	paths := []string{public(t, "records-one.jsonl"), public(t, "records-two.jsonl")}
	c := startCollectorWith(t, filter(0)+"\n  tcp_stats/two: "+filter(1), 0,
		fileExporter(paths[0])+"\n"+strings.Replace(fileExporter(paths[1]), "file:", "file/two:", 1),
		"{metrics: {receivers: [tcp_stats], exporters: [otlp_grpc]}, logs: {receivers: [tcp_stats], exporters: [file]}, logs/two: {receivers: [tcp_stats/two], exporters: [file/two]}}")
	for i, path := range paths {
		// Nothing is recorded of what ends before the first scrape.
		c.await(t, "no record", func() bool {
			for _, l := range listeners {
				p := connect(t, client, l, ConnectArgs{})
				p.Client.ShutdownWrite(t)
				p.Server.ReceiveEnd(t)
				p.Server.Close(t)
				p.Client.ReceiveEnd(t)
				p.Client.Close(t)
			}
			return len(readRecords(t, path)) > 0
		})
		for _, r := range readRecords(t, path) {
			assert.Equal(t, int64(listeners[i].Local.Port()), r.attrs["network.local.port"])
		}
	}
}

// TestReloadOfRecordsLeaksNothing reconfigures a collector with both pipelines many
// times.
func TestReloadOfRecordsLeaksNothing(t *testing.T) {
	path := public(t, "records-reload.jsonl")
	c := startCollectorWith(t, every("1s", "records: {limit: 0}"), 0, fileExporter(path), bothPipelines)
	c.Sink.Next(t)
	before := c.descriptors(t)
	for _, pipelines := range []string{logsPipeline, bothPipelines, metricsPipeline, logsPipeline, metricsPipeline, bothPipelines} {
		c.pipelines = pipelines
		receiver := every("1s", "records: {limit: 0}")
		if pipelines == metricsPipeline {
			receiver = every("1s", "") // it says so if nobody reads records
		}
		c.Configure(t, receiver)
		c.Reload(t)
	}
	c.Sink.Next(t)
	c.await(t, "it has not as many files open as before", func() bool {
		return assert.ObjectsAreEqual(before, c.descriptors(t))
	})
}
