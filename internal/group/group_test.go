// SPDX-License-Identifier: Apache-2.0

package group

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func at(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }

func config(by ...Attribute) Config {
	return Config{By: by, Limit: 100, PeerPrefixIPv4: 32, PeerPrefixIPv6: 128, Expiry: time.Minute, Distributions: []Distribution{{
		Needs: tcp.Fields(0).With(tcp.FieldSmoothedRTT), Bounds: []float64{0.001, 0.01},
		Value: func(c *event.Connection) float64 { return c.SmoothedRTT.Seconds() },
	}}}
}

// driver tells a set of connections, as a table does.
type driver struct {
	*Set
	slot uint32
}

func newDriver(cfg Config) *driver { return &driver{Set: NewSet(cfg, at(0))} }

// conn is a connection, and the state that was reported last.
type conn struct {
	event.Connection
	told  tcp.State
	begun bool
}

func connection(local, peer string, change ...func(*event.Connection)) *conn {
	c := &conn{told: event.NoState, Connection: event.Connection{
		IsNew: true, State: tcp.Established, Role: tcp.Client, Traits: &event.Traits{},
		Local: netip.MustParseAddrPort(local), Peer: netip.MustParseAddrPort(peer),
	}}
	for _, do := range change {
		do(&c.Connection)
	}
	return c
}

func did(sent, received, retransmits uint64) event.Delta {
	return event.Delta{BytesSent: sent, BytesReceived: received, Retransmits: retransmits}
}

// see reports a connection in its state.
func (d *driver) see(c *conn, delta ...event.Delta) {
	if !c.begun {
		c.Slot = d.slot
		d.slot++
	}
	d.report(c, c.State, false, delta...)
}

func (d *driver) report(c *conn, is tcp.State, gone bool, delta ...event.Delta) {
	p := event.Progress{Connection: &c.Connection, Was: c.told, Is: is, First: !c.begun, Gone: gone}
	for _, d := range delta {
		p.Delta.Add(d)
	}
	c.told, c.begun = is, true
	d.Progress(&p)
}

func (d *driver) open(c *conn, delta ...event.Delta) {
	d.see(c, delta...)
	d.Opened(&event.Opened{Connection: &c.Connection})
}

func (d *driver) end(c *conn, delta ...event.Delta) {
	d.report(c, event.NoState, false, delta...)
	d.Ended(&event.Ended{Connection: &c.Connection, Established: true})
	d.report(c, event.NoState, true)
}

func (d *driver) collect(seconds int) {
	d.Collect(at(seconds))
	d.End(true)
}

func only(t *testing.T, d *driver) *Group {
	t.Helper()
	all := slices.Collect(d.All())
	require.Len(t, all, 1)
	return all[0]
}

func counters(g *Group) [5]uint64 {
	return [5]uint64{g.BytesSent, g.BytesReceived, g.Retransmits, g.Opens, g.Closes}
}

func TestCountersNeverFall(t *testing.T) {
	s := newDriver(config(Role))
	a, b := connection("192.0.2.1:443", "192.0.2.2:5"), connection("192.0.2.1:443", "192.0.2.2:6")
	s.open(a, did(100, 10, 1))
	s.open(b, did(200, 20, 2))
	s.Collect(at(10))
	g := only(t, s)
	assert.Equal(t, [5]uint64{300, 30, 3, 2, 0}, counters(g))
	assert.Equal(t, int64(2), g.Live[tcp.Established])
	s.End(true)

	s.end(a, did(7, 0, 0))
	s.Collect(at(20))
	assert.Equal(t, [5]uint64{307, 30, 3, 2, 1}, counters(g))
	assert.Equal(t, int64(1), g.Live[tcp.Established])
	assert.Equal(t, int64(2), g.Before[tcp.Established])
	assert.Equal(t, at(0), g.Start)
	s.End(false)
	assert.Equal(t, int64(2), g.Before[tcp.Established], "what is live was not written")
}

