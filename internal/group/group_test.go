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

	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/table"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func at(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }

func config(by ...Attribute) Config {
	return Config{By: by, Limit: 100, PeerPrefixIPv4: 32, PeerPrefixIPv6: 128, Expiry: time.Minute, Distributions: []Distribution{{
		Field: tcp.FieldSmoothedRTT, Bounds: []float64{0.001, 0.01},
		Value: func(c *table.Connection) float64 { return c.SmoothedRTT.Seconds() },
	}}}
}

func connection(local, peer string, change ...func(*table.Connection)) *table.Connection {
	c := &table.Connection{
		IsNew: true, State: tcp.Established, Local: netip.MustParseAddrPort(local), Peer: netip.MustParseAddrPort(peer),
	}
	for _, do := range change {
		do(c)
	}
	return c
}

func did(sent, received, retransmits uint64) table.Delta {
	return table.Delta{BytesSent: sent, BytesReceived: received, Retransmits: retransmits}
}

func only(t *testing.T, s *Set) *Group {
	t.Helper()
	all := slices.Collect(s.All())
	require.Len(t, all, 1)
	return all[0]
}

func TestCountersNeverFall(t *testing.T) {
	s := NewSet(config(Role), at(0))
	a, b := connection("192.0.2.1:443", "192.0.2.2:5"), connection("192.0.2.1:443", "192.0.2.2:6")
	a.Uncounted, b.Uncounted = did(100, 10, 1), did(200, 20, 2)
	s.Begin(at(10))
	s.Add(a)
	s.Add(b)
	g := only(t, s)
	assert.Equal(t, [5]uint64{300, 30, 3, 2, 0}, [5]uint64{g.BytesSent, g.BytesReceived, g.Retransmits, g.Opens, g.Closes})
	assert.Equal(t, int64(2), g.Live[tcp.Established])
	assert.Zero(t, a.Uncounted, "counted once")

	a.Uncounted = did(7, 0, 0) // seen by a dump after the last collection
	s.Close(a)
	s.Begin(at(20))
	s.Add(b)
	assert.Equal(t, [5]uint64{307, 30, 3, 2, 1}, [5]uint64{g.BytesSent, g.BytesReceived, g.Retransmits, g.Opens, g.Closes})
	assert.Equal(t, int64(1), g.Live[tcp.Established])
	assert.Equal(t, int64(2), g.Before[tcp.Established])
	assert.Equal(t, at(0), g.Start)
}

func TestWhatCountsAsOpened(t *testing.T) {
	s := NewSet(config(Role), at(0))
	old := connection("192.0.2.1:443", "192.0.2.2:5", func(c *table.Connection) { c.IsNew = false })
	failing := connection("192.0.2.1:9999", "192.0.2.2:6", func(c *table.Connection) { c.State = tcp.SynSent })
	slow := connection("192.0.2.1:9998", "192.0.2.2:7", func(c *table.Connection) { c.State = tcp.SynSent })
	brief := connection("192.0.2.1:9997", "192.0.2.2:8", func(c *table.Connection) { c.State = tcp.TimeWait })
	s.Begin(at(10))
	for _, c := range []*table.Connection{old, failing, slow, brief} {
		s.Add(c)
	}
	g := only(t, s)
	assert.Equal(t, uint64(1), g.Opens, "one was there before, two are not through the handshake")
	assert.Equal(t, uint64(1), g.Closes, "TIME_WAIT is after the end")
	slow.State = tcp.Established
	s.Begin(at(20))
	s.Add(slow)
	assert.Equal(t, uint64(2), g.Opens)
	for _, c := range []*table.Connection{old, failing, slow, brief} {
		s.Close(c)
	}
	assert.Equal(t, uint64(3), g.Closes, "a connection that was never established does not close")
}

