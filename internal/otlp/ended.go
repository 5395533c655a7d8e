// SPDX-License-Identifier: Apache-2.0

package otlp

import "go.opentelemetry.io/collector/pdata/pmetric"

// apart gives each point without a value, the last of its series, a metric of its
// own. Nothing in OTLP asks for that, but the collector's prometheus exporter
// (accumulator.go of prometheusexporter, v0.155.0) takes no further point of a metric
// in which it found one: the rest of what ended would be shown for its
// metric_expiration, and what lives would keep the value that it had.
func apart(md pmetric.Metrics) {
	for _, rm := range md.ResourceMetrics().All() {
		for _, sm := range rm.ScopeMetrics().All() {
			metrics := sm.Metrics()
			for i := range metrics.Len() { // not those that are appended
				switch m := metrics.At(i); m.Type() {
				case pmetric.MetricTypeGauge:
					moveEnded(metrics, i, m.Gauge().DataPoints(), func(to pmetric.Metric) pmetric.NumberDataPointSlice { return to.SetEmptyGauge().DataPoints() })
				case pmetric.MetricTypeSum:
					monotonic, temporality := m.Sum().IsMonotonic(), m.Sum().AggregationTemporality()
					moveEnded(metrics, i, m.Sum().DataPoints(), func(to pmetric.Metric) pmetric.NumberDataPointSlice {
						sum := to.SetEmptySum()
						sum.SetIsMonotonic(monotonic)
						sum.SetAggregationTemporality(temporality)
						return sum.DataPoints()
					})
				case pmetric.MetricTypeHistogram:
					temporality := m.Histogram().AggregationTemporality()
					moveEnded(metrics, i, m.Histogram().DataPoints(), func(to pmetric.Metric) pmetric.HistogramDataPointSlice {
						to.SetEmptyHistogram().SetAggregationTemporality(temporality)
						return to.Histogram().DataPoints()
					})
				case pmetric.MetricTypeExponentialHistogram:
					temporality := m.ExponentialHistogram().AggregationTemporality()
					moveEnded(metrics, i, m.ExponentialHistogram().DataPoints(), func(to pmetric.Metric) pmetric.ExponentialHistogramDataPointSlice {
						to.SetEmptyExponentialHistogram().SetAggregationTemporality(temporality)
						return to.ExponentialHistogram().DataPoints()
					})
				}
			}
			metrics.RemoveIf(func(m pmetric.Metric) bool { return numberOfPoints(m) == 0 })
		}
	}
}

// pointSlice is a slice of the points of one kind of metric.
type pointSlice[P any] interface {
	Len() int
	At(int) P
	RemoveIf(func(P) bool)
	AppendEmpty() P
}

type point[P any] interface {
	Flags() pmetric.DataPointFlags
	MoveTo(P)
}

// moveEnded moves the points without a value of metric i to metrics of their own,
// which have no description: the series has had it all its life.
func moveEnded[P point[P], S pointSlice[P]](metrics pmetric.MetricSlice, i int, points S, empty func(to pmetric.Metric) S) {
	n, name, unit := points.Len(), metrics.At(i).Name(), metrics.At(i).Unit()
	if n < 2 {
		return
	}
	points.RemoveIf(func(p P) bool {
		if !p.Flags().NoRecordedValue() {
			return false
		}
		to := metrics.AppendEmpty()
		to.SetName(name)
		to.SetUnit(unit)
		p.MoveTo(empty(to).AppendEmpty())
		return true
	})
}

func numberOfPoints(m pmetric.Metric) int {
	switch m.Type() {
	case pmetric.MetricTypeHistogram:
		return m.Histogram().DataPoints().Len()
	case pmetric.MetricTypeExponentialHistogram:
		return m.ExponentialHistogram().DataPoints().Len()
	}
	return points(m).Len()
}