func TestStates(t *testing.T) {
	s := newDriver(config(Role))
	c := connection("192.0.2.1:443", "192.0.2.2:5", func(c *event.Connection) { c.State = tcp.SynSent })
	s.see(c)
	g := only(t, s)
	assert.Equal(t, int64(1), g.Live[tcp.SynSent])
	assert.Zero(t, g.Opens)
	c.State = tcp.Established
	s.open(c)
	assert.Equal(t, tcp.States{tcp.Established: 1}, g.Live)
	s.report(c, event.NoState, false)
	s.Ended(&event.Ended{Connection: &c.Connection, Established: true})
	assert.Equal(t, tcp.States{}, g.Live)
	s.report(c, tcp.TimeWait, false) // what is left of it
	assert.Equal(t, tcp.States{tcp.TimeWait: 1}, g.Live)
	s.report(c, event.NoState, true)
	assert.Equal(t, tcp.States{}, g.Live)
	assert.Equal(t, [5]uint64{0, 0, 0, 1, 1}, counters(g))
	assert.Zero(t, g.members)

	failing := connection("192.0.2.1:444", "192.0.2.2:5", func(c *event.Connection) { c.State = tcp.SynSent })
	s.see(failing)
	s.Ended(&event.Ended{Connection: &failing.Connection, Failure: tcp.Refused})
	assert.Equal(t, [5]uint64{0, 0, 0, 1, 1}, counters(g), "an attempt was no connection")
}

func TestRoles(t *testing.T) {
	s := newDriver(config(Role, ServerAddress, ServerPort, ClientAddress))
	server := func(c *event.Connection) { c.Role = tcp.Server }
	s.open(connection("192.0.2.1:443", "198.51.100.7:50000", server))
	s.open(connection("192.0.2.1:40000", "198.51.100.9:443"))
	var got []Key
	for g := range s.All() {
		got = append(got, g.Key)
	}
	p := netip.MustParsePrefix
	assert.ElementsMatch(t, []Key{
		{Role: tcp.Server, ServerAddress: p("192.0.2.1/32"), ServerPort: 443, ClientAddress: p("198.51.100.7/32")},
		{Role: tcp.Client, ServerAddress: p("198.51.100.9/32"), ServerPort: 443, ClientAddress: p("192.0.2.1/32")},
	}, got)
}

