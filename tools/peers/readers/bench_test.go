// SPDX-License-Identifier: Apache-2.0

//go:build linux

package readers

import (
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/capture"
	"github.com/netpulse/tcpstatsreceiver/internal/capture/engines"
	"github.com/netpulse/tcpstatsreceiver/internal/dns"
	"github.com/netpulse/tcpstatsreceiver/internal/netns/netnstest"
	"github.com/netpulse/tcpstatsreceiver/internal/netns/netnstest/traffic"
)

const (
	rounds = 9
	settle = 200 * time.Millisecond // until the sender runs
	window = time.Second
)

// figures are those of one reader in one round.
type figures struct {
	core    float64 // CPU time of this process, in percent of a core
	sender  float64 // CPU time of the sender for a datagram, in ns
	sent    float64 // datagrams a second
	answers float64 // that the watcher has matched, a second
	dropped float64 // packets that the kernel had no room for
}

// What each reader takes of a core, and what it adds to the CPU time of the sender,
// beside the same traffic. They take turns; the figures are the medians of the rounds, and the sum
// of the packets that were dropped.
// "none" is this process without a reader.
func BenchmarkCapture(b *testing.B) {
	contestants := slices.Concat([]capture.Factory{{Name: "none"}}, engines.All(), All(device))
	for _, kind := range []struct {
		name string
		load traffic.Load
	}{
		{"200k other packets", traffic.Load{Role: traffic.Send, Port: 9999, Rate: 200_000}},
		{"10k lookups", traffic.Load{Role: traffic.Ask, Port: dns.Port, Rate: 10_000}},
	} {
		b.Run(kind.name, func(b *testing.B) {
			host, other := world(b)
			defer traffic.Start(other, traffic.Load{Role: traffic.Answer, Port: kind.load.Port})()
			all := make([][]figures, len(contestants))
			failed := make([]error, len(contestants))
			for range rounds {
				for _, n := range rand.Perm(len(contestants)) {
					one, err := measure(host, contestants[n], kind.load)
					if err != nil {
						failed[n] = err
						continue
					}
					all[n] = append(all[n], one)
				}
			}
			for n, c := range contestants {
				b.Run(c.Name, func(b *testing.B) {
					if failed[n] != nil {
						b.Skipf("it does not open: %v", failed[n])
					}
					report(b, all[n])
				})
			}
		})
	}
}

// measure has a reader read the traffic for a while. It starts anew each time, as its
// watcher does.
func measure(host *netnstest.Place, factory capture.Factory, load traffic.Load) (figures, error) {
	var r *reading
	if factory.Open != nil {
		var err error
		if r, err = read(host, factory); err != nil {
			return figures{}, err
		}
		defer r.stop()
	}
	answers := func() (n uint64) {
		if r != nil {
			n = r.Counts().Answers
		}
		return n
	}
	runtime.GC() // what the last one has left is not this one's to collect
	stop := traffic.Start(host, load)
	time.Sleep(settle)
	began, used, answered := time.Now(), traffic.CPUTime(), answers()
	time.Sleep(window)
	used, answered = traffic.CPUTime()-used, answers()-answered
	elapsed := time.Since(began).Seconds()
	sent, took := stop()
	one := figures{
		core:    100 * used.Seconds() / elapsed,
		sender:  float64(took.Nanoseconds()) / float64(sent),
		sent:    float64(sent) / (time.Since(began).Seconds() + settle.Seconds()),
		answers: float64(answered) / elapsed,
	}
	if r != nil {
		one.dropped = float64(r.Stats().Dropped)
	}
	return one, nil
}

func report(b *testing.B, rounds []figures) {
	median := func(of func(figures) float64) float64 {
		values := make([]float64, len(rounds))
		for i, f := range rounds {
			values[i] = of(f)
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(func(f figures) float64 { return f.core }), "%core")
	b.ReportMetric(median(func(f figures) float64 { return f.sender }), "ns/sent")
	b.ReportMetric(median(func(f figures) float64 { return f.sent }), "sent/s")
	b.ReportMetric(median(func(f figures) float64 { return f.answers }), "answers/s")
	var dropped float64 // of all rounds: the median would hide losses now and then
	for _, f := range rounds {
		dropped += f.dropped
	}
	b.ReportMetric(dropped, "dropped")
}
