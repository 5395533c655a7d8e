// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/group"
	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

var bounds = []float64{0.001, 0.01, 0.1}

// newSet returns a set whose collection at now is under way.
func newSet(w *Writer, by []group.Attribute, limit int, bounds []float64) *group.Set {
	s := group.NewSet(group.Config{
		By: by, Limit: limit, PeerPrefixIPv4: 24, PeerPrefixIPv6: 48, Expiry: time.Minute,
		Distributions: w.Group(by, bounds),
	}, began)
	return s
}

// grouping is a connection and what it did.
type grouping struct {
	event.Connection
	delta event.Delta
	ends  bool // after a while, and so does an attempt
}

// add reports connections to a set.
func add(s *group.Set, all ...*grouping) {
	for i, g := range all {
		g.Slot = uint32(i)
		var growth event.Growth
		for k := range growth {
			growth[k] = uint32(100 + k)
		}
		s.Progress(&event.Progress{Connection: &g.Connection, Was: event.NoState, Is: g.State, First: true, Delta: g.delta, Growth: &growth})
		if g.IsNew {
			s.Opened(&event.Opened{Connection: &g.Connection})
		}
		if g.ends {
			s.Ended(&event.Ended{
				Connection: &g.Connection, Established: true, Cause: tcp.PeerReset,
				Handshake: 30 * time.Millisecond, Start: began, At: began.Add(3 * time.Second),
			})
			s.Ended(&event.Ended{Connection: &g.Connection, Failure: tcp.Refused})
		}
	}
}

// grouped returns what is written of the connections.
func grouped(t *testing.T, w *Writer, by []group.Attribute, connections ...*grouping) pmetric.Metrics {
	t.Helper()
	s := newSet(w, by, 100, bounds)
	add(s, connections...)
	s.Collect(now)
	all := pmetric.NewMetrics()
	for _, md := range w.Groups(s, true, now) {
		md.ResourceMetrics().MoveAndAppendTo(all.ResourceMetrics())
	}
	return all
}

func fresh(port uint16, sent uint64) *grouping {
	s := full()
	s.Peer = netip.AddrPortFrom(s.Peer.Addr(), port)
	g := &grouping{Connection: connection(s, nginx).Connection, delta: event.Delta{BytesSent: sent, BytesReceived: 2 * sent, Retransmits: 3}}
	g.IsNew, g.Process, g.Role = true, nginx, tcp.Client
	return g
}

func owned(g *grouping, p *process.Process) *grouping {
	g.Process = p
	return g
}

func TestGoldenGroups(t *testing.T) {
	every := []group.Attribute{
		group.ProcessPID, group.ProcessExecutableName, group.ProcessOwner, group.ContainerID, group.Role, group.ServerAddress, group.ServerPort,
		group.ClientAddress, group.PeerAddress, group.PeerPort, group.LocalAddress, group.LocalPort, group.NetworkType, group.CongestionControl, group.NetworkNamespace,
	}
	for name, bounds := range map[string][]float64{"explicit": bounds, "exponential": nil} {
		t.Run(name, func(t *testing.T) {
			w := newWriter(everything())
			s := newSet(w, every, 2, bounds)
			var all []*grouping
			for i := range 3 {
				c := fresh(uint16(50_000+i), 1000)
				c.Role, c.Traits, c.ends = tcp.Server, &event.Traits{CongestionControl: "cubic"}, i == 0
				all = append(all, c)
			}
			orphan := fresh(443, 0)
			orphan.Local, orphan.Peer = netip.MustParseAddrPort("[2001:db8::1]:5"), netip.MustParseAddrPort("[2001:db8:1:2::3]:443")
			orphan.State, orphan.Fields, orphan.Process, orphan.IsNew, orphan.delta = tcp.TimeWait, 0, nil, false, event.Delta{}
			add(s, append(all, orphan)...)
			s.Collect(now)
			batches := w.Groups(s, true, now)
			require.Len(t, batches, 1)
			golden(t, batches[0])
		})
	}
}