func TestEveryAttribute(t *testing.T) {
	nginx := &process.Process{PID: 7, Executable: "nginx", Owner: "www", ContainerID: "abc"}
	c := connection("192.0.2.1:443", "198.51.100.7:50000", func(c *event.Connection) {
		c.Process, c.Traits, c.ID.Namespace = nginx, &event.Traits{CongestionControl: "bbr", Stack: "rack"}, 77
	})
	keyOf := func(cfg Config, c *conn) Key {
		s := newDriver(cfg)
		s.open(c)
		return only(t, s).Key
	}
	p := netip.MustParsePrefix
	for a, want := range map[Attribute]struct {
		key   Key
		value Value
	}{
		ProcessPID:            {Key{PID: 7}, Value{Number: 7}},
		ProcessExecutableName: {Key{Executable: "nginx"}, Value{Text: "nginx"}},
		ProcessOwner:          {Key{Owner: "www"}, Value{Text: "www"}},
		ContainerID:           {Key{ContainerID: "abc"}, Value{Text: "abc"}},
		Role:                  {Key{Role: tcp.Client}, Value{Text: "client"}},
		ServerAddress:         {Key{ServerAddress: p("198.51.100.0/24")}, Value{Text: "198.51.100.0/24"}},
		ServerPort:            {Key{ServerPort: 50000}, Value{Number: 50000}},
		ClientAddress:         {Key{ClientAddress: p("192.0.2.1/32")}, Value{Text: "192.0.2.1"}},
		PeerAddress:           {Key{PeerAddress: p("198.51.100.0/24")}, Value{Text: "198.51.100.0/24"}},
		PeerPort:              {Key{PeerPort: 50000}, Value{Number: 50000}},
		LocalAddress:          {Key{LocalAddress: p("192.0.2.1/32")}, Value{Text: "192.0.2.1"}},
		LocalPort:             {Key{LocalPort: 443}, Value{Number: 443}},
		NetworkType:           {Key{IPVersion: 4}, Value{Text: "ipv4"}},
		NetworkNamespace:      {Key{Namespace: 77}, Value{Number: 77}},
		CongestionControl:     {Key{CongestionControl: "bbr"}, Value{Text: "bbr"}},
		TCPStack:              {Key{TCPStack: "rack"}, Value{Text: "rack"}},
	} {
		t.Run(a.String(), func(t *testing.T) {
			cfg := config(a)
			cfg.PeerPrefixIPv4 = 24
			c.begun = false
			key := keyOf(cfg, c)
			assert.Equal(t, want.key, key)
			assert.Equal(t, want.value, a.Of(&key))
			parsed, err := ParseAttribute(a.String())
			require.NoError(t, err)
			assert.Equal(t, a, parsed)
		})
	}
	assert.Equal(t, "attribute(99)", Attribute(99).String())
	_, err := ParseAttribute("network.connection.state")
	assert.ErrorContains(t, err, `got "network.connection.state", takes one of process.pid,`)

	cfg := config(PeerAddress)
	cfg.PeerPrefixIPv6 = 48
	assert.Equal(t, Key{PeerAddress: p("fe80::/48")}, keyOf(cfg, connection("[fe80::1%eth0]:1", "[fe80::2:3%eth0]:2")))

	// What is not known has no value.
	for a := range numAttributes {
		assert.Zero(t, a.Of(&Key{}), a.String())
	}
}

func TestLimit(t *testing.T) {
	cfg := config(PeerPort)
	cfg.Limit = 3
	s := newDriver(cfg)
	var connections []*conn
	for port := range 10 {
		c := connection("192.0.2.1:443", netip.AddrPortFrom(netip.MustParseAddr("192.0.2.2"), uint16(port+1)).String())
		connections = append(connections, c)
		s.open(c, did(1, 0, 0))
	}
	s.collect(10)
	all := slices.Collect(s.All())
	require.Len(t, all, 4)
	assert.True(t, all[3].Overflow)
	assert.Equal(t, uint64(7), all[3].Opens)
	assert.Equal(t, int64(7), s.Overflowed())
	assert.Equal(t, 3, s.Len())
	var sent uint64
	for _, g := range all {
		sent += g.BytesSent
	}
	assert.Equal(t, uint64(10), sent, "nothing is lost")

	// A group that expires makes place; who is in the overflow group stays there.
	s.end(connections[0])
	s.collect(100)
	assert.Equal(t, 3, s.Len(), "its close is to be written first")
	s.collect(110)
	assert.Equal(t, 2, s.Len())
	late := connection("192.0.2.1:443", "192.0.2.2:999")
	s.open(late)
	s.see(connections[9], did(1, 0, 0))
	assert.Equal(t, 3, s.Len())
	g := s.groupOf(&late.Connection)
	assert.Equal(t, uint16(999), g.Key.PeerPort)
	assert.Equal(t, at(110), g.Start, "the last point of a group that had the place before is not younger")
	assert.True(t, s.groupOf(&connections[9].Connection).Overflow)
}

// A group that was forgotten and comes back counts from 0, with a start that is
// not before its last point.
func TestExpiry(t *testing.T) {
	s := newDriver(config(Role))
	c := connection("192.0.2.1:443", "192.0.2.2:5")
	s.open(c, did(50, 0, 0))
	s.collect(10)
	s.collect(200)
	assert.Equal(t, 1, s.Len(), "a connection that does nothing is still a member")
	s.end(c)
	s.collect(210)
	assert.Equal(t, uint64(1), only(t, s).Closes, "remembered for a while, so that the close is written")
	s.collect(300)
	assert.Zero(t, s.Len())

	// Between two collections, as a notice brings it.
	s.open(connection("192.0.2.1:443", "192.0.2.2:6"))
	g := only(t, s)
	assert.Zero(t, g.BytesSent)
	assert.Equal(t, at(300), g.Start)
}

