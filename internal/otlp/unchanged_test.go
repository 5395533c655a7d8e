// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/netpulse/tcpstatsreceiver/internal/engine"
	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/group"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/table"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// bothKernels runs a test with a source whose dumps have every connection, and with one
// whose dumps leave out those with which nothing happened.
func bothKernels(t *testing.T, test func(t *testing.T, rig func(func(*MetricsConfig), ...ConnectionsConfig) *stillRig)) {
	t.Run("all", func(t *testing.T) {
		test(t, func(change func(*MetricsConfig), all ...ConnectionsConfig) *stillRig {
			k := &kernel{}
			return newStillRig(t, k, k, change, all...)
		})
	})
	t.Run("moved", func(t *testing.T) {
		test(t, func(change func(*MetricsConfig), all ...ConnectionsConfig) *stillRig {
			k := &kernel{moved: make(map[uint64]bool)}
			return newStillRig(t, k, movingKernel{k}, change, all...)
		})
	})
}

// happens does something to a connection.
func (r *stillRig) happens(s *tcp.Socket, what func(*tcp.Socket)) {
	what(s)
	if r.moved != nil {
		r.moved[s.ID.Cookie] = true
	}
}

// ends takes a connection out of the kernel.
func (r *stillRig) ends(at int) {
	s := *r.sockets[at]
	r.sockets = append(r.sockets[:at:at], r.sockets[at+1:]...)
	if r.moved != nil {
		left := s.State
		s.State, s.Fields = tcp.Closed, 0
		r.notices = append(r.notices, tcp.Notice{Socket: s, Left: left, WithoutFINs: true})
	}
}

// A connection with which nothing happens is written once, whatever time passes, and
// its series live on until it ends. What happens to it is written at once.
func TestUnchangedRests(t *testing.T) {
	bothKernels(t, func(t *testing.T, rig func(func(*MetricsConfig), ...ConnectionsConfig) *stillRig) {
		for name, order := range map[string]func(*ConnectionsConfig){
			"no limit": func(*ConnectionsConfig) {},
			"limit":    func(c *ConnectionsConfig) { c.Limit = 100 },
		} {
			t.Run(name, func(t *testing.T) {
				r := rig(nil, every(never, order))
				b := r.backends[0]
				r.sockets = stills(3)
				r.scrape(0)
				assert.Equal(t, []int64{1, 2, 3}, b.peers())
				all := len(b.series)
				for range 3 {
					for _, s := range r.sockets {
						s.Age += time.Second
						s.SinceDataSent, s.SinceDataReceived, s.SinceACKReceived = s.SinceDataSent+1e9, s.SinceDataReceived+1e9, s.SinceACKReceived+1e9
					}
					assert.Empty(t, r.next())
					assert.Empty(t, b.ends)
				}
				for what, do := range map[string]func(*tcp.Socket){
					"bytes":           func(s *tcp.Socket) { s.BytesSent++ },
					"round-trip time": func(s *tcp.Socket) { s.SmoothedRTT-- },
					"a buffer":        func(s *tcp.Socket) { s.ReceiveBufferUsage = 5 },
					"time limited":    func(s *tcp.Socket) { s.BusyTime++ },
					"a value is lost": func(s *tcp.Socket) { s.Fields &^= 1 << tcp.FieldPacingRate },
				} {
					r.happens(r.sockets[1], do)
					assert.Equal(t, []int64{2}, r.next(), what)
					assert.Empty(t, r.next(), what)
				}
				assert.Len(t, b.series, all)

				r.happens(r.sockets[2], func(s *tcp.Socket) { s.State = tcp.CloseWait })
				assert.Equal(t, []int64{3}, r.next())
				assert.Equal(t, []string{"3"}, b.ended("tcp.connection.age"), "it has the state")
				assert.Empty(t, b.ended("tcp.connection.rtt"))
				assert.Empty(t, r.next())

				r.ends(0)
				assert.Empty(t, r.next())
				assert.Equal(t, []string{"1"}, b.ended("tcp.connection.rtt"))
				assert.Equal(t, []string{"1"}, b.ended("tcp.connection.age"))
				assert.Len(t, b.series, all*2/3)
				assert.Empty(t, r.next())
				assert.Empty(t, b.ends, "once")
				assert.Empty(t, b.unknown)
			})
		}
	})
}