// What no source tells of any connection of a group is absent, not 0.
func TestGroupsOfASourceThatKnowsLittle(t *testing.T) {
	w := newWriter(metadata.NewDefaultMetricsBuilderConfig())
	c := fresh(1, 0)
	c.delta = event.Delta{Retransmits: 3}
	c.Fields = tcp.Fields(0).With(tcp.FieldRetransmits)
	got := names(grouped(t, w, []group.Attribute{group.Role}, c))
	// Where there were some, with the point at which there were none.
	assert.Equal(t, map[string]int{"tcp.count": 1, "tcp.retransmits": 2, "tcp.opens": 2, "tcp.closes": 1}, got)
}

func TestGroupsThatAreGoneSaySoOnce(t *testing.T) {
	w := newWriter(metadata.NewDefaultMetricsBuilderConfig())
	s := newSet(w, []group.Attribute{group.Role}, 10, bounds)
	c := fresh(1, 10)
	add(s, c)
	live := func(complete bool) (values []int64) {
		s.Collect(now)
		for _, md := range w.Groups(s, complete, now) {
			for _, m := range md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().All() {
				assert.True(t, complete || m.Type() == pmetric.MetricTypeSum && m.Sum().IsMonotonic(), "%s is of what is live", m.Name())
				if m.Name() == "tcp.count" {
					for _, dp := range m.Sum().DataPoints().All() {
						values = append(values, dp.IntValue())
					}
				}
			}
		}
		s.End(complete)
		return values
	}
	assert.Equal(t, []int64{1}, live(true))
	s.Progress(&event.Progress{Connection: &c.Connection, Was: c.State, Is: event.NoState, Gone: true})
	assert.Empty(t, live(false), "what is not complete does not say what is live")
	assert.Equal(t, []int64{0}, live(true))
	assert.Empty(t, live(true))
}

// A series begins with 0 at the collection before, when there was nothing; one that
// comes late, too; and all end with the group, the states included.
func TestBirthAndDeathOfGroups(t *testing.T) {
	w := newWriter(metadata.NewDefaultMetricsBuilderConfig())
	s := newSet(w, []group.Attribute{group.Role}, 10, bounds)
	collect := func(seconds int, live bool) pmetric.Metrics {
		at := began.Add(time.Duration(seconds) * time.Second)
		s.Collect(at)
		batches := w.Groups(s, live, at)
		s.End(live)
		if len(batches) == 0 {
			return pmetric.NewMetrics()
		}
		return batches[0]
	}
	assert.Zero(t, collect(10, true).DataPointCount())
	c := fresh(1, 500)
	add(s, c)
	md := collect(20, true)
	assert.Equal(t, []string{"10.001: 0", "20.000: 1"}, numbersOf(md, "tcp.opens"))
	assert.Equal(t, []string{"20.000: 0"}, numbersOf(md, "tcp.closes"))
	assert.Equal(t, []string{"10.001: 0", "20.000: 500", "10.001: 0", "20.000: 1000"}, numbersOf(md, "tcp.io"))
	assert.Equal(t, []string{"10.001: 0", "20.000: 0.1", "10.001: 0", "20.000: 0.101", "10.001: 0", "20.000: 0.102"}, numbersOf(md, "tcp.time"))
	assert.Empty(t, numbersOf(md, "tcp.aborts"))
	assert.Equal(t, []string{"20.000: 1"}, numbersOf(md, "tcp.count"))
	assert.Equal(t, 2, names(md)["tcp.rtt"])

	s.Ended(&event.Ended{Connection: &c.Connection, Established: true, Cause: tcp.PeerReset, Handshake: time.Millisecond})
	s.Progress(&event.Progress{Connection: &c.Connection, Was: c.State, Is: event.NoState, Gone: true})
	md = collect(30, true)
	assert.Equal(t, []string{"30.000: 1"}, numbersOf(md, "tcp.opens"))
	assert.Equal(t, []string{"20.001: 0", "30.000: 1"}, numbersOf(md, "tcp.aborts"))
	assert.Equal(t, []string{"30.000: 0"}, numbersOf(md, "tcp.count"))
	assert.Equal(t, 2, names(md)["tcp.handshake.duration"])
	assert.Equal(t, 1, names(md)["tcp.rtt"])

	// Whether the last scrape was complete does not matter to what is gone.
	md = collect(200, false)
	for name, n := range map[string]int{"tcp.opens": 1, "tcp.closes": 1, "tcp.io": 2, "tcp.aborts": 1, "tcp.count": 1, "tcp.time": 3} {
		want := make([]string, n)
		for i := range want {
			want[i] = "200.000: ended"
		}
		assert.Equal(t, want, numbersOf(md, name), name)
	}
	assert.Equal(t, 1, names(md)["tcp.rtt"])
	assert.Equal(t, 1, names(md)["tcp.handshake.duration"])
	for _, m := range md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().All() {
		if m.Type() == pmetric.MetricTypeHistogram {
			assert.True(t, m.Histogram().DataPoints().At(0).Flags().NoRecordedValue(), m.Name())
		}
	}
	assert.Zero(t, collect(210, true).DataPointCount(), "once")

	// It comes back younger than it ended.
	again := fresh(2, 7)
	add(s, again)
	assert.Equal(t, []string{"210.001: 0", "220.000: 1"}, numbersOf(collect(220, true), "tcp.opens"))
}