// A group's last collection says so, and only after one that had all it counted.
func TestEnding(t *testing.T) {
	cfg := config(Role)
	cfg.Expiry = 5 * time.Second // less than between two collections
	s := newDriver(cfg)
	c := connection("192.0.2.1:443", "192.0.2.2:5")
	s.open(c, did(50, 0, 0))
	s.end(c)
	s.Collect(at(10))
	assert.Equal(t, at(0), s.Before())
	g := only(t, s)
	assert.False(t, g.Ending)
	assert.Equal(t, [5]uint64{50, 0, 0, 1, 1}, counters(g))
	s.End(true)
	s.Collect(at(20))
	assert.Equal(t, at(10), s.Before())
	assert.True(t, only(t, s).Ending)
	s.End(true)
	assert.Zero(t, s.Len())
}

func TestFailuresAndAborts(t *testing.T) {
	s := newDriver(config(Role))
	end := func(e event.Ended) {
		c := connection("192.0.2.1:443", "192.0.2.2:5")
		s.see(c)
		e.Connection = &c.Connection
		s.Ended(&e)
	}
	end(event.Ended{Failure: tcp.Refused})
	end(event.Ended{Failure: tcp.Refused, Last: &tcp.Notice{}})
	end(event.Ended{Last: &tcp.Notice{}}) // the source does not say why
	end(event.Ended{})                    // nobody knows that it failed
	for cause := range tcp.NumCauses {
		end(event.Ended{Established: true, Cause: cause})
	}
	g := only(t, s)
	assert.Equal(t, [tcp.NumFailures]uint64{tcp.Refused: 2, tcp.OtherFailure: 1}, g.Failures)
	assert.Equal(t, [tcp.NumCauses]uint64{tcp.LocalReset: 1, tcp.PeerReset: 1, tcp.TimeoutCause: 1, tcp.Aborted: 1}, g.Aborts,
		"in order is no abort, and neither is what nobody knows")
	assert.Equal(t, uint64(tcp.NumCauses), g.Closes)
}

func TestGrowthIsAddedUp(t *testing.T) {
	s := newDriver(config(Role))
	c := connection("192.0.2.1:443", "192.0.2.2:5")
	s.open(c)
	for range 2 {
		s.Progress(&event.Progress{Connection: &c.Connection, Was: tcp.Established, Is: tcp.Established, Growth: &event.Growth{event.SegmentsSent: 1 << 31}})
	}
	assert.Equal(t, [event.NumKinds]uint64{event.SegmentsSent: 1 << 32}, only(t, s).Growth)
	assert.Zero(t, only(t, s).Histograms[0].Count, "no bytes were exchanged")
}

// What is known only at the end is sampled there, once.
func TestDistributionsAtTheEnd(t *testing.T) {
	cfg := config(Role)
	cfg.Distributions = append(cfg.Distributions, Distribution{
		Bounds: []float64{1, 10}, AtEnd: func(e *event.Ended) (float64, bool) { return e.Handshake.Seconds(), e.Handshake > 0 },
	})
	s := newDriver(cfg)
	for _, handshake := range []time.Duration{0, 2 * time.Second} {
		c := connection("192.0.2.1:443", "192.0.2.2:5")
		s.open(c, did(1, 0, 0))
		s.report(c, event.NoState, false)
		s.Ended(&event.Ended{Connection: &c.Connection, Established: true, Handshake: handshake})
	}
	s.Ended(&event.Ended{Connection: &connection("192.0.2.1:443", "192.0.2.2:5").Connection, Handshake: time.Second}) // not established
	assert.Equal(t, []uint64{0, 1, 0}, only(t, s).Histograms[1].Explicit)
}

