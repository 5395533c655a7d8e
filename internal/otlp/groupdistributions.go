// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/group"
	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// groupDistributions lists the histograms of groups and returns those that are
// enabled.
func (w *Writer) groupDistributions(rttBounds []float64) (enabled []group.Distribution) {
	var (
		info     = metadata.MetricsInfo
		transmit = metadata.AttributeNetworkIoDirectionTransmit.String()
		receive  = metadata.AttributeNetworkIoDirectionReceive.String()
	)
	bytes, durations := byteBounds, group.DurationBounds
	if len(rttBounds) == 0 {
		bytes, durations = nil, nil
	}
	distribution := func(name, direction string, d group.Distribution) {
		if prototype, ok := w.prototypes[name]; ok {
			w.groups.distributions = append(w.groups.distributions, groupDistribution{prototype, direction, d, w.nextSeries()})
			enabled = append(enabled, d)
		}
	}
	detailed := func(field tcp.Field, bounds []float64, value func(*tcp.Socket) float64) group.Distribution {
		return group.Distribution{Needs: tcp.Fields(0).With(field), Bounds: bounds, Detailed: true, Value: func(c *event.Connection) float64 { return value(&c.Sample) }}
	}
	distribution(info.TCPRtt.Name, "", group.Distribution{
		Needs: tcp.Fields(0).With(tcp.FieldSmoothedRTT), Bounds: rttBounds,
		Value: func(c *event.Connection) float64 { return c.SmoothedRTT.Seconds() },
	})
	distribution(info.TCPRttVariation.Name, "", detailed(tcp.FieldRTTVariation, rttBounds, func(s *tcp.Socket) float64 { return s.RTTVariation.Seconds() }))
	queueing := detailed(tcp.FieldMinRTT, rttBounds, func(s *tcp.Socket) float64 { return max(0, s.SmoothedRTT-s.MinRTT).Seconds() })
	queueing.Needs = queueing.Needs.With(tcp.FieldSmoothedRTT)
	distribution(info.TCPQueueingDelay.Name, "", queueing)
	distribution(info.TCPCongestionWindow.Name, "", detailed(tcp.FieldCongestionWindow, bytes, func(s *tcp.Socket) float64 { return float64(s.CongestionWindow) }))
	distribution(info.TCPDeliveryRate.Name, "", detailed(tcp.FieldDeliveryRate, bytes, func(s *tcp.Socket) float64 { return float64(s.DeliveryRate) }))
	distribution(info.TCPBufferUsage.Name, transmit, detailed(tcp.FieldSendBufferUsage, bytes, func(s *tcp.Socket) float64 { return float64(s.SendBufferUsage) }))
	distribution(info.TCPBufferUsage.Name, receive, detailed(tcp.FieldReceiveBufferUsage, bytes, func(s *tcp.Socket) float64 { return float64(s.ReceiveBufferUsage) }))
	distribution(info.TCPHandshakeDuration.Name, "", group.Distribution{Bounds: rttBounds, AtEnd: func(e *event.Ended) (float64, bool) {
		return e.Handshake.Seconds(), e.Handshake > 0
	}})
	distribution(info.TCPDuration.Name, "", group.Distribution{Bounds: durations, AtEnd: func(e *event.Ended) (float64, bool) {
		return max(0, e.At.Sub(e.Start)).Seconds(), !e.Start.IsZero()
	}})
	return enabled
}

// writeDistributions writes the histograms of the groups.
func (w *Writer) writeDistributions(metrics pmetric.MetricSlice, page *groupPage) {
	byName := make(map[string]pmetric.Metric)
	for d := range w.groups.distributions {
		distribution := &w.groups.distributions[d]
		name := distribution.prototype.Name()
		for i, g := range page.groups {
			h := &g.Histograms[d]
			written := g.Written&distribution.series != 0
			if g.Ending && !written || !g.Ending && (!page.live || h.Count == 0) {
				continue
			}
			exponential := h.Exponential != nil
			m, begun := byName[name]
			if !begun {
				m = newHistogram(metrics, distribution.prototype, exponential)
				byName[name] = m
			}
			add := func(h *group.Histogram, at pcommon.Timestamp) {
				attrs := writerOf(exponential)(m, h, distribution.Bounds, page.starts[i], at)
				page.attributes[i].CopyTo(attrs)
				if distribution.direction != "" {
					attrs.PutStr("network.io.direction", distribution.direction)
				}
			}
			switch {
			case g.Ending:
				add(nil, page.now)
				continue
			case !written && page.birth < page.now:
				add(emptyLike(h), page.birth)
			}
			add(h, page.now)
			g.Written |= distribution.series
		}
	}
}

// emptyLike returns a histogram without samples, of the same kind.
func emptyLike(h *group.Histogram) *group.Histogram {
	if h.Exponential != nil {
		return &group.Histogram{Exponential: &group.Exponential{Scale: h.Exponential.Scale}}
	}
	return &group.Histogram{Explicit: make([]uint64, len(h.Explicit))}
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

// writerOf is what appends a point to a histogram and returns its attributes; without
// a histogram, the last point of its series.
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
	SetFlags(pmetric.DataPointFlags)
}

func setSummary(dp summary, h *group.Histogram, start, ts pcommon.Timestamp) {
	dp.SetStartTimestamp(start)
	dp.SetTimestamp(ts)
	if h == nil {
		dp.SetFlags(ended)
		dp.SetSum(0) // else Prometheus does not end the series of the sum
		return
	}
	dp.SetCount(h.Count)
	dp.SetSum(h.Sum)
	if h.Count > 0 {
		dp.SetMin(h.Min)
		dp.SetMax(h.Max)
	}
}

func writeExplicit(m pmetric.Metric, h *group.Histogram, bounds []float64, start, ts pcommon.Timestamp) pcommon.Map {
	dp := m.Histogram().DataPoints().AppendEmpty()
	setSummary(dp, h, start, ts)
	// The last point of a series has its buckets, too: Prometheus makes a series of
	// each, and ends those that it finds.
	dp.ExplicitBounds().FromRaw(bounds)
	if h != nil {
		dp.BucketCounts().FromRaw(h.Explicit)
	} else {
		dp.BucketCounts().FromRaw(make([]uint64, len(bounds)+1))
	}
	return dp.Attributes()
}

func writeExponential(m pmetric.Metric, h *group.Histogram, _ []float64, start, ts pcommon.Timestamp) pcommon.Map {
	dp := m.ExponentialHistogram().DataPoints().AppendEmpty()
	setSummary(dp, h, start, ts)
	if h != nil {
		dp.SetScale(h.Exponential.Scale)
		dp.SetZeroCount(h.Exponential.Zero)
		dp.Positive().SetOffset(h.Exponential.Offset)
		dp.Positive().BucketCounts().FromRaw(h.Exponential.Counts)
	}
	return dp.Attributes()
}
