// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"fmt"
	"math/rand/v2"
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

	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/source/bpf"
	"github.com/netpulse/tcpstatsreceiver/internal/source/sockdiag"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// byRole is how ofPort's totals are called: by role, and by process where that is
// known.
func byRole(attrs map[string]any) string {
	role := attrs["tcp.role"].(string)
	if pid, ok := attrs["process.pid"]; ok {
		role = fmt.Sprint(role, " ", attrs["process.executable.name"], " ", pid)
	}
	return role
}

// Connections from several processes that open and close by the thousand while
// scrapes run: none is missed, none is counted twice, no byte is lost.
func TestEveryConnectionIsCounted(t *testing.T) {
	cfg := createDefaultConfig()
	cfg.Process.Attribution = false
	cfg.Groups.By = []string{"tcp.role", "server.port"}
	testEveryConnection(t, sockdiag.Factory(), cfg)
}

// Each of them is its process's, though most have ended before anybody could
// look.
func TestEveryConnectionIsAttributed(t *testing.T) {
	if own, err := os.Readlink("/proc/self/ns/pid"); err != nil || own != "pid:[4026531836]" {
		t.Skipf("in a PID namespace of its own the kernel's process numbers mean nothing: %s %v", own, err)
	}
	cfg := createDefaultConfig()
	cfg.Groups.By = []string{"tcp.role", "server.port", "process.pid", "process.executable.name"}
	testEveryConnection(t, bpf.Factory(), cfg)
}

// Nor does it matter who makes the dumps: bpf has sock_diag do so while there are few
// sockets, and here by turns.
func TestEveryConnectionIsCountedByTurns(t *testing.T) {
	cfg := createDefaultConfig()
	cfg.Process.Attribution = false
	cfg.Groups.By = []string{"tcp.role", "server.port"}
	factory := bpf.Factory()
	open := factory.Open
	var turner interface {
		source.Mixed
		Turn()
	}
	factory.Open = func(ctx context.Context) (src source.Source, err error) {
		src, err = open(ctx)
		if err == nil {
			turner = src.(interface {
				source.Mixed
				Turn()
			})
		}
		return src, err
	}
	ways := make(map[string]int)
	testEveryConnection(t, factory, cfg, func() {
		if rand.IntN(2) == 0 {
			turner.Turn()
		}
		way, _ := turner.Way()
		ways[way]++
	})
	t.Logf("dumps: %v", ways)
	assert.Greater(t, ways["sock_diag"], 3)
	assert.Greater(t, ways["the iterator"], 3)
}