// Filling up again after all groups have expired takes no longer than the first
// time: a place is found without a search.
func TestRefillAfterExpiry(t *testing.T) {
	const n = 20_000
	cfg := config(PeerPort, LocalPort)
	cfg.Limit = n
	s := newDriver(cfg)
	fill := func() (all []*conn) {
		for i := range n {
			local := netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), uint16(i/100+1))
			peer := netip.AddrPortFrom(netip.MustParseAddr("192.0.2.2"), uint16(i%100+1))
			c := connection(local.String(), peer.String())
			all = append(all, c)
			s.open(c)
		}
		return all
	}
	for _, c := range fill() {
		s.end(c)
	}
	s.collect(10)
	s.collect(100)
	require.Zero(t, s.Len())
	assert.Len(t, s.vacant, n)
	fill()
	assert.Equal(t, n, s.Len())
	assert.Empty(t, s.vacant)
	assert.Len(t, s.groups, n+1, "every place is used again")
}

func TestExplicitHistogram(t *testing.T) {
	s := newDriver(config(Role))
	for _, rtt := range []time.Duration{500, 1000, 1001, 10_000, 50_000} {
		s.open(connection("192.0.2.1:443", "192.0.2.2:5", func(c *event.Connection) {
			c.Fields, c.SmoothedRTT = c.Fields.With(tcp.FieldSmoothedRTT), rtt*time.Microsecond
		}))
	}
	s.open(connection("192.0.2.1:443", "192.0.2.2:5")) // not measured
	h := only(t, s).Histograms[0]
	assert.Equal(t, []uint64{2, 2, 1}, h.Explicit, "a bound belongs to the bucket below it")
	assert.Equal(t, uint64(5), h.Count)
	assert.InDelta(t, 0.062501, h.Sum, 1e-12)
	assert.Equal(t, [2]float64{0.0005, 0.05}, [2]float64{h.Min, h.Max})
}

// A connection is sampled when it is first seen, and when it exchanged bytes, its
// end included; idle ones do not outvote it.
func TestWhatIsSampled(t *testing.T) {
	s := newDriver(config(Role))
	c := connection("192.0.2.1:443", "192.0.2.2:5", func(c *event.Connection) {
		c.Fields, c.SmoothedRTT = c.Fields.With(tcp.FieldSmoothedRTT), time.Millisecond
	})
	count := func() uint64 { return only(t, s).Histograms[0].Count }
	s.open(c)
	assert.Equal(t, uint64(1), count())
	c.State = tcp.CloseWait
	s.see(c)
	assert.Equal(t, uint64(1), count(), "nothing was exchanged")
	s.see(c, did(1, 0, 0))
	assert.Equal(t, uint64(2), count())
	s.end(c, did(0, 5, 0))
	assert.Equal(t, uint64(3), count())
}

// One that was seen before it had a round trip is sampled once it has one, and one
// that no scrape saw at its end.
func TestEveryConnectionIsSampled(t *testing.T) {
	measured := func(c *event.Connection) {
		c.Fields, c.SmoothedRTT = c.Fields.With(tcp.FieldSmoothedRTT), time.Millisecond
	}
	s := newDriver(config(Role))
	c := connection("192.0.2.1:443", "192.0.2.2:5", func(c *event.Connection) { c.State = tcp.SynSent })
	s.see(c)
	measured(&c.Connection)
	c.State = tcp.Established
	s.open(c)
	s.end(c)
	assert.Equal(t, uint64(1), only(t, s).Histograms[0].Count)

	unseen := connection("192.0.2.1:443", "192.0.2.2:6", measured)
	s.report(unseen, event.NoState, false)
	s.Ended(&event.Ended{Connection: &unseen.Connection, Established: true})
	s.report(unseen, event.NoState, true)
	assert.Equal(t, uint64(2), only(t, s).Histograms[0].Count)
}

