// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"bytes"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
)

// BenchmarkCold measures scrapes with groups as they come in a collector, seconds
// after the last one, beside scrapes at once after another, of quiet connections. By
// then processors, and on virtual machines page tables, have forgotten much. Each is
// held against a floor that has rested as long, and what the process does while it
// rests counts; medians of rounds in turns, as in BenchmarkScrape.
//
//	F-ns, cold-F-ns    the floor per socket
//	hot/F, cold/F      a scrape, in floors of its kind
//	touched-KB         memory of this process that a scrape reads or writes
//	switches           context switches of a scrape and the rest before it
//	collections        garbage collections of a hundred scrapes
func BenchmarkCold(b *testing.B) {
	if os.Getenv("BENCH_SOCKETS") == "" {
		b.Setenv("BENCH_SOCKETS", "10000")
	}
	forEachSize(b, benchmarkCold)
}

func benchmarkCold(b *testing.B, sockets int) {
	const (
		rounds = 9
		rest   = 2 * time.Second
	)
	holdConnections(b, sockets/2)
	cfg := createDefaultConfig()
	if name := os.Getenv("BENCH_SOURCE"); name != "" {
		cfg.Source = name
	}
	s, err := newSteps(cfg, receivertest.NewNopSettings(metadata.Type), consumertest.NewNop(), sources()...)
	require.NoError(b, err)
	defer func() { require.NoError(b, s.close()) }()
	floor := newRawDump(b)
	scrape := func() { require.NoError(b, s.scrape()) }
	for range 3 {
		scrape()
	}
	for b.Loop() {
		var hotF, hot, coldF, cold, touched, switched []time.Duration
		for range rounds {
			floor.dump()
			hotF = append(hotF, cpu(floor.dump))
			scrape()
			hot = append(hot, cpu(scrape))
		}
		for range rounds {
			time.Sleep(rest)
			coldF = append(coldF, cpu(floor.dump))
			before := contextSwitches(b)
			cold = append(cold, cpu(func() {
				time.Sleep(rest)
				scrape()
			}))
			switched = append(switched, time.Duration(contextSwitches(b)-before))
			require.NoError(b, os.WriteFile("/proc/self/clear_refs", []byte("1"), 0))
			scrape()
			touched = append(touched, time.Duration(referenced(b)))
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 100 {
			scrape()
		}
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(median(hotF))/float64(sockets), "F-ns")
		b.ReportMetric(float64(median(coldF))/float64(sockets), "cold-F-ns")
		b.ReportMetric(float64(median(hot))/float64(median(hotF)), "hot/F")
		b.ReportMetric(float64(median(cold))/float64(median(coldF)), "cold/F")
		b.ReportMetric(float64(median(touched)), "touched-KB")
		b.ReportMetric(float64(median(switched)), "switches")
		b.ReportMetric(float64(after.NumGC-before.NumGC), "collections")
		b.ReportMetric(0, "ns/op")
	}
}

// contextSwitches returns how often the process's threads have been switched.
func contextSwitches(b *testing.B) int64 {
	var usage unix.Rusage
	require.NoError(b, unix.Getrusage(unix.RUSAGE_SELF, &usage))
	return int64(usage.Nvcsw) + int64(usage.Nivcsw)
}

// referenced returns the kilobytes that were read or written since the marks were
// cleared.
func referenced(b *testing.B) (kb int) {
	text, err := os.ReadFile("/proc/self/smaps_rollup")
	require.NoError(b, err)
	for line := range bytes.Lines(text) {
		if value, ok := bytes.CutPrefix(line, []byte("Referenced:")); ok {
			kb, err = strconv.Atoi(string(bytes.TrimSpace(bytes.TrimSuffix(bytes.TrimSpace(value), []byte("kB")))))
			require.NoError(b, err)
		}
	}
	return kb
}
