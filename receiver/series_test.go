// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// series returns the points of a gauge since the last Reset, by peer port and, if
// it has one, state; those without a value are marked.
func (r *rig) series(name string) (all []string) {
	for _, md := range r.sink.AllMetrics() {
		for _, rm := range md.ResourceMetrics().All() {
			for _, m := range rm.ScopeMetrics().At(0).Metrics().All() {
				if m.Name() != name {
					continue
				}
				for _, dp := range m.Gauge().DataPoints().All() {
					attrs := dp.Attributes().AsRaw()
					text := fmt.Sprint(attrs["network.peer.port"])
					if state, ok := attrs["network.connection.state"]; ok {
						text += fmt.Sprint(" ", state)
					}
					if dp.Flags().NoRecordedValue() && dp.ValueType() == pmetric.NumberDataPointValueTypeEmpty {
						text += " ended"
					}
					all = append(all, text)
				}
			}
		}
	}
	slices.Sort(all)
	return all
}

// in is a connection in a state.
func in(state tcp.State, cookie uint64) tcp.Socket {
	s := established(cookie, 10)
	s.State = state
	if state == tcp.TimeWait || state == tcp.SynReceived {
		s.Fields = 0
	}
	return s
}

// A connection that is gone, or that has no series any more, ends its series; one in
// another state ends the one with the state it had.
func TestConnectionSeriesEnd(t *testing.T) {
	src := &scripted{name: "a"}
	next := &refusing{}
	r := newRig(t, testConfig(), next, src)
	scrape := func(sockets ...tcp.Socket) {
		src.sockets = sockets
		r.sink.Reset()
		r.scrapeOnce(t)
	}
	scrape(in(tcp.Established, 1), in(tcp.Established, 2), in(tcp.Established, 3))
	assert.Equal(t, []string{"1", "2", "3"}, r.series("tcp.connection.rtt"))
	assert.Equal(t, []string{"1 established", "2 established", "3 established"}, r.series("tcp.connection.age"))

	scrape(in(tcp.CloseWait, 1), in(tcp.TimeWait, 3))
	assert.Equal(t, []string{"1", "2 ended", "3 ended"}, r.series("tcp.connection.rtt"))
	assert.Equal(t, []string{"1 close_wait", "1 established ended", "2 established ended", "3 established ended"}, r.series("tcp.connection.age"))

	// Who was not seen in a dump that broke off may still be there.
	src.results = []error{errors.New("broke off"), nil}
	scrape()
	assert.Empty(t, r.series("tcp.connection.rtt"))
	scrape()
	assert.Equal(t, []string{"1 ended"}, r.series("tcp.connection.rtt"))
	assert.Equal(t, []string{"1 close_wait ended"}, r.series("tcp.connection.age"))
	scrape()
	assert.Empty(t, r.series("tcp.connection.rtt"), "once")
}

// What the pipeline has refused was not written, and what it took before that ends
// all the same.
func TestConnectionSeriesEndOfWhatWasTaken(t *testing.T) {
	src := &scripted{name: "a"}
	next := &refusing{}
	r := newRig(t, testConfig(), next, src)
	scrape := func(refuse bool, sockets ...tcp.Socket) {
		next.refuse = nil
		if refuse {
			next.refuse = func(pmetric.Metrics) error { return consumererror.NewPermanent(errors.New("no")) }
		}
		src.sockets = sockets
		r.sink.Reset()
		r.scrapeOnce(t)
	}
	scrape(false, in(tcp.Established, 1))
	scrape(true, in(tcp.Established, 1), in(tcp.Established, 2))
	scrape(false)
	assert.Equal(t, []string{"1 ended"}, r.series("tcp.connection.rtt"))
}