// Another owner, and another peer where its attributes are written, are other series,
// at once.
func TestUnchangedOwnersAndPeers(t *testing.T) {
	bothKernels(t, func(t *testing.T, rig func(func(*MetricsConfig), ...ConnectionsConfig) *stillRig) {
		wanted := func(c *ConnectionsConfig) { c.PeerAttributes = []group.Attribute{group.ServiceName} }
		r := rig(nil, every(never, wanted))
		b := r.backends[0]
		r.sockets = stills(2)
		r.scrape(0)
		assert.Empty(t, r.next())
		all := len(b.series)
		meddle := func(do func(c *table.Connection)) []int64 {
			r.meddler.meddle = func(s *engine.Scrape) { do(s.Find(r.sockets[0].ID)) }
			written := r.next()
			r.meddler.meddle = nil
			return written
		}
		for _, p := range []*process.Process{nginx, {PID: 7}, {PID: 7}, nil} {
			assert.Equal(t, []int64{1}, meddle(func(c *table.Connection) { c.Owner.Process = p }))
			assert.Equal(t, []string{"1"}, b.ended("tcp.connection.rtt"))
			assert.Equal(t, []int64{1}, r.next(), "once more: what has ended may have had the same attributes")
			assert.Empty(t, b.ends)
			assert.Len(t, b.series, all)
			assert.Empty(t, r.next())
		}
		assert.Equal(t, []int64{1}, meddle(func(c *table.Connection) { c.PeerInfo = &event.Peer{Service: "web"} }))
		assert.Equal(t, []string{"1"}, b.ended("tcp.connection.rtt"))
		assert.Equal(t, []int64{1}, r.next())
		assert.Empty(t, meddle(func(c *table.Connection) { c.PeerInfo = &event.Peer{Service: "web", Name: "not written"} }))
		assert.Empty(t, b.unknown)
	})
}

// What the pipeline refuses was not written, whatever the reason was to write it, and
// whether or not the pipeline may take it later.
func TestUnchangedIsRefused(t *testing.T) {
	bothKernels(t, func(t *testing.T, rig func(func(*MetricsConfig), ...ConnectionsConfig) *stillRig) {
		for name, refusal := range map[string]error{"for now": errors.New("not now"), "for good": consumererror.NewPermanent(errors.New("no"))} {
			t.Run(name, func(t *testing.T) {
				// Slots 0 and 1 take turns at ticks 100 and 99.
				r := rig(nil, every(100, func(c *ConnectionsConfig) { c.BatchSize = 1 }))
				b := r.backends[0]
				r.sockets = stills(2)
				refusedAt := func(tick int64) {
					b.refuse = func(pmetric.Metrics) error { return refusal }
					r.scrape(tick)
					assert.Empty(t, b.written)
					b.refuse = nil
				}
				refusedAt(0)
				assert.Equal(t, []int64{1, 2}, r.next(), "new ones")
				assert.Empty(t, r.next())
				r.happens(r.sockets[1], func(s *tcp.Socket) { s.BytesSent++ })
				refusedAt(3)
				assert.Equal(t, []int64{2}, r.next(), "one that has changed")
				assert.Empty(t, r.next())
				refusedAt(99)
				assert.Equal(t, []int64{1, 2}, r.next(), "one that was due, and the other")
				assert.Empty(t, r.next())
				refusedAt(199)
				refusedAt(200)
				assert.Equal(t, []int64{1, 2}, r.next(), "both were due")
				assert.Empty(t, r.next())
				r.happens(r.sockets[0], func(s *tcp.Socket) { s.State = tcp.CloseWait })
				refusedAt(203)
				assert.Equal(t, []int64{1}, r.next(), "one in another state")
				assert.Empty(t, r.next())
				assert.Empty(t, b.unknown)
			})
		}
	})
}

// A dump that broke off says nothing of those it did not have. A source that is opened
// again shows the same connections.
func TestUnchangedInAnIncompleteScrape(t *testing.T) {
	k := &kernel{sockets: stills(4)}
	r := newStillRig(t, k, k, nil, every(never))
	b := r.backends[0]
	r.scrape(0)
	all := k.sockets
	for range 5 {
		k.sockets, k.result = all[:2], errors.New("broke off")
		assert.Empty(t, r.next())
		assert.Empty(t, b.ends)
	}
	assert.Greater(t, k.opened, 1, "it was opened again")
	all[0].BytesSent++
	k.sockets, k.result = all[:2], errors.New("broke off")
	assert.Equal(t, []int64{1}, r.next())
	k.sockets = all[:3]
	assert.Empty(t, r.next())
	assert.Equal(t, []string{"4"}, b.ended("tcp.connection.rtt"))
}