func TestRoles(t *testing.T) {
	s := NewSet(config(Role, ServerAddress, ServerPort, ClientAddress), at(0))
	s.Listening(0, 443)
	s.Begin(at(10))
	s.Add(connection("192.0.2.1:443", "198.51.100.7:50000"))
	s.Add(connection("192.0.2.1:40000", "198.51.100.9:443"))
	s.Add(connection("192.0.2.1:8080", "198.51.100.7:50000", func(c *table.Connection) { c.State = tcp.SynReceived }))
	var got []Key
	for g := range s.All() {
		got = append(got, g.Key)
	}
	p := netip.MustParsePrefix
	assert.ElementsMatch(t, []Key{
		{Role: Server, ServerAddress: p("192.0.2.1/32"), ServerPort: 443, ClientAddress: p("198.51.100.7/32")},
		{Role: Client, ServerAddress: p("198.51.100.9/32"), ServerPort: 443, ClientAddress: p("192.0.2.1/32")},
		{Role: Server, ServerAddress: p("192.0.2.1/32"), ServerPort: 8080, ClientAddress: p("198.51.100.7/32")},
	}, got)

	// The listener may go; its connections stay where they are, and late ones
	// are still known as its.
	c := connection("192.0.2.1:443", "198.51.100.7:50001")
	s.Add(c)
	s.Begin(at(70))
	s.Add(c)
	assert.Equal(t, 3, s.Len())
	late := connection("192.0.2.1:443", "198.51.100.7:50002", func(c *table.Connection) { c.State = tcp.TimeWait })
	s.Add(late)
	assert.Equal(t, Server, s.groups[late.Group-1].Key.Role)
	s.Begin(at(200))
	s.Begin(at(300))
	s.Add(c)
	assert.Equal(t, Server, s.groups[c.Group-1].Key.Role, "once in a group, always in it")
	another := connection("192.0.2.1:443", "198.51.100.7:50003")
	s.Add(another)
	assert.Equal(t, Client, s.groups[another.Group-1].Key.Role)
}

// FreeBSD lists sockets in CLOSED: those whose connecting failed, and those whose
// connection was dropped under them.
func TestClosedIsNoConnection(t *testing.T) {
	s := NewSet(config(Role), at(0))
	refused := connection("192.0.2.1:5", "192.0.2.2:443", func(c *table.Connection) { c.State = tcp.SynSent })
	dropped := connection("192.0.2.1:6", "192.0.2.2:443")
	s.Begin(at(10))
	s.Add(refused)
	s.Add(dropped)
	assert.Equal(t, uint64(1), only(t, s).Opens)
	refused.State, dropped.State = tcp.Closed, tcp.Closed
	for second := 20; second <= 30; second += 10 {
		s.Begin(at(second))
		s.Add(refused)
		s.Add(dropped)
		assert.Equal(t, int64(2), only(t, s).Live[tcp.Closed])
		assert.Equal(t, uint64(1), only(t, s).Opens)
		assert.Equal(t, uint64(1), only(t, s).Closes, "its end, when it was dropped")
	}
	s.Close(refused)
	s.Close(dropped)
	assert.Equal(t, [2]uint64{1, 1}, [2]uint64{only(t, s).Opens, only(t, s).Closes})
}

