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
}

// add reports connections to a set.
func add(s *group.Set, all ...*grouping) {
	for i, g := range all {
		g.Slot = uint32(i)
		s.Progress(&event.Progress{Connection: &g.Connection, Was: event.NoState, Is: g.State, First: true, Delta: g.delta})
		if g.IsNew {
			s.Opened(&event.Opened{Connection: &g.Connection})
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
				c.Role, c.Traits = tcp.Server, &event.Traits{CongestionControl: "cubic"}
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
	assert.Equal(t, map[string]int{"tcp.connections": 1, "tcp.retransmits": 1, "tcp.opens": 1, "tcp.closes": 1}, got)
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
				if m.Name() == "tcp.connections" {
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
	assert.Equal(t, 2*groupBatch+1, points)
}

func TestGroupMetricsSwitchedOff(t *testing.T) {
	w := newWriter(metadata.MetricsBuilderConfig{})
	assert.Empty(t, w.Group(nil, bounds))
	assert.Zero(t, grouped(t, w, nil, fresh(1, 10)).DataPointCount())
}
