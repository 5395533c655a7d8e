package otlp

import (
	"slices"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/group"
	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/netns"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// groupBatch is how many groups one batch has: with every metric and the
// longest attributes it stays below the 4 MiB that gRPC takes.
const groupBatch = 500

// byteBounds are the buckets of bytes, and of bytes per second: powers of 4
// from 1 KiB to 16 MiB.
var byteBounds = []float64{1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 22, 1 << 24}

// groupWriter is what a Writer needs for groups.
type groupWriter struct {
	by      []group.Attribute
	numbers []groupNumber
	// distributions are the enabled ones, as the groups' Histograms are.
	distributions []groupDistribution
}

// groupNumber is a metric of groups with one or two points for each.
type groupNumber struct {
	prototype pmetric.Metric
	points    []groupPoint
}

type groupPoint struct {
	direction string     // "": none
	needs     tcp.Fields // what some connection must have told
	value     func(*group.Group) uint64
}

type groupDistribution struct {
	prototype pmetric.Metric
	direction string
	group.Distribution
}

// Group makes the writer write groups by the given attributes and returns the
// distributions that the configuration enables. rttBounds, in seconds, are the
// buckets of times; without them, all histograms are exponential.
func (w *Writer) Group(by []group.Attribute, rttBounds []float64) []group.Distribution {
	var (
		info     = metadata.MetricsInfo
		transmit = metadata.AttributeNetworkIoDirectionTransmit.String()
		receive  = metadata.AttributeNetworkIoDirectionReceive.String()
	)
	w.groups.by = by
	number := func(name string, points ...groupPoint) {
		if prototype, enabled := w.prototypes[name]; enabled {
			w.groups.numbers = append(w.groups.numbers, groupNumber{prototype, points})
		}
	}
	number(info.TCPIo.Name,
		groupPoint{transmit, tcp.Fields(0).With(tcp.FieldBytesSent), func(g *group.Group) uint64 { return g.BytesSent }},
		groupPoint{receive, tcp.Fields(0).With(tcp.FieldBytesReceived), func(g *group.Group) uint64 { return g.BytesReceived }})
	number(info.TCPRetransmits.Name, groupPoint{"", tcp.Fields(0).With(tcp.FieldRetransmits), func(g *group.Group) uint64 { return g.Retransmits }})
	number(info.TCPOpens.Name, groupPoint{"", 0, func(g *group.Group) uint64 { return g.Opens }})
	number(info.TCPCloses.Name, groupPoint{"", 0, func(g *group.Group) uint64 { return g.Closes }})

	bytes := byteBounds
	if len(rttBounds) == 0 {
		bytes = nil
	}
	var enabled []group.Distribution
	distribution := func(name, direction string, d group.Distribution) {
		if prototype, ok := w.prototypes[name]; ok {
			w.groups.distributions = append(w.groups.distributions, groupDistribution{prototype, direction, d})
			enabled = append(enabled, d)
		}
	}
	detailed := func(field tcp.Field, bounds []float64, value func(*tcp.Socket) float64) group.Distribution {
		return group.Distribution{Field: field, Bounds: bounds, Detailed: true, Value: func(c *event.Connection) float64 { return value(&c.Sample) }}
	}
	distribution(info.TCPRtt.Name, "", group.Distribution{
		Field: tcp.FieldSmoothedRTT, Bounds: rttBounds,
		Value: func(c *event.Connection) float64 { return c.SmoothedRTT.Seconds() },
	})
	distribution(info.TCPRttVariation.Name, "", detailed(tcp.FieldRTTVariation, rttBounds, func(s *tcp.Socket) float64 { return s.RTTVariation.Seconds() }))
	distribution(info.TCPCongestionWindow.Name, "", detailed(tcp.FieldCongestionWindow, bytes, func(s *tcp.Socket) float64 { return float64(s.CongestionWindow) }))
	distribution(info.TCPDeliveryRate.Name, "", detailed(tcp.FieldDeliveryRate, bytes, func(s *tcp.Socket) float64 { return float64(s.DeliveryRate) }))
	distribution(info.TCPBufferUsage.Name, transmit, detailed(tcp.FieldSendBufferUsage, bytes, func(s *tcp.Socket) float64 { return float64(s.SendBufferUsage) }))
	distribution(info.TCPBufferUsage.Name, receive, detailed(tcp.FieldReceiveBufferUsage, bytes, func(s *tcp.Socket) float64 { return float64(s.ReceiveBufferUsage) }))
	return enabled
}

// Groups returns the groups, some hundreds in a batch. Groups are metrics of the
// host: what they are grouped by is on each point. live says whether what is live
// is known: without it, only counters are written.
func (w *Writer) Groups(set *group.Set, live bool, now time.Time) (batches []pmetric.Metrics) {
	resource := w.resources.of(nil, netns.Place{})
	for batch := range slices.Chunk(slices.Collect(set.All()), groupBatch) {
		metrics := pmetric.NewMetricSlice()
		w.writeGroups(metrics, batch, live, now)
		if metrics.Len() == 0 {
			continue
		}
		md := pmetric.NewMetrics()
		metrics.MoveAndAppendTo(w.scope(md, resource))
		batches = append(batches, md)
	}
	return batches
}

func (w *Writer) writeGroups(metrics pmetric.MetricSlice, all []*group.Group, live bool, now time.Time) {
	ts := pcommon.NewTimestampFromTime(now)
	groups := make([]*group.Group, 0, len(all))
	attributes := make([]pcommon.Map, 0, len(all))
	starts := make([]pcommon.Timestamp, 0, len(all))
	for _, g := range all {
		attrs := w.groupAttributes(g)
		if !w.resources.pass(attrs) {
			continue
		}
		groups, attributes, starts = append(groups, g), append(attributes, attrs), append(starts, startTime(g.Start, now))
	}
	if prototype, enabled := w.prototypes[metadata.MetricsInfo.TCPConnections.Name]; enabled && live {
		m := metrics.AppendEmpty()
		prototype.CopyTo(m)
		for i, g := range groups {
			for state, n := range g.Live {
				// Where there were some and are none now, one 0 says so.
				if n == 0 && g.Before[state] == 0 {
					continue
				}
				dp := m.Sum().DataPoints().AppendEmpty()
				dp.SetStartTimestamp(starts[i])
				dp.SetTimestamp(ts)
				dp.SetIntValue(n)
				attributes[i].CopyTo(dp.Attributes())
				dp.Attributes().PutStr("network.connection.state", tcp.State(state).String())
			}
		}
	}
	for _, number := range w.groups.numbers {
		var m pmetric.Metric
		begun := false
		for i, g := range groups {
			for _, point := range number.points {
				if g.Known&point.needs != point.needs {
					continue
				}
				if !begun {
					begun = true
					m = metrics.AppendEmpty()
					number.prototype.CopyTo(m)
				}
				dp := m.Sum().DataPoints().AppendEmpty()
				dp.SetStartTimestamp(starts[i])
				dp.SetTimestamp(ts)
				dp.SetIntValue(int64(point.value(g)))
				attributes[i].CopyTo(dp.Attributes())
				if point.direction != "" {
					dp.Attributes().PutStr("network.io.direction", point.direction)
				}
			}
		}
	}
	if live {
		w.writeDistributions(metrics, groups, attributes, starts, ts)
	}
}

func (w *Writer) writeDistributions(metrics pmetric.MetricSlice, groups []*group.Group, attributes []pcommon.Map, starts []pcommon.Timestamp, ts pcommon.Timestamp) {
	byName := make(map[string]pmetric.Metric)
	for d, distribution := range w.groups.distributions {
		name := distribution.prototype.Name()
		for i, g := range groups {
			h := &g.Histograms[d]
			if h.Count == 0 {
				continue
			}
			m, begun := byName[name]
			if !begun {
				m = newHistogram(metrics, distribution.prototype, h.Exponential != nil)
				byName[name] = m
			}
			attrs := writerOf(h.Exponential != nil)(m, h, distribution.Bounds, starts[i], ts)
			attributes[i].CopyTo(attrs)
			if distribution.direction != "" {
				attrs.PutStr("network.io.direction", distribution.direction)
			}
		}
	}
}

// newHistogram makes a histogram of what metadata.yaml calls a gauge: mdatagen
// generates no histograms that compile.
func newHistogram(metrics pmetric.MetricSlice, prototype pmetric.Metric, exponential bool) pmetric.Metric {
	m := metrics.AppendEmpty()
	m.SetName(prototype.Name())
	m.SetDescription(prototype.Description())
	m.SetUnit(prototype.Unit())
	if exponential {
		m.SetEmptyExponentialHistogram().SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	} else {
		m.SetEmptyHistogram().SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	}
	return m
}

// writerOf is what appends a point to a histogram and returns its attributes.
func writerOf(exponential bool) func(m pmetric.Metric, h *group.Histogram, bounds []float64, start, ts pcommon.Timestamp) pcommon.Map {
	if exponential {
		return writeExponential
	}
	return writeExplicit
}

// summary is what points of both kinds of histograms have.
type summary interface {
	SetStartTimestamp(pcommon.Timestamp)
	SetTimestamp(pcommon.Timestamp)
	SetCount(uint64)
	SetSum(float64)
	SetMin(float64)
	SetMax(float64)
}

func setSummary(dp summary, h *group.Histogram, start, ts pcommon.Timestamp) {
	dp.SetStartTimestamp(start)
	dp.SetTimestamp(ts)
	dp.SetCount(h.Count)
	dp.SetSum(h.Sum)
	dp.SetMin(h.Min)
	dp.SetMax(h.Max)
}

func writeExplicit(m pmetric.Metric, h *group.Histogram, bounds []float64, start, ts pcommon.Timestamp) pcommon.Map {
	dp := m.Histogram().DataPoints().AppendEmpty()
	setSummary(dp, h, start, ts)
	dp.ExplicitBounds().FromRaw(bounds)
	dp.BucketCounts().FromRaw(h.Explicit)
	return dp.Attributes()
}

func writeExponential(m pmetric.Metric, h *group.Histogram, _ []float64, start, ts pcommon.Timestamp) pcommon.Map {
	dp := m.ExponentialHistogram().DataPoints().AppendEmpty()
	setSummary(dp, h, start, ts)
	dp.SetScale(h.Exponential.Scale)
	dp.SetZeroCount(h.Exponential.Zero)
	dp.Positive().SetOffset(h.Exponential.Offset)
	dp.Positive().BucketCounts().FromRaw(h.Exponential.Counts)
	return dp.Attributes()
}

// groupAttributes has what is known of a group. The overflow group has nothing
// but its mark.
func (w *Writer) groupAttributes(g *group.Group) pcommon.Map {
	attrs := pcommon.NewMap()
	if g.Overflow {
		attrs.PutBool("otel.metric.overflow", true)
		return attrs
	}
	attrs.EnsureCapacity(len(w.groups.by))
	for _, a := range w.groups.by {
		switch v := a.Of(&g.Key); {
		case v.Text != "":
			attrs.PutStr(a.String(), v.Text)
		case v.Number != 0:
			attrs.PutInt(a.String(), v.Number)
		}
	}
	return attrs
}