// The ends that the pipeline has not taken come again, unless they live again.
func TestConnectionSeriesWhoseEndsAreRefused(t *testing.T) {
	src := &scripted{name: "a"}
	next := &refusing{}
	cfg := testConfig()
	cfg.Connections.BatchSize = 1
	r := newRig(t, cfg, next, src)
	scrape := func(refuse error, sockets ...tcp.Socket) {
		next.refuse = nil
		if refuse != nil {
			next.refuse = func(pmetric.Metrics) error { return refuse }
		}
		src.sockets = sockets
		r.sink.Reset()
		r.scrapeOnce(t)
	}
	scrape(nil, in(tcp.Established, 1), in(tcp.Established, 2))
	scrape(errors.New("not now"))
	scrape(nil, in(tcp.Established, 2))
	assert.Equal(t, []string{"1 ended", "2"}, r.series("tcp.connection.rtt"))
	scrape(nil)
	assert.Equal(t, []string{"2 ended"}, r.series("tcp.connection.rtt"))
	scrape(nil)
	assert.Empty(t, r.series("tcp.connection.rtt"), "once")

	// One that it never takes does not come again.
	scrape(nil, in(tcp.Established, 1))
	scrape(consumererror.NewPermanent(errors.New("no")))
	scrape(nil)
	assert.Empty(t, r.series("tcp.connection.rtt"))
}

// What falls out of the limit ends, too: it is not shown any more.
func TestConnectionSeriesBeyondTheLimit(t *testing.T) {
	src := &scripted{name: "a"}
	cfg := testConfig()
	cfg.Connections.Limit = 1
	r := newRig(t, cfg, &refusing{}, src)
	src.sockets = []tcp.Socket{established(1, 10), established(2, 5)}
	r.scrapeOnce(t)
	src.sockets = []tcp.Socket{established(1, 20), established(2, 500)}
	r.scrapeOnce(t)
	src.sockets = []tcp.Socket{established(1, 9000), established(2, 500)}
	r.sink.Reset()
	r.scrapeOnce(t)
	assert.Equal(t, []string{"1", "2 ended"}, r.series("tcp.connection.rtt"))
}

// With unchanged_interval, a connection with which nothing happens is written once in
// the interval, whether the dumps have it or not, and lives on until it ends.
func TestConnectionSeriesThatRest(t *testing.T) {
	for _, moved := range []bool{false, true} {
		t.Run(fmt.Sprintf("moved=%t", moved), func(t *testing.T) {
			cfg := testConfig()
			cfg.Connections.Limit, cfg.Connections.UnchangedInterval = 0, 45*time.Millisecond
			src := &incremental{telling: telling{scripted: scripted{name: "a", sockets: []tcp.Socket{established(1, 10), established(2, 10), established(3, 10), established(4, 10)}}}}
			if moved {
				cfg.Groups.Enabled = true // nobody waits for ends otherwise
			}
			r := newRig(t, cfg, &refusing{}, src)
			r.scrapeOnce(t)
			assert.Equal(t, []string{"1", "2", "3", "4"}, r.series("tcp.connection.rtt"))
			var written [][]string
			for range 8 {
				r.sink.Reset()
				r.scrapeOnce(t)
				written = append(written, r.series("tcp.connection.rtt"))
			}
			// Four ticks of 10 ms, one slot in each.
			turns := [][]string{{"4"}, {"3"}, {"2"}, {"1"}}
			assert.Equal(t, slices.Concat(turns, turns), written)
			assert.Equal(t, moved, src.moved > 0)

			// The next turn is 4's. The script has nothing for dumps of what has moved.
			ages := []string{"1 close_wait", "1 established ended", "2 established ended", "4 established"}
			if moved {
				src.tell(ended(established(2, 10), 10, 10))
				ages = ages[2:]
			}
			src.sockets = []tcp.Socket{in(tcp.CloseWait, 1), established(3, 10), established(4, 10)}
			r.sink.Reset()
			r.scrapeOnce(t)
			assert.Equal(t, ages, r.series("tcp.connection.age"))
		})
	}
}

// 33,000 of 39,000 series were of connections that had ended.
func TestNoSeriesWithoutNumbers(t *testing.T) {
	sockets := []tcp.Socket{in(tcp.Established, 1), in(tcp.TimeWait, 2), in(tcp.SynReceived, 3), in(tcp.SynSent, 4)}
	half := in(tcp.FinWait2, 5)
	gone := half
	gone.ID.Cookie, gone.Peer, gone.Fields = 6, in(tcp.FinWait2, 6).Peer, 0
	sockets = append(sockets, half, gone)

	r := newRig(t, testConfig(), &refusing{}, &scripted{name: "a", sockets: sockets})
	r.scrapeOnce(t)
	assert.Equal(t, []string{"1 established", "4 syn_sent", "5 fin_wait_2"}, r.series("tcp.connection.age"))

	cfg := testConfig()
	cfg.Filter.States = []string{"time_wait", "established"}
	r = newRig(t, cfg, &refusing{}, &scripted{name: "a", sockets: sockets})
	r.scrapeOnce(t)
	assert.Equal(t, []string{"1 established", "2 time_wait"}, r.series("tcp.connection.age"))
}