// Each value must be in the bucket that OTLP's definition says, whatever came
// before it.
func TestExponentialHistogram(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for name, value := range map[string]func() float64{
		"narrow":        func() float64 { return 0.010 + 0.0001*random.Float64() },
		"round trips":   func() float64 { return math.Exp(random.NormFloat64()*2 - 7) },
		"all floats":    func() float64 { return math.Ldexp(random.Float64()+0.5, random.IntN(2000)-1000) },
		"powers of two": func() float64 { return math.Ldexp(1, random.IntN(40)-20) },
		"one value":     func() float64 { return 0.125 },
	} {
		t.Run(name, func(t *testing.T) {
			h := Histogram{Exponential: newExponential()}
			var values []float64
			for range 2000 {
				v := value()
				values = append(values, v)
				h.add(v, nil)
			}
			h.add(0, nil)
			e := h.Exponential
			assert.Equal(t, uint64(1), e.Zero)
			require.LessOrEqual(t, len(e.Counts), maxBuckets)
			want := make(map[int32]uint64)
			for _, v := range values {
				// log2(v) × 2^scale, rounded up, less 1; near a bound either side
				// is as good as the logarithm.
				want[int32(math.Ceil(math.Log2(v)*math.Exp2(float64(e.Scale))))-1]++
			}
			var total, strayed uint64
			for i, n := range e.Counts {
				total += n
				if d := int64(n) - int64(want[e.Offset+int32(i)]); d != 0 {
					strayed += uint64(max(d, -d))
				}
			}
			assert.Equal(t, uint64(len(values)), total)
			if name == "powers of two" || name == "one value" {
				assert.Zero(t, strayed)
			}
			assert.LessOrEqual(t, strayed, uint64(len(values)/100))
		})
	}
}

func TestSamplesAllocateNothing(t *testing.T) {
	for name, bounds := range map[string][]float64{"explicit": {0.001, 0.01}, "exponential": nil} {
		t.Run(name, func(t *testing.T) {
			cfg := config(ProcessExecutableName, Role, ServerPort)
			cfg.Distributions[0].Bounds = bounds
			s := newDriver(cfg)
			c := connection("192.0.2.1:443", "192.0.2.2:5", func(c *event.Connection) { c.Fields = c.Fields.With(tcp.FieldSmoothedRTT) })
			rtt := time.Microsecond
			p := event.Progress{Connection: &c.Connection, Was: tcp.Established, Is: tcp.Established, Delta: did(1, 1, 0)}
			assert.Zero(t, testing.AllocsPerRun(1000, func() {
				c.SmoothedRTT = rtt
				rtt += rtt / 10
				s.Progress(&p)
				s.collect(10)
			}))
		})
	}
}

func BenchmarkProgress(b *testing.B) {
	s := newDriver(config(ProcessExecutableName, Role, ServerPort))
	c := connection("192.0.2.1:443", "192.0.2.2:5", func(c *event.Connection) {
		c.Fields, c.SmoothedRTT = c.Fields.With(tcp.FieldSmoothedRTT), 3*time.Millisecond
	})
	p := event.Progress{Connection: &c.Connection, Was: tcp.Established, Is: tcp.Established, Delta: did(1, 1, 0)}
	b.ReportAllocs()
	for b.Loop() {
		s.Progress(&p)
	}
}

// A host's first scrape meets all its connections: what each of them takes there is
// what the process takes at its worst.
func TestNewConnectionsOfAGroupAllocateNothing(t *testing.T) {
	s := newDriver(config(ProcessExecutableName, Role, ServerPort))
	c := connection("192.0.2.1:443", "192.0.2.2:5")
	first := event.Progress{Connection: &c.Connection, Was: event.NoState, Is: tcp.Established, First: true}
	gone := event.Progress{Connection: &c.Connection, Was: tcp.Established, Is: event.NoState, Gone: true}
	s.Progress(&first)
	s.Progress(&gone)
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		s.Progress(&first)
		s.Progress(&gone)
	}))
}
