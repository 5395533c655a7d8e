// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/source/bpf"
	"github.com/netpulse/tcpstatsreceiver/internal/source/sockdiag"
)

// liveRecords is a receiver of a real source in a logs pipeline, without a clock.
func liveRecords(t testing.TB, factory source.Factory, cfg *Config, more ...source.Factory) (s *steps, sink *refusingLogs, lost func() bool) {
	t.Helper()
	cfg.Require = []string{"closes", "bytes"}
	sink = &refusingLogs{}
	telemetry := componenttest.NewTelemetry()
	t.Cleanup(func() { assert.NoError(t, telemetry.Shutdown(context.Background())) })
	set := receivertest.NewNopSettings(metadata.Type)
	set.TelemetrySettings = telemetry.NewTelemetrySettings()
	r := newTCPStats(cfg, set, &refusing{}, append([]source.Factory{factory}, more...))
	r.nextLogs, r.logsSet = sink, set
	e, err := r.newEngine()
	require.NoError(t, err)
	if err := e.Open(t.Context()); err != nil {
		t.Skipf("%s with notices of closes is not to be had here: %v", factory.Name, err)
	}
	s = &steps{Engine: e, receiver: r}
	r.records.start()
	t.Cleanup(func() {
		assert.NoError(t, r.records.end(t.Context()))
		assert.NoError(t, s.close())
	})
	require.NoError(t, s.scrape())
	return s, sink, func() bool {
		_, err := telemetry.GetMetric("otelcol_receiver_tcpstats_events_lost")
		return err == nil
	}
}

// ofServer returns the records of connections to a port.
func ofServer(sink *refusingLogs, port int) (all []seen) {
	for _, r := range recordsOf(sink) {
		if r.attrs["server.port"] == int64(port) {
			all = append(all, r)
		}
	}
	return all
}

// Connections from several processes that open and close by the thousand: each has
// exactly one record at each end, with its bytes, its role and, with bpf, its process.
func TestEveryConnectionIsRecorded(t *testing.T) {
	for _, factory := range []source.Factory{bpf.Factory(), sockdiag.Factory()} {
		t.Run(factory.Name, func(t *testing.T) {
			cfg := recordsConfig()
			cfg.Process.Attribution = factory.Name == "bpf"
			testEveryRecord(t, factory, cfg)
		})
	}
}