// What happened since the last scrape is written at shutdown: a restart costs the
// time that it takes, and no more.
func TestOneLastCollection(t *testing.T) {
	src := &scripted{name: "a"}
	cfg := groupConfig("tcp.role")
	cfg.CollectionInterval = time.Hour
	cfg.System.Interval = 3 * time.Hour
	r := newRig(t, cfg, &refusing{}, src)
	require.NoError(t, r.Start(t.Context(), componenttest.NewNopHost()))
	require.Eventually(t, func() bool { points, _ := r.sums("system.network.tcp.connection.opens"); return points == 1 }, 5*time.Second, time.Millisecond)
	src.mu.Lock()
	src.sockets = []tcp.Socket{established(1, 700)}
	src.mu.Unlock()
	require.NoError(t, r.Shutdown(t.Context()))
	_, sent := r.sums("tcp.io")
	assert.Equal(t, 700.0, sent)
	_, opens := r.sums("tcp.opens")
	assert.Equal(t, 1.0, opens)
	points, _ := r.sums("system.network.tcp.connection.opens")
	assert.Equal(t, 2, points, "what was not due, too")
}

// A source that hangs does not hold the shutdown up for long, and less if there is
// no time.
func TestTheLastCollectionHasATimeLimit(t *testing.T) {
	src := &scripted{name: "a"}
	cfg := groupConfig("tcp.role")
	cfg.CollectionInterval = time.Hour
	r := newRig(t, cfg, &refusing{}, src)
	require.NoError(t, r.Start(t.Context(), componenttest.NewNopHost()))
	require.Eventually(t, func() bool { points, _ := r.sums("system.network.tcp.connection.opens"); return points == 1 }, 5*time.Second, time.Millisecond)
	src.mu.Lock()
	src.wait = true
	src.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	require.NoError(t, r.Shutdown(ctx))
	assert.Less(t, time.Since(began), time.Second)
}

// Beneath TCP: read only where something of it is enabled.
func TestBeneath(t *testing.T) {
	// A host that was just booted may have sent nothing.
	c, err := net.Dial("udp4", "127.0.0.1:9")
	require.NoError(t, err)
	_, err = c.Write([]byte{1})
	require.NoError(t, err)
	require.NoError(t, c.Close())
	for _, enabled := range []bool{false, true} {
		cfg := testConfig()
		cfg.Metrics.SystemNetworkIPPackets.Enabled = enabled
		r := newRig(t, cfg, &refusing{}, &scripted{name: "a"})
		r.scrapeOnce(t)
		points, sum := r.sums("system.network.ip.packets")
		if runtime.GOOS == "linux" || runtime.GOOS == "freebsd" {
			assert.Equal(t, enabled, points >= 2)
			assert.Equal(t, enabled, sum > 0)
		}
		points, _ = r.sums("system.network.udp.datagrams")
		assert.Zero(t, points, "off")
	}
}

// Series of connections with which nothing happened are written from memory, unless
// somebody wants numbers that only reading them gives.
func TestConnectionSeriesFromMemory(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"":                    func(*Config) {},
		"tcp.connection.time": func(cfg *Config) { cfg.Metrics.TCPConnectionTime.Enabled = true },
	} {
		t.Run(name, func(t *testing.T) {
			src := &incremental{telling: telling{scripted: scripted{name: "a", sockets: []tcp.Socket{established(1, 10), established(2, 10)}}}}
			cfg := testConfig()
			cfg.Groups.Enabled = true
			change(cfg)
			r := newRig(t, cfg, &refusing{}, src)
			for range 3 {
				r.sink.Reset()
				r.scrapeOnce(t)
				assert.Equal(t, []string{"1 established", "2 established"}, r.series("tcp.connection.age"))
				assert.Equal(t, []string{"1", "2"}, r.series("tcp.connection.rtt"))
			}
			want := [2]int{3, 0}
			if name == "" {
				want = [2]int{1, 2}
			}
			assert.Equal(t, want, [2]int{src.full, src.moved})
		})
	}
}
