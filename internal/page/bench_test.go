// SPDX-License-Identifier: Apache-2.0

//go:build unix

package page

import (
	"context"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/config/confignet"

	"github.com/netpulse/tcpstatsreceiver/internal/engine"
	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// move has a part of the connections send.
func (r *rig) move(every int) {
	for i := int(r.tick) % every; i < len(r.source.sockets); i += every {
		r.source.sockets[i].BytesSent += 1000
		r.source.sockets[i].SegmentsSent++
	}
}

func crowd(n int) []tcp.Socket {
	all := make([]tcp.Socket, n)
	for i := range all {
		all[i] = socket(i)
	}
	return all
}

// BenchmarkNobodyLooks measures a scrape at which nobody looks against the same one
// without a page, in turns: the CPU time of the engine's part alone, whose source is
// free; a real one adds 1 to 2 µs per socket (see BenchmarkPage of the receiver, which
// has one). Another listener is there each time, as groups are. page-% is what the page
// takes; looked-at-% what it takes once somebody has looked, as all of each
// connection is remembered then.
func BenchmarkNobodyLooks(b *testing.B) {
	for _, n := range []int{1000, 10_000, 100_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			var plain, page, looked []time.Duration
			rigs := []*rig{bareRig(b, n), bareRig(b, n), bareRig(b, n)}
			for _, r := range rigs[1:] {
				r.page = New(Config{History: time.Minute, Interval: time.Second})
				r.engine.Listen(r.page)
				r.engine.AddView(r.page)
			}
			for _, r := range rigs {
				require.NoError(b, r.engine.Open(context.Background()))
				defer func() { require.NoError(b, r.engine.Close()) }()
				r.scrape()
			}
			runtime.GC()
			for b.Loop() {
				rigs[2].ago(lookingFor + time.Second)
				for i, spent := range []*[]time.Duration{&plain, &page, &looked} {
					rigs[i].move(10)
					before := processTime()
					rigs[i].scrape()
					*spent = append(*spent, processTime()-before)
				}
			}
			require.Zero(b, rigs[1].detailed())
			base, with, most := float64(median(plain)), float64(median(page)), float64(median(looked))
			b.ReportMetric(base/float64(n), "engine-ns/socket")
			b.ReportMetric((with-base)/float64(n), "page-ns/socket")
			b.ReportMetric(100*(with-base)/base, "page-%")
			b.ReportMetric(100*(most-base)/base, "looked-at-%")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// bareRig is an engine with another listener and view, and without a page.
func bareRig(b *testing.B, n int) *rig {
	r := &rig{tb: b, source: &scripted{crowd(n)}}
	r.engine = newEngine(b, r.source, false)
	r.engine.Listen(other{})
	r.engine.AddView(other{})
	return r
}

type other struct{}

func (other) Progress(*event.Progress)                              {}
func (other) Opened(*event.Opened)                                  {}
func (other) Ended(*event.Ended)                                    {}
func (other) Needs(int64) engine.Needs                              { return engine.Needs{Sockets: true} }
func (other) Scrape(*engine.Scrape) func(ctx context.Context) error { return nil }

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}

// BenchmarkProgress is what a connection that moved costs while nobody looks.
func BenchmarkProgress(b *testing.B) {
	p := New(Config{History: time.Minute, Interval: time.Second})
	s := socket(1)
	e := event.Progress{Connection: &event.Connection{Fields: s.Fields, SmoothedRTT: s.SmoothedRTT}, Delta: event.Delta{BytesSent: 1}, Was: tcp.Established, Is: tcp.Established}
	b.ReportAllocs()
	for b.Loop() {
		p.Progress(&e)
	}
}

// BenchmarkViewers measures a scrape a second at 10,000 connections, of which a
// tenth moves, with viewers who read: the CPU time and the bytes of each scrape in
// all, those of the viewers' own end included.
func BenchmarkViewers(b *testing.B) {
	for _, viewers := range []int{0, 1, 20, 200} {
		b.Run(strconv.Itoa(viewers), func(b *testing.B) {
			r := newRig(b, crowd(10_000)...)
			r.page.cfg.Server = serverConfig("127.0.0.1:0", confignet.TransportTypeTCP)
			require.NoError(b, r.page.Start(context.Background(), nil))
			defer func() { require.NoError(b, r.page.Shutdown(context.Background())) }()
			r.scrape()
			var read atomic.Int64
			var all sync.WaitGroup
			ctx, cancel := context.WithCancel(context.Background())
			client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: viewers + 1}}
			for range viewers {
				req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.page.URL()+"events?rows", nil)
				require.NoError(b, err)
				answer, err := client.Do(req)
				require.NoError(b, err)
				all.Go(func() {
					defer answer.Body.Close()
					_, _ = io.Copy(counter{&read}, answer.Body)
				})
			}
			quiet := func() {
				for before := int64(-1); before != read.Load(); time.Sleep(20 * time.Millisecond) {
					before = read.Load()
				}
			}
			quiet()
			before, cpu := read.Load(), processTime()
			for b.Loop() {
				r.move(10)
				r.scrape()
				if viewers > 0 {
					b.StopTimer()
					quiet()
					b.StartTimer()
				}
			}
			b.ReportMetric(float64((processTime()-cpu).Microseconds())/1e3/float64(b.N), "cpu-ms/scrape")
			b.ReportMetric(float64(read.Load()-before)/1e3/float64(b.N), "kB/scrape")
			require.EqualValues(b, viewers, r.page.viewers.Load(), "none was dropped")
			cancel()
			all.Wait()
			client.CloseIdleConnections()
			runtime.GC()
		})
	}
}

type counter struct{ n *atomic.Int64 }

func (c counter) Write(b []byte) (int, error) {
	c.n.Add(int64(len(b)))
	return len(b), nil
}