func testEveryRecord(t *testing.T, factory source.Factory, cfg *Config) {
	const (
		processes, each = 4, 5_000
		sent, received  = 777, 100
	)
	if own, err := os.Readlink("/proc/self/ns/pid"); err != nil || own != "pid:[4026531836]" {
		cfg.Process.Attribution = false // the kernel's process numbers mean nothing here
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s, sink, lost := liveRecords(t, factory, cfg)
	clients := make(map[int64]*exec.Cmd)
	for range processes {
		self, err := os.Executable()
		require.NoError(t, err)
		client := exec.Command(self)
		client.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %d %d", burstEnv, l.Addr(), each, sent, received))
		client.Stderr = os.Stderr
		require.NoError(t, client.Start())
		clients[int64(client.Process.Pid)] = client
	}
	answered := make(chan error)
	go func() { answered <- answer(l, received) }()
	t.Cleanup(func() {
		assert.NoError(t, l.Close())
		assert.ErrorIs(t, <-answered, net.ErrClosed)
	})
	began := time.Now()
	finished := make(chan error, processes)
	for _, client := range clients {
		go func() { finished <- client.Wait() }()
	}
	for running := processes; running > 0; {
		select {
		case err := <-finished:
			require.NoError(t, err)
			running--
		case <-time.After(20 * time.Millisecond):
			require.NoError(t, s.scrape())
		}
	}
	took := time.Since(began)

	const n = 2 * processes * each
	port := l.Addr().(*net.TCPAddr).Port
	for range 40 { // the last may be on their way
		require.NoError(t, s.scrape())
		s.Drain()
		if sink.LogRecordCount() >= n && len(ofServer(sink, port)) >= n {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	require.NoError(t, s.scrape())
	time.Sleep(300 * time.Millisecond) // one too many would be in a batch by now
	if lost() {
		t.Skip("the kernel dropped notices, as it may on a busy host, and without CAP_NET_ADMIN (sysctl net.core.rmem_max)")
	}
	all := ofServer(sink, port)
	require.Len(t, all, n)
	t.Logf("%d records, %.0f a second", n, n/took.Seconds())

	self, err := os.Executable()
	require.NoError(t, err)
	ids, communities, byProcess := make(map[any]bool), make(map[any]int), make(map[int64]int)
	bytes := map[any][2]any{"client": {int64(sent), int64(received)}, "server": {int64(received), int64(sent)}}
	causes := map[any]any{"client": "local_close", "server": "peer_close"} // the client closes first
	for _, r := range all {
		role := r.attrs["tcp.role"]
		good := r.event == "tcp.connection.end" && !ids[r.attrs["tcp.connection.id"]] &&
			bytes[role] == [2]any{r.attrs["tcp.io.transmit"], r.attrs["tcp.io.receive"]}
		if factory.Name == "bpf" {
			lived, _ := r.attrs["tcp.connection.duration"].(float64)
			handshake, _ := r.attrs["tcp.connection.handshake.duration"].(float64)
			good = good && causes[role] == r.attrs["tcp.end.cause"] && r.attrs["tcp.connection.start_time"] != nil &&
				lived > 0 && lived < 60 && handshake > 0 && handshake < 10
		}
		if cfg.Process.Attribution {
			good = good && r.of["process.executable.name"] == filepath.Base(self)
			pid, _ := r.of["process.pid"].(int64)
			byProcess[pid]++
		}
		require.True(t, good, "of %v: %v", r.of, r)
		ids[r.attrs["tcp.connection.id"]] = true
		communities[r.attrs["network.community_id"]]++
	}
	for id, ends := range communities {
		if ends%2 != 0 {
			t.Errorf("%s: %d records, both ends have one", id, ends)
		}
	}
	if cfg.Process.Attribution {
		want := map[int64]int{int64(os.Getpid()): processes * each}
		for pid := range clients {
			want[pid] = each
		}
		assert.Equal(t, want, byProcess)
	}
}

// Every way that a connection ends or fails, with what both ends' records say.
func TestWhyConnectionsEnded(t *testing.T) {
	type of struct{ event, cause, errorType any }
	const end, failure = "tcp.connection.end", "tcp.connection.failure"
	for name, tt := range map[string]struct {
		do             func(t *testing.T, client, server *net.TCPConn)
		client, server of
	}{
		"closed by the client": {func(t *testing.T, client, server *net.TCPConn) {
			require.NoError(t, client.Close())
			untilClosed(server)
			require.NoError(t, server.Close())
		}, of{end, "local_close", nil}, of{end, "peer_close", nil}},
		"closed by the server": {func(t *testing.T, client, server *net.TCPConn) {
			require.NoError(t, server.Close())
			untilClosed(client)
			require.NoError(t, client.Close())
		}, of{end, "peer_close", nil}, of{end, "local_close", nil}},
		"half-closed": {func(t *testing.T, client, server *net.TCPConn) {
			require.NoError(t, client.CloseWrite())
			untilClosed(server)
			_, err := server.Write(make([]byte, 100))
			require.NoError(t, err)
			require.NoError(t, server.Close())
			untilClosed(client)
			require.NoError(t, client.Close())
		}, of{end, "local_close", nil}, of{end, "peer_close", nil}},
		"reset by the client": {func(t *testing.T, client, server *net.TCPConn) {
			require.NoError(t, client.SetLinger(0))
			require.NoError(t, client.Close())
			untilClosed(server)
			require.NoError(t, server.Close())
		}, of{end, "local_reset", "connection_reset"}, of{end, "peer_reset", "connection_reset"}},
		"reset by the server": {func(t *testing.T, client, server *net.TCPConn) {
			require.NoError(t, server.SetLinger(0))
			require.NoError(t, server.Close())
			untilClosed(client)
			require.NoError(t, client.Close())
		}, of{end, "peer_reset", "connection_reset"}, of{end, "local_reset", "connection_reset"}},
		"timed out": {func(t *testing.T, client, server *net.TCPConn) {
			option(t, server, func(fd int) error {
				nothing := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}
				return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &nothing[0]})
			})
			option(t, client, func(fd int) error { return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 300) })
			_, err := client.Write(make([]byte, 10))
			require.NoError(t, err)
			_, err = client.Read(make([]byte, 1))
			require.ErrorIs(t, err, unix.ETIMEDOUT)
			require.NoError(t, client.Close())
		}, of{end, "timed_out", "timed_out"}, of{}},
	} {
		t.Run(name, func(t *testing.T) {
			l := listenWithoutMPTCP(t)
			s, sink, _ := liveRecords(t, bpf.Factory(), recordsConfig())
			client, err := net.Dial("tcp", l.Addr().String())
			require.NoError(t, err)
			server, err := l.Accept()
			require.NoError(t, err)
			tt.do(t, client.(*net.TCPConn), server.(*net.TCPConn))
			want := map[string]of{"client": tt.client}
			if tt.server != (of{}) {
				want["server"] = tt.server
			}
			got := make(map[string]of)
			for range 100 {
				s.Drain()
				clear(got)
				for _, r := range ofServer(sink, l.Addr().(*net.TCPAddr).Port) {
					got[r.attrs["tcp.role"].(string)] = of{r.event, r.attrs["tcp.end.cause"], r.attrs["error.type"]}
				}
				if len(got) == len(want) {
					break
				}
				time.Sleep(50 * time.Millisecond)
			}
			assert.Equal(t, want, got)
			_ = server.Close()
		})
	}

	t.Run("refused", func(t *testing.T) {
		l := listenWithoutMPTCP(t)
		port := l.Addr().(*net.TCPAddr).Port
		require.NoError(t, l.Close())
		s, sink, _ := liveRecords(t, bpf.Factory(), recordsConfig())
		_, err := net.Dial("tcp", l.Addr().String())
		require.ErrorIs(t, err, unix.ECONNREFUSED)
		require.Eventually(t, func() bool {
			s.Drain()
			return len(ofServer(sink, port)) > 0
		}, 5*time.Second, 50*time.Millisecond)
		all := ofServer(sink, port)
		require.Len(t, all, 1)
		assert.Equal(t, of{failure, nil, "connection_refused"}, of{all[0].event, all[0].attrs["tcp.end.cause"], all[0].attrs["error.type"]})
		assert.Equal(t, "client", all[0].attrs["tcp.role"])
	})

	t.Run("aborted in the accept queue", func(t *testing.T) {
		l := listenWithoutMPTCP(t)
		port := l.Addr().(*net.TCPAddr).Port
		s, sink, _ := liveRecords(t, bpf.Factory(), recordsConfig())
		client, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		require.NoError(t, l.Close())
		untilClosed(client.(*net.TCPConn))
		require.NoError(t, client.Close())
		got := make(map[any]of)
		for range 100 {
			s.Drain()
			for _, r := range ofServer(sink, port) {
				got[r.attrs["tcp.role"]] = of{r.event, r.attrs["tcp.end.cause"], r.attrs["error.type"]}
			}
			if len(got) == 2 {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		assert.Equal(t, map[any]of{
			"client": {end, "peer_reset", "connection_reset"},
			"server": {end, "aborted", "_OTHER"},
		}, got)
	})
}

// listenWithoutMPTCP listens on a socket that takes filters.
func listenWithoutMPTCP(t *testing.T) net.Listener {
	t.Helper()
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func untilClosed(c *net.TCPConn) { _, _ = io.Copy(io.Discard, c) }
