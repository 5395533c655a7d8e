// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// BenchmarkInsight measures what the metrics that explain cost, all that are on by
// default together: a receiver with them and one without take turns at scraping the
// same sockets, of which 1 % are replaced before each pair. What is reported is the
// median of the differences, in F (see BenchmarkScrape), beside both scrapes.
func BenchmarkInsight(b *testing.B) {
	forEachSize(b, benchmarkInsight)
}

// withoutInsight switches off the metrics of docs/metrics.md, "Why it is slow", that
// are on by default.
func withoutInsight(cfg *Config) {
	m := &cfg.Metrics
	m.TCPFailures.Enabled, m.TCPAborts.Enabled = false, false
	m.TCPHandshakeDuration.Enabled = false
	m.TCPTime.Enabled, m.TCPSegments.Enabled, m.TCPZeroWindows.Enabled = false, false, false
	m.TCPListenerDrops.Enabled = false
	m.SystemNetworkTCPEphemeralPortUsage.Enabled, m.SystemNetworkTCPEphemeralPortLimit.Enabled = false, false
}

func benchmarkInsight(b *testing.B, sockets int) {
	const rounds = 31
	held := holdConnections(b, sockets/2)
	start := func(change func(*Config)) *steps {
		s := startBench(b, change)
		b.Cleanup(func() { require.NoError(b, s.close()) })
		require.NoError(b, s.scrape())
		return s
	}
	with, without := start(func(*Config) {}), start(withoutInsight)
	floor := newRawDump(b)
	for b.Loop() {
		var raw, on, off, more []time.Duration
		for i := range rounds {
			held.replace(b, max(1, sockets/200))
			raw = append(raw, cpu(floor.dump))
			order := []*steps{with, without}
			if i%2 == 1 {
				slices.Reverse(order)
			}
			took := make(map[*steps]time.Duration)
			for _, s := range order {
				took[s] = cpu(func() { require.NoError(b, s.scrape()) })
			}
			on, off, more = append(on, took[with]), append(off, took[without]), append(more, took[with]-took[without])
		}
		f := float64(median(raw))
		b.ReportMetric(float64(median(more))/f, "more/F")
		b.ReportMetric(float64(median(on))/f, "with/F")
		b.ReportMetric(float64(median(off))/f, "without/F")
		b.ReportMetric(0, "ns/op")
	}
}