// A connection that falls out of the limit ends, and one that comes back is written
// though nothing has happened to it since.
func TestUnchangedBeyondTheLimit(t *testing.T) {
	bothKernels(t, func(t *testing.T, rig func(func(*MetricsConfig), ...ConnectionsConfig) *stillRig) {
		r := rig(nil, every(never, func(c *ConnectionsConfig) { c.Limit = 1 }))
		b := r.backends[0]
		r.sockets = stills(2)
		r.sockets[0].BytesSent += 10
		r.scrape(0)
		assert.Equal(t, []int64{1}, b.peers())
		assert.Empty(t, r.next())
		r.happens(r.sockets[1], func(s *tcp.Socket) { s.BytesSent += 5 })
		assert.Equal(t, []int64{2}, r.next())
		assert.Equal(t, []string{"1"}, b.ended("tcp.connection.rtt"))
		assert.Equal(t, []int64{1}, r.next(), "both rest now, and it has more in all")
		assert.Equal(t, []string{"2"}, b.ended("tcp.connection.rtt"))
		assert.Empty(t, r.next())
		assert.Empty(t, b.unknown)
	})
}

// Connections that rest are written once in the interval, and as many of them in each
// scrape: those that were all written at once, as in the first scrape and after a burst,
// are not all due at once. Ticks that are missed are made up for.
func TestUnchangedTakeTurns(t *testing.T) {
	const n, interval = 600, 6
	bothKernels(t, func(t *testing.T, rig func(func(*MetricsConfig), ...ConnectionsConfig) *stillRig) {
		r := rig(nil, every(interval))
		r.sockets = stills(n)
		r.scrape(0)
		last := make(map[int64]int64)
		turns := func(scrapes int) {
			for range scrapes {
				written := r.next()
				assert.Len(t, written, n/interval, "tick %d", r.tick)
				for _, port := range written {
					assert.LessOrEqual(t, r.tick-last[port], int64(interval), "%d", port)
					last[port] = r.tick
				}
				assert.Empty(t, r.backends[0].ends)
			}
		}
		turns(3 * interval)
		for _, s := range r.sockets {
			r.happens(s, func(s *tcp.Socket) { s.BytesSent++ })
		}
		assert.Len(t, r.next(), n)
		for port := range last {
			last[port] = r.tick
		}
		turns(3 * interval)

		r.tick += 2
		assert.Len(t, r.next(), 3*n/interval)
		r.tick += 2 * interval
		assert.Len(t, r.next(), n)
		clear(last)
		for _, s := range r.sockets {
			last[int64(s.Peer.Port())] = r.tick
		}
		turns(2 * interval)
		r.scrape(engine.FinalTick)
		assert.Zero(t, r.backends[0].points, "nothing has happened at the last tick either")
	})
}

// The interval is counted in ticks, of which connections::interval may skip some; one
// that is no multiple is cut.
func TestUnchangedCountsTicks(t *testing.T) {
	k := &kernel{sockets: stills(60)}
	r := newStillRig(t, k, k, nil, ConnectionsConfig{Every: 2, BatchSize: 50, Unchanged: 7}, ConnectionsConfig{Every: 2, BatchSize: 50, Unchanged: 2})
	for tick := range int64(20) {
		r.scrape(tick)
		switch {
		case tick%2 == 1:
			assert.Empty(t, r.backends[0].written)
		case tick > 0:
			assert.Len(t, r.backends[0].written, 20, "tick %d", tick)
			assert.Len(t, r.backends[1].written, 60, "no longer than between any two")
		}
	}
}

// A scrape in which all connections rest allocates nothing for each, and looks at no
// Details where the dump left them out.
func TestUnchangedCostsLittle(t *testing.T) {
	allocs := func(n int) float64 {
		k := &kernel{sockets: stills(n), moved: make(map[uint64]bool)}
		r := newStillRig(t, k, movingKernel{k}, nil, every(never))
		r.scrape(0)
		allocated := testing.AllocsPerRun(5, func() { r.scrape(r.tick + 1) })
		assert.Positive(t, k.partial)
		first := time.Now()
		r.scrape(r.tick + 1)
		r.meddler.meddle = func(s *engine.Scrape) {
			for _, socket := range k.sockets {
				if !assert.True(t, s.Find(socket.ID).At.Before(first)) {
					break
				}
			}
		}
		r.scrape(r.tick + 1)
		return allocated
	}
	assert.InDelta(t, allocs(10), allocs(2000), 20)
}
