// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// What has ended stands alone, whatever kind of metric it is of.
func TestApart(t *testing.T) {
	md := pmetric.NewMetrics()
	metrics := md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics()
	flags := []pmetric.DataPointFlags{0, ended, 0, ended}
	add := func(name string) pmetric.Metric {
		m := metrics.AppendEmpty()
		m.SetName(name)
		m.SetUnit("s")
		return m
	}
	sum, gauge := add("sum").SetEmptySum(), add("gauge").SetEmptyGauge()
	sum.SetIsMonotonic(true)
	sum.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	histogram, exponential := add("histogram").SetEmptyHistogram(), add("exponential").SetEmptyExponentialHistogram()
	histogram.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	exponential.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	alone := add("alone").SetEmptyGauge()
	for i, f := range flags {
		for _, points := range []pmetric.NumberDataPointSlice{sum.DataPoints(), gauge.DataPoints()} {
			dp := points.AppendEmpty()
			dp.SetFlags(f)
			dp.Attributes().PutInt("i", int64(i))
		}
		histogram.DataPoints().AppendEmpty().SetFlags(f)
		exponential.DataPoints().AppendEmpty().SetFlags(f)
	}
	alone.DataPoints().AppendEmpty().SetFlags(ended)
	alone.DataPoints().AppendEmpty().SetFlags(ended)

	before := md.DataPointCount()
	apart(md)
	assert.Equal(t, before, md.DataPointCount())
	living, over := make(map[string]int), make(map[string]int)
	for _, m := range metrics.All() {
		assert.Equal(t, "s", m.Unit(), m.Name())
		n := numberOfPoints(m)
		assert.Positive(t, n, m.Name())
		var flags []pmetric.DataPointFlags
		switch m.Type() {
		case pmetric.MetricTypeHistogram:
			assert.Equal(t, pmetric.AggregationTemporalityCumulative, m.Histogram().AggregationTemporality())
			for _, dp := range m.Histogram().DataPoints().All() {
				flags = append(flags, dp.Flags())
			}
		case pmetric.MetricTypeExponentialHistogram:
			assert.Equal(t, pmetric.AggregationTemporalityCumulative, m.ExponentialHistogram().AggregationTemporality())
			for _, dp := range m.ExponentialHistogram().DataPoints().All() {
				flags = append(flags, dp.Flags())
			}
		default:
			if m.Type() == pmetric.MetricTypeSum {
				assert.True(t, m.Sum().IsMonotonic())
				assert.Equal(t, pmetric.AggregationTemporalityCumulative, m.Sum().AggregationTemporality())
			}
			for _, dp := range points(m).All() {
				flags = append(flags, dp.Flags())
				if m.Name() != "alone" {
					i, _ := dp.Attributes().Get("i")
					assert.Equal(t, i.Int()%2 == 1, dp.Flags().NoRecordedValue())
				}
			}
		}
		for _, f := range flags {
			if !f.NoRecordedValue() {
				living[m.Name()]++
				continue
			}
			over[m.Name()]++
			assert.Equal(t, 1, n, "%s: what has ended is alone", m.Name())
		}
	}
	assert.Equal(t, map[string]int{"sum": 2, "gauge": 2, "histogram": 2, "exponential": 2}, living)
	assert.Equal(t, map[string]int{"sum": 2, "gauge": 2, "histogram": 2, "exponential": 2, "alone": 2}, over)
}
