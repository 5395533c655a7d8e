package otlp

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/netpulse/tcpstatsreceiver/internal/group"
	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/table"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

var bounds = []float64{0.001, 0.01, 0.1}

// newSet returns a set whose first collection is at now.
func newSet(w *Writer, by []group.Attribute, limit int, bounds []float64) *group.Set {
	s := group.NewSet(group.Config{
		By: by, Limit: limit, PeerPrefixIPv4: 24, PeerPrefixIPv6: 48, Expiry: time.Minute,
		Distributions: w.Group(by, bounds),
	}, began)
	s.Begin(now)
	return s
}

// grouped returns what is written of the connections.
func grouped(t *testing.T, w *Writer, by []group.Attribute, connections ...*table.Connection) pmetric.Metrics {
	t.Helper()
	s := newSet(w, by, 100, bounds)
	for _, c := range connections {
		s.Add(c)
	}
	all := pmetric.NewMetrics()
	require.NoError(t, w.Groups(s, now, func(md pmetric.Metrics) error {
		md.ResourceMetrics().MoveAndAppendTo(all.ResourceMetrics())
		return nil
	}))
	return all
}

func fresh(port uint16, sent uint64) *table.Connection {
	s := full()
	s.Peer = netip.AddrPortFrom(s.Peer.Addr(), port)
	c := connection(s, nginx)
	c.IsNew = true
	c.Uncounted = table.Delta{BytesSent: sent, BytesReceived: 2 * sent, Retransmits: 3}
	return c
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
			s.Listening(0, 443)
			for i := range 3 {
				c := fresh(uint16(50_000+i), 1000)
				c.CongestionControl = "cubic"
				s.Add(c)
			}
			orphan := connection(tcp.Socket{State: tcp.TimeWait, Local: netip.MustParseAddrPort("[2001:db8::1]:5"), Peer: netip.MustParseAddrPort("[2001:db8:1:2::3]:443")}, nil)
			s.Add(orphan)
			var all []pmetric.Metrics
			require.NoError(t, w.Groups(s, now, func(md pmetric.Metrics) error { all = append(all, md); return nil }))
			require.Len(t, all, 1)
			golden(t, all[0])
		})
	}
}

// What no source tells of any connection of a group is absent, not 0.
func TestGroupsOfASourceThatKnowsLittle(t *testing.T) {
	w := newWriter(metadata.NewDefaultMetricsBuilderConfig())
	c := fresh(1, 0)
	c.Uncounted = table.Delta{Retransmits: 3}
	c.Fields = tcp.Fields(0).With(tcp.FieldRetransmits)
	got := names(grouped(t, w, []group.Attribute{group.Role}, c))
	assert.Equal(t, map[string]int{"tcp.connections": 1, "tcp.retransmits": 1, "tcp.opens": 1, "tcp.closes": 1}, got)
}

func TestGroupsThatAreGoneSaySoOnce(t *testing.T) {
	w := newWriter(metadata.NewDefaultMetricsBuilderConfig())
	s := newSet(w, []group.Attribute{group.Role}, 10, bounds)
	s.Add(fresh(1, 10))
	live := func() (values []int64) {
		require.NoError(t, w.Groups(s, now, func(md pmetric.Metrics) error {
			for _, m := range md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().All() {
				if m.Name() == "tcp.connections" {
					for _, dp := range m.Sum().DataPoints().All() {
						values = append(values, dp.IntValue())
					}
				}
			}
			return nil
		}))
		return values
	}
	assert.Equal(t, []int64{1}, live())
	s.Begin(now)
	assert.Equal(t, []int64{0}, live())
	s.Begin(now)
	assert.Empty(t, live())
}

func TestGroupsInBatches(t *testing.T) {
	w := newWriter(metadata.NewDefaultMetricsBuilderConfig())
	s := newSet(w, []group.Attribute{group.PeerPort}, 10_000, bounds)
	for i := range 2*groupBatch + 1 {
		s.Add(fresh(uint16(i+1), 10))
	}
	batches, points := 0, 0
	refused := errors.New("refused")
	err := w.Groups(s, now, func(md pmetric.Metrics) error {
		batches++
		points += names(md)["tcp.rtt"]
		if batches == 1 {
			return refused
		}
		return nil
	})
	assert.Equal(t, refused, err)
	assert.Equal(t, 3, batches, "one that is refused does not cost the others")
	assert.Equal(t, 2*groupBatch+1, points)
}

func TestGroupMetricsSwitchedOff(t *testing.T) {
	w := newWriter(metadata.MetricsBuilderConfig{})
	assert.Empty(t, w.Group(nil, bounds))
	assert.Zero(t, grouped(t, w, nil, fresh(1, 10)).DataPointCount())
}