func TestGroupsInBatches(t *testing.T) {
	w := newWriter(metadata.NewDefaultMetricsBuilderConfig())
	s := newSet(w, []group.Attribute{group.PeerPort}, 10_000, bounds)
	var all []*grouping
	for i := range 2*groupBatch + 1 {
		all = append(all, fresh(uint16(i+1), 10))
	}
	add(s, all...)
	points := 0
	batches := w.Groups(s, true, now)
	for _, md := range batches {
		points += names(md)["tcp.rtt"]
	}
	assert.Len(t, batches, 3)
	assert.Equal(t, 2*(2*groupBatch+1), points, "each with the point at which there were none")
}

// gRPC takes 4 MiB: a batch of groups stays below it with every metric, by every
// attribute, even where each series begins.
func TestGroupBatchesFitIntoGRPC(t *testing.T) {
	by := []group.Attribute{
		group.ProcessPID, group.ProcessExecutableName, group.ProcessOwner, group.ContainerID, group.Role, group.ServerAddress, group.ServerPort,
		group.ClientAddress, group.PeerAddress, group.PeerPort, group.LocalAddress, group.LocalPort, group.NetworkType, group.NetworkNamespace,
	}
	w := newWriter(everything())
	s := newSet(w, by, 10_000, []float64{.0005, .001, .002, .005, .01, .025, .05, .1, .25, .5, 1})
	var all []*grouping
	for i := range groupBatch {
		c := fresh(uint16(i+1), 10)
		c.ends = true
		c.Local, c.Peer = netip.MustParseAddrPort("[2001:db8:1234:5678:9abc:def0:1234:5678]:65535"), netip.AddrPortFrom(netip.MustParseAddr("2001:db8:1234:5678:9abc:def0:1234:5679"), uint16(i+1))
		all = append(all, c)
	}
	add(s, all...)
	s.Collect(now)
	batches := w.Groups(s, true, now)
	require.NotEmpty(t, batches)
	size := (&pmetric.ProtoMarshaler{}).MetricsSize(batches[0])
	t.Logf("%d B for each of %d groups", size/groupBatch, groupBatch)
	assert.Less(t, size, 4<<20)
}

func TestGroupMetricsSwitchedOff(t *testing.T) {
	w := newWriter(metadata.MetricsBuilderConfig{})
	assert.Empty(t, w.Group(nil, bounds))
	assert.Zero(t, grouped(t, w, nil, fresh(1, 10)).DataPointCount())
}
