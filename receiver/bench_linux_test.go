// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"cmp"
	"encoding/binary"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
)

// BenchmarkScrape measures scrapes over real sockets on loopback against the floor
// F: a dump of sock_diag with every extension whose bytes are thrown away. All
// take turns in one run, and what is reported is the median of the rounds, in CPU
// time of the process (user and system, the garbage collector's included) per
// socket. Before each scrape, 1 % of the connections are replaced.
//
//	F-ns            the floor
//	first/F         the first scrape with groups: a walk over all descriptors
//	grouped/F       a scrape with groups
//	scrape/F        the same and every connection written
//	resting/F       the same with unchanged_interval 1m: those that rest one time in six
//	allocs          heap allocations of a scrape with groups in all, not per socket
//	allocs/connection, resting-allocs/connection  those of a scrape/F and of a resting/F, of each
//
// BENCH_SOCKETS has the numbers of sockets, "1000 10000 100000" by default, and
// BENCH_SOURCE the source, "auto" by default.
func BenchmarkScrape(b *testing.B) {
	forEachSize(b, benchmarkScrape)
}

func forEachSize(b *testing.B, benchmark func(b *testing.B, sockets int)) {
	sizes := "1000 10000 100000"
	if s := os.Getenv("BENCH_SOCKETS"); s != "" {
		sizes = s
	}
	for _, size := range strings.Fields(sizes) {
		n, err := strconv.Atoi(size)
		require.NoError(b, err, "BENCH_SOCKETS")
		b.Run(size, func(b *testing.B) { benchmark(b, n) })
	}
}

// BenchmarkHeap reports what stays in memory between scrapes, by default (groups
// alone) and with every connection written, in MB of live heap, the test's own
// included.
func BenchmarkHeap(b *testing.B) {
	forEachSize(b, func(b *testing.B, sockets int) {
		holdConnections(b, sockets/2)
		for b.Loop() {
			b.ReportMetric(liveHeap(b, func(*Config) {}), "groups-MB")
			b.ReportMetric(liveHeap(b, func(cfg *Config) { cfg.Connections.Enabled = true }), "connections-MB")
			b.ReportMetric(0, "ns/op")
		}
	})
}

func liveHeap(b *testing.B, change func(*Config)) float64 {
	cfg := createDefaultConfig()
	if name := os.Getenv("BENCH_SOURCE"); name != "" {
		cfg.Source = name
	}
	change(cfg)
	s, err := newSteps(cfg, receivertest.NewNopSettings(metadata.Type), consumertest.NewNop(), sources()...)
	require.NoError(b, err)
	for range 3 {
		require.NoError(b, s.scrape())
	}
	var heap runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&heap)
	require.NoError(b, s.close())
	return float64(heap.HeapAlloc) / 1e6
}

// startBench starts a receiver whose defaults are changed, with the source that
// BENCH_SOURCE names. The caller closes it.
func startBench(b *testing.B, change func(*Config)) *steps {
	b.Helper()
	cfg := createDefaultConfig()
	cfg.Process.RefreshInterval = time.Hour // the steady state walks no more often
	if name := os.Getenv("BENCH_SOURCE"); name != "" {
		cfg.Source = name
	}
	change(cfg)
	s, err := newSteps(cfg, receivertest.NewNopSettings(metadata.Type), consumertest.NewNop(), sources()...)
	require.NoError(b, err)
	return s
}

func benchmarkScrape(b *testing.B, sockets int) {
	const rounds = 9
	held := holdConnections(b, sockets/2)
	floor := newRawDump(b)
	for b.Loop() {
		// One receiver after the other: a second one in the process would be memory for
		// the garbage collector to look at, too.
		measure := func(change func(*Config)) (f, first, usual, allocs float64) {
			s := startBench(b, change)
			defer func() { require.NoError(b, s.close()) }()
			scrape := func() { require.NoError(b, s.scrape()) }
			first = float64(cpu(scrape))
			scrape()
			var raw, all []time.Duration
			for range rounds {
				held.replace(b, max(1, sockets/200))
				raw = append(raw, cpu(floor.dump))
				all = append(all, cpu(scrape))
			}
			f = float64(median(raw))
			return f, first / f, float64(median(all)) / f, testing.AllocsPerRun(3, scrape)
		}
		f, first, grouped, allocs := measure(func(*Config) {})
		_, _, every, everyAllocs := measure(func(cfg *Config) { cfg.Connections.Enabled, cfg.Connections.Limit = true, 0 })

		_, _, resting, restingAllocs := measure(func(cfg *Config) {
			cfg.Connections.Enabled, cfg.Connections.Limit, cfg.Connections.UnchangedInterval = true, 0, time.Minute
		})

		b.ReportMetric(f/float64(sockets), "F-ns")
		b.ReportMetric(first, "first/F")
		b.ReportMetric(grouped, "grouped/F")
		b.ReportMetric(every, "scrape/F")
		b.ReportMetric(allocs, "allocs")
		b.ReportMetric(resting, "resting/F")
		b.ReportMetric(everyAllocs/float64(sockets), "allocs/connection")
		b.ReportMetric(restingAllocs/float64(sockets), "resting-allocs/connection")
		b.ReportMetric(0, "ns/op")
	}
}

// cpu returns the CPU time that the process spends while f runs.
func cpu(f func()) time.Duration {
	before := processTime()
	f()
	return processTime() - before
}

func processTime() time.Duration {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func median[T cmp.Ordered](all []T) T {
	slices.Sort(all)
	return all[len(all)/2]
}

// rawDump is the floor: what any reader of sock_diag pays.
type rawDump struct {
	b       *testing.B
	fd      int
	request [76]byte
	buf     [32 << 10]byte
}

func newRawDump(b *testing.B) *rawDump {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, unix.Close(fd)) })
	r := &rawDump{b: b, fd: fd}
	const tcpdiagGetSock, everyExtension, states = 18, 0xff, 0xfff
	binary.NativeEndian.PutUint32(r.request[0:], uint32(len(r.request)))
	binary.NativeEndian.PutUint16(r.request[4:], tcpdiagGetSock)
	binary.NativeEndian.PutUint16(r.request[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	r.request[19] = everyExtension
	binary.NativeEndian.PutUint32(r.request[68:], states)
	return r
}

func (r *rawDump) dump() {
	_, err := unix.Write(r.fd, r.request[:])
	require.NoError(r.b, err)
	for {
		n, err := unix.Read(r.fd, r.buf[:])
		require.NoError(r.b, err)
		// The end of a dump comes in a datagram of its own.
		switch binary.NativeEndian.Uint16(r.buf[4:]) {
		case unix.NLMSG_DONE:
			return
		case unix.NLMSG_ERROR:
			r.b.Fatalf("sock_diag: %x", r.buf[:n])
		}
	}
}