func TestEveryAttribute(t *testing.T) {
	nginx := &process.Process{PID: 7, Executable: "nginx", Owner: "www", ContainerID: "abc"}
	c := connection("192.0.2.1:443", "198.51.100.7:50000", func(c *table.Connection) {
		c.Owner.Process, c.CongestionControl, c.ID.Namespace = nginx, "bbr", 77
		c.Stack = "rack"
	})
	p := netip.MustParsePrefix
	for a, want := range map[Attribute]Key{
		ProcessPID: {PID: 7}, ProcessExecutableName: {Executable: "nginx"}, ProcessOwner: {Owner: "www"}, ContainerID: {ContainerID: "abc"},
		Role: {Role: Client}, ServerAddress: {ServerAddress: p("198.51.100.0/24")}, ServerPort: {ServerPort: 50000}, ClientAddress: {ClientAddress: p("192.0.2.1/32")},
		PeerAddress: {PeerAddress: p("198.51.100.0/24")}, PeerPort: {PeerPort: 50000}, LocalAddress: {LocalAddress: p("192.0.2.1/32")}, LocalPort: {LocalPort: 443},
		NetworkType: {IPVersion: 4}, NetworkNamespace: {Namespace: 77}, CongestionControl: {CongestionControl: "bbr"}, TCPStack: {TCPStack: "rack"},
	} {
		t.Run(a.String(), func(t *testing.T) {
			cfg := config(a)
			cfg.PeerPrefixIPv4 = 24
			assert.Equal(t, want, NewSet(cfg, at(0)).keyOf(c, Client))
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
	v6 := connection("[fe80::1%eth0]:1", "[fe80::2:3%eth0]:2")
	assert.Equal(t, Key{PeerAddress: p("fe80::/48")}, NewSet(cfg, at(0)).keyOf(v6, Client))
}

func TestLimit(t *testing.T) {
	cfg := config(PeerPort)
	cfg.Limit = 3
	s := NewSet(cfg, at(0))
	s.Begin(at(10))
	var connections []*table.Connection
	for port := range 10 {
		c := connection("192.0.2.1:443", netip.AddrPortFrom(netip.MustParseAddr("192.0.2.2"), uint16(port+1)).String())
		c.Uncounted = did(1, 0, 0)
		connections = append(connections, c)
		s.Add(c)
	}
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
	s.Close(connections[0])
	s.Begin(at(100))
	for _, c := range connections[1:] {
		s.Add(c)
	}
	s.End()
	assert.Equal(t, 2, s.Len())
	late := connection("192.0.2.1:443", "192.0.2.2:999")
	s.Add(late)
	s.Add(connections[9])
	assert.Equal(t, 3, s.Len())
	assert.Equal(t, uint16(999), s.groups[late.Group-1].Key.PeerPort)
	assert.Equal(t, at(10), s.groups[late.Group-1].Start, "nothing of it is older than the last collection")
	assert.Equal(t, int32(overflow+1), connections[9].Group)
}

func TestExpiry(t *testing.T) {
	s := NewSet(config(Role), at(0))
	c := connection("192.0.2.1:443", "192.0.2.2:5")
	c.Uncounted = did(50, 0, 0)
	s.Begin(at(10))
	s.Add(c)
	s.End()
	s.Begin(at(200))
	s.End()
	assert.Equal(t, 1, s.Len(), "a connection that incomplete dumps leave out is still a member")
	s.Close(c)
	s.Begin(at(210))
	s.End()
	assert.Equal(t, uint64(1), only(t, s).Closes, "remembered for a while, so that the close is told")
	s.Begin(at(300))
	s.End()
	assert.Zero(t, s.Len())

	again := connection("192.0.2.1:443", "192.0.2.2:6")
	s.Begin(at(310))
	s.Add(again)
	g := only(t, s)
	assert.Zero(t, g.BytesSent)
	assert.Equal(t, at(300), g.Start)

	s.Forget() // another source: nobody is a member any more
	s.Begin(at(400))
	s.End()
	assert.Zero(t, s.Len())
}

func TestAConnectionWaitsForItsOwner(t *testing.T) {
	pending := func(c *table.Connection) { c.Reason, c.Uncounted = process.ReasonPending, did(5, 0, 0) }
	s := NewSet(config(ProcessExecutableName), at(0))
	a, b := connection("192.0.2.1:443", "192.0.2.2:5", pending), connection("192.0.2.1:443", "192.0.2.2:6", pending)
	s.Begin(at(10))
	s.Add(a)
	s.Add(b)
	assert.Zero(t, s.Len())
	a.Reason, a.Owner.Process, a.Uncounted = process.ReasonNone, &process.Process{Executable: "curl"}, did(9, 0, 0)
	s.Begin(at(20))
	s.Add(a)
	assert.Equal(t, "curl", only(t, s).Key.Executable)
	assert.Equal(t, uint64(9), only(t, s).BytesSent)
	s.Close(b) // it ended before its owner was found
	assert.Equal(t, 2, s.Len())

	s = NewSet(config(Role), at(0))
	s.Begin(at(10))
	s.Add(connection("192.0.2.1:443", "192.0.2.2:5", pending))
	assert.Equal(t, 1, s.Len(), "where the owner is no part of the key, nobody waits for it")
}

func TestExplicitHistogram(t *testing.T) {
	s := NewSet(config(Role), at(0))
	s.Begin(at(10))
	for _, rtt := range []time.Duration{500, 1000, 1001, 10_000, 50_000} {
		s.Add(connection("192.0.2.1:443", "192.0.2.2:5", func(c *table.Connection) {
			c.Fields, c.SmoothedRTT = c.Fields.With(tcp.FieldSmoothedRTT), rtt*time.Microsecond
		}))
	}
	s.Add(connection("192.0.2.1:443", "192.0.2.2:5")) // not measured
	h := only(t, s).Histograms[0]
	assert.Equal(t, []uint64{2, 2, 1}, h.Explicit, "a bound belongs to the bucket below it")
	assert.Equal(t, uint64(5), h.Count)
	assert.InDelta(t, 0.062501, h.Sum, 1e-12)
	assert.Equal(t, [2]float64{0.0005, 0.05}, [2]float64{h.Min, h.Max})
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
			s := NewSet(cfg, at(0))
			c := connection("192.0.2.1:443", "192.0.2.2:5", func(c *table.Connection) { c.Fields = c.Fields.With(tcp.FieldSmoothedRTT) })
			rtt := time.Microsecond
			assert.Zero(t, testing.AllocsPerRun(1000, func() {
				s.Begin(at(10))
				c.SmoothedRTT = rtt
				rtt += rtt / 10
				s.Add(c)
				s.End()
			}))
		})
	}
}

func BenchmarkAdd(b *testing.B) {
	s := NewSet(config(ProcessExecutableName, Role, ServerPort), at(0))
	c := connection("192.0.2.1:443", "192.0.2.2:5", func(c *table.Connection) {
		c.Fields, c.SmoothedRTT = c.Fields.With(tcp.FieldSmoothedRTT), 3*time.Millisecond
	})
	b.ReportAllocs()
	for b.Loop() {
		s.Add(c)
	}
}
