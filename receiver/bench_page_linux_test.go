// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// BenchmarkPage measures what a page that nobody looks at costs, over real sockets on
// loopback: scrapes with groups, with a page configured and without one, in turns.
// What is reported is the median of the rounds' ratios, in CPU time of the process,
// and the live heap. 1 % of the connections are replaced before each round.
//
//	scrape-ns       a scrape without a page, per socket
//	page/scrape     the same with a page, against it: 1 is nothing
//	heap-MB         the live heap without a page
//	page-heap-MB    the same with a page
//
// BENCH_SOCKETS and BENCH_SOURCE as for BenchmarkScrape.
func BenchmarkPage(b *testing.B) { forEachSize(b, benchmarkPage) }

func benchmarkPage(b *testing.B, sockets int) {
	const rounds = 41
	held := holdConnections(b, sockets/2)
	withPage := func(cfg *Config) { cfg.Page.Endpoint = "127.0.0.1:0" }
	without := startBench(b, func(*Config) {})
	defer func() { require.NoError(b, without.close()) }()
	with := startBench(b, withPage)
	defer func() { require.NoError(b, with.close()) }()
	scrape := func(s *steps) time.Duration {
		return cpu(func() { require.NoError(b, s.scrape()) })
	}
	for b.Loop() {
		scrape(without)
		scrape(with)
		var base []time.Duration
		var ratios []float64
		for round := range rounds {
			held.replace(b, max(1, sockets/200))
			// Who is first pays for what the new connections cost the kernel.
			var one, two time.Duration
			if round%2 == 0 {
				one, two = scrape(without), scrape(with)
			} else {
				two, one = scrape(with), scrape(without)
			}
			base, ratios = append(base, one), append(ratios, float64(two)/float64(one))
		}
		b.ReportMetric(float64(median(base))/float64(sockets), "scrape-ns")
		b.ReportMetric(median(ratios), "page/scrape")
		b.ReportMetric(liveHeap(b, func(*Config) {}), "heap-MB")
		b.ReportMetric(liveHeap(b, withPage), "page-heap-MB")
		b.ReportMetric(0, "ns/op")
	}
}
