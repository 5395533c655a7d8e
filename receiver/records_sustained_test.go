// SPDX-License-Identifier: Apache-2.0

//go:build linux

package receiver

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// sustained is a running receiver with groups and records, whose pipelines count.
type sustained struct {
	*tcpStats
	next      *counting
	telemetry *componenttest.Telemetry
	began     time.Time
	cpu       time.Duration
	// heap and resident are what the process held, in MB, twenty times.
	heap, resident []float64
}

// look notes what the process holds, if that is due.
func (s *sustained) look(b *testing.B, total time.Duration) {
	if time.Since(s.began) < total*time.Duration(len(s.heap)+1)/20 {
		return
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	text, err := os.ReadFile("/proc/self/statm")
	require.NoError(b, err)
	pages, err := strconv.Atoi(strings.Fields(string(text))[1])
	require.NoError(b, err)
	s.heap = append(s.heap, float64(m.HeapAlloc)/1e6)
	s.resident = append(s.resident, float64(pages*os.Getpagesize())/1e6)
}

// halves are the medians of what the process held in the second quarter of the time,
// when it has all that it needs, and in the second half.
func halves(b *testing.B, held []float64) (early, late float64) {
	n := len(held)
	require.GreaterOrEqual(b, n, 8)
	return median(slices.Clone(held[n/4 : n/2])), median(slices.Clone(held[n/2:]))
}

func startSustained(b *testing.B, cfg *Config, factory source.Factory) *sustained {
	cfg.CollectionInterval = time.Second
	s := &sustained{next: &counting{Consumer: consumertest.NewNop()}, telemetry: componenttest.NewTelemetry()}
	set := receivertest.NewNopSettings(metadata.Type)
	set.TelemetrySettings = s.telemetry.NewTelemetrySettings()
	s.tcpStats = newTCPStats(cfg, set, consumertest.NewNop(), []source.Factory{factory})
	s.nextLogs, s.logsSet = s.next, set
	if err := s.Start(b.Context(), componenttest.NewNopHost()); err != nil {
		b.Skipf("%s: %v", factory.Name, err)
	}
	b.Cleanup(func() { require.NoError(b, s.telemetry.Shutdown(context.Background())) })
	s.began, s.cpu = time.Now(), processTime()
	return s
}

// counted is the sum of a counter of the receiver's own telemetry.
func (s *sustained) counted(name string) (n int64) {
	m, err := s.telemetry.GetMetric(name)
	if err != nil {
		return 0 // nothing was counted
	}
	if sum, ok := m.Data.(metricdata.Sum[int64]); ok {
		for _, point := range sum.DataPoints {
			n += point.Value
		}
	}
	return n
}

// report ends the receiver, and reports the rate, the CPU time, what was dropped or
// lost on the way, and how much memory grew from the first half of the time to the
// second.
func (s *sustained) report(b *testing.B, ends int64) {
	took, spent := time.Since(s.began), processTime()-s.cpu
	require.NoError(b, s.Shutdown(b.Context()))
	dropped, lost := s.counted("otelcol_receiver_tcpstats_dropped_records"), s.counted("otelcol_receiver_tcpstats_events_lost")
	b.ReportMetric(float64(ends)/took.Seconds(), "ends/s")
	b.ReportMetric(float64(spent)/float64(took), "cores")
	b.ReportMetric(float64(dropped), "dropped")
	b.ReportMetric(float64(lost), "lost")
	early, late := halves(b, s.heap)
	b.ReportMetric(late, "heap-MB")
	b.ReportMetric(late-early, "heap-growth-MB")
	if late > 1.2*early+10 {
		b.Errorf("the heap has grown from %.1f to %.1f MB: %.1f", early, late, s.heap)
	}
	early, late = halves(b, s.resident)
	b.ReportMetric(late, "resident-MB")
	b.ReportMetric(late-early, "resident-growth-MB")
	b.ReportMetric(0, "ns/op")
	if n := s.next.n.Load(); n+dropped+lost < ends {
		b.Errorf("%d ends, but %d records, %d dropped, %d notices lost", ends, n, dropped, lost)
	}
}

// sustainedFor is how long: BENCH_SECONDS, or 10 s.
func sustainedFor(b *testing.B) time.Duration {
	seconds := 10
	if s := os.Getenv("BENCH_SECONDS"); s != "" {
		var err error
		seconds, err = strconv.Atoi(s)
		require.NoError(b, err, "BENCH_SECONDS")
	}
	return time.Duration(seconds) * time.Second
}

// BenchmarkSustainedEnds has 20,000 connections a second end, whose notices are
// scripted: none may be dropped, and memory stays what it is. Making the notices is
// in the CPU time, too. BENCH_SECONDS=60 for the whole run.
func BenchmarkSustainedEnds(b *testing.B) {
	const rate, each = 20_000, 200
	for b.Loop() {
		total := sustainedFor(b)
		src := &telling{scripted: scripted{name: "a"}}
		s := startSustained(b, recordsConfig(), src.factory())
		time.Sleep(1500 * time.Millisecond) // what comes before the first scrape is not new
		s.began, s.cpu = time.Now(), processTime()
		id := uint64(0)
		batch := make([]tcp.Notice, each)
		end := func() {
			for i := range batch {
				id++
				n := ended(established(id, 0), 1000, 2000)
				n.Peer = netip.AddrPortFrom(n.Peer.Addr(), uint16(1024+id%60_000))
				n.Fields = 1<<tcp.NumFields - 1 // everything
				n.SegmentsSent, n.CongestionControl, n.Cause, n.Handshake = 5, "cubic", tcp.LocalClose, time.Millisecond
				n.Established, n.Ended = time.Now().Add(-time.Second), time.Now()
				batch[i] = n
			}
			src.tell(batch...)
		}
		tick := time.NewTicker(time.Second * each / rate)
		for time.Since(s.began) < total {
			// A ticker drops ticks on a busy machine: it is made up for.
			for due := uint64(time.Since(s.began).Seconds() * rate); id < due; {
				end()
			}
			s.look(b, total)
			<-tick.C
		}
		tick.Stop()
		s.report(b, int64(id))
		if n := s.next.n.Load(); n != int64(id) {
			b.Errorf("%d ends, and %d records: this machine had not the time for all of them", id, n)
		}
	}
}

// BenchmarkSustainedConnections is the same with real connections on loopback, as many
// as the machine can make beside the receiver: the processes that make them share its
// cores. Of the two ends that each has here, the accepted one is counted. What the
// kernel drops of its notices is lost; everything else has its record.
func BenchmarkSustainedConnections(b *testing.B) {
	for _, factory := range sources() {
		if factory.Name != "bpf" && factory.Name != "sock_diag" {
			continue
		}
		b.Run(factory.Name, func(b *testing.B) {
			for b.Loop() {
				benchmarkConnections(b, factory)
			}
		})
	}
}

func benchmarkConnections(b *testing.B, factory source.Factory) {
	const each, sent, received = 2000, 100, 100
	cfg := recordsConfig()
	cfg.Process.Attribution = false
	cfg.Require = []string{"closes", "bytes"}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	cfg.Filter.LocalPorts = []any{strconv.Itoa(l.Addr().(*net.TCPAddr).Port)} // the accepted ends
	s := startSustained(b, cfg, factory)
	answered := make(chan error)
	go func() { answered <- answer(l, received) }()
	defer func() {
		require.NoError(b, l.Close())
		require.ErrorIs(b, <-answered, net.ErrClosed)
	}()
	time.Sleep(1500 * time.Millisecond)
	s.began, s.cpu = time.Now(), processTime()
	self, err := os.Executable()
	require.NoError(b, err)
	total, n := sustainedFor(b), int64(0)
	for ; time.Since(s.began) < total; n += each {
		client := exec.Command(self)
		client.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %d %d", burstEnv, l.Addr(), each, sent, received))
		client.Stderr = os.Stderr
		require.NoError(b, client.Run())
		s.look(b, total)
	}
	took := time.Since(s.began)
	for range 100 {
		if s.next.n.Load() >= n {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	s.report(b, n)
	b.ReportMetric(float64(n)/took.Seconds(), "ends/s")
}