func testEveryConnection(t *testing.T, factory source.Factory, cfg *Config, beforeScrapes ...func()) {
	const (
		processes, each = 4, 5_000
		sent, received  = 777, 100
	)
	cfg.System.Enabled = false
	cfg.Require = []string{"closes", "bytes"}
	next := &refusing{}
	telemetry := componenttest.NewTelemetry()
	defer func() { require.NoError(t, telemetry.Shutdown(context.Background())) }()
	set := receivertest.NewNopSettings(metadata.Type)
	set.TelemetrySettings = telemetry.NewTelemetrySettings()
	s, err := newSteps(cfg, set, next, factory)
	if err != nil {
		t.Skipf("%s with notices of closes is not to be had here: %v", factory.Name, err)
	}
	defer func() { require.NoError(t, s.close()) }()
	scrape := func() {
		for _, do := range beforeScrapes {
			do()
		}
		next.Reset()
		require.NoError(t, s.scrape())
	}

	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	scrape()

	var clients []*exec.Cmd
	for range processes {
		self, err := os.Executable()
		require.NoError(t, err)
		client := exec.Command(self)
		client.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %d %d", burstEnv, l.Addr(), each, sent, received))
		client.Stderr = os.Stderr
		require.NoError(t, client.Start())
		clients = append(clients, client)
	}
	// Not before the last client is started: each has, until it runs its program,
	// what this process has open, and would be the last to close it.
	answered := make(chan error)
	go func() { answered <- answer(l, received) }()
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
			scrape()
		}
	}

	const n = processes * each
	want := map[string]totals{
		"client": {opens: n, closes: n, sent: n * sent, received: n * received},
		"server": {opens: n, closes: n, sent: n * received, received: n * sent},
	}
	if cfg.Process.Attribution {
		self, err := os.Executable()
		require.NoError(t, err)
		of := func(role string, pid int) string { return fmt.Sprint(role, " ", filepath.Base(self), " ", pid) }
		server := want["server"]
		clear(want)
		want[of("server", os.Getpid())] = server
		for _, client := range clients {
			want[of("client", client.Process.Pid)] = totals{opens: each, closes: each, sent: each * sent, received: each * received}
		}
	}
	port := l.Addr().(*net.TCPAddr).Port
	if lost, err := telemetry.GetMetric("otelcol_receiver_tcpstats_events_lost"); err == nil {
		t.Skipf("the kernel dropped notices, as it may without CAP_NET_ADMIN (sysctl net.core.rmem_max): %v", lost.Data)
	}
	// The last notices may be on their way.
	for range 500 {
		scrape()
		if assert.ObjectsAreEqual(want, ofPort(next, port, byRole)) {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	assert.Equal(t, want, ofPort(next, port, byRole))
	scrape()
	assert.Equal(t, want, ofPort(next, port, byRole), "and what is left of them changes nothing")
	require.NoError(t, l.Close())
	require.ErrorIs(t, <-answered, net.ErrClosed)
}

// What the source saw is known of connections that nobody else can attribute.
func TestTheSourceSawWhoseItWas(t *testing.T) {
	src := &telling{scripted: scripted{name: "a"}}
	cfg := groupConfig("process.executable.name", "process.owner")
	cfg.Process.Attribution = true
	r := newRig(t, cfg, &refusing{}, src)
	r.scrapeOnce(t)
	one := ended(established(1, 0), 70, 3)
	one.Holder = &tcp.Holder{UID: 4_000_000_000, Executable: "curl"}
	src.tell(one)
	r.sink.Reset()
	r.scrapeOnce(t)
	var of []map[string]any
	for _, md := range r.sink.AllMetrics() {
		for _, m := range md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().All() {
			if m.Name() == "tcp.closes" {
				for _, dp := range m.Sum().DataPoints().All() {
					if dp.IntValue() > 0 {
						of = append(of, dp.Attributes().AsRaw())
					}
				}
			}
		}
	}
	assert.Equal(t, []map[string]any{{"process.executable.name": "curl", "process.owner": "4000000000"}}, of)
}

// A walk over the processes that comes between close(2) and the FIN finds nobody who has
// the socket. Its notice, a moment later, has the process.
func TestACloseDuringAWalk(t *testing.T) {
	cfg := groupConfig("process.executable.name")
	cfg.Process.Attribution = true
	cfg.Process.RefreshInterval = 0
	src := &telling{scripted: scripted{name: "a"}}
	r := newRig(t, cfg, &refusing{}, src)
	r.scrapeOnce(t)
	src.sockets = []tcp.Socket{held(established(1, 0))}
	r.scrapeOnce(t) // walks, and finds nobody
	src.sockets = nil
	one := ended(held(established(1, 0)), 70, 3)
	one.Holder = &tcp.Holder{UID: 4_000_000_000, Executable: "curl"}
	src.tell(one)
	r.scrapeOnce(t)
	closes := make(map[any]int64)
	for _, md := range r.sink.AllMetrics() {
		for _, m := range md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().All() {
			if m.Name() == "tcp.closes" {
				for _, dp := range m.Sum().DataPoints().All() {
					closes[dp.Attributes().AsRaw()["process.executable.name"]] = dp.IntValue()
				}
			}
		}
	}
	assert.Equal(t, map[any]int64{"curl": 1}, closes)
}
