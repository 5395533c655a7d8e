// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/netpulse/tcpstatsreceiver/internal/group"
)

// registry is docs/registry/tcp_stats.yaml.
type registry struct {
	Groups []struct {
		ID         string `mapstructure:"id"`
		Type       string `mapstructure:"type"`
		Brief      string `mapstructure:"brief"`
		Name       string `mapstructure:"metric_name"`
		Instrument string `mapstructure:"instrument"`
		Unit       string `mapstructure:"unit"`
		Attributes []struct {
			ID   string `mapstructure:"id"`
			Ref  string `mapstructure:"ref"`
			Type any    `mapstructure:"type"`
		} `mapstructure:"attributes"`
	} `mapstructure:"groups"`
}

// What is written is what the registry of names says: names, units, instruments,
// attributes and their values. What it is compared with are the golden files.
func TestRegistry(t *testing.T) {
	conf, err := confmaptest.LoadConf("../../docs/registry/tcp_stats.yaml")
	require.NoError(t, err)
	var names registry
	require.NoError(t, conf.Unmarshal(&names, confmap.WithIgnoreUnused()))

	type metric struct {
		unit, instrument string
		attributes       []string
	}
	values := make(map[string][]string) // of each attribute; none: any
	metrics := make(map[string]metric)
	for _, g := range names.Groups {
		assert.NotEmpty(t, g.Brief, g.ID)
		m := metric{unit: g.Unit, instrument: g.Instrument}
		for _, a := range g.Attributes {
			if a.ID == "" {
				assert.Contains(t, values, a.Ref, "%s refers to what is not defined before it", g.ID)
				m.attributes = append(m.attributes, a.Ref)
				continue
			}
			assert.NotContains(t, values, a.ID, "it is defined twice")
			values[a.ID] = nil
			if enum, ok := a.Type.(map[string]any); ok {
				for _, member := range enum["members"].([]any) {
					values[a.ID] = append(values[a.ID], member.(map[string]any)["value"].(string))
				}
			}
		}
		if g.Type == "metric" {
			metrics[g.Name] = m
		}
	}

	files, err := filepath.Glob("testdata/TestGolden*.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	written := make(map[string]bool)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		md, err := (&pmetric.JSONUnmarshaler{}).UnmarshalMetrics(text)
		require.NoError(t, err, file)
		for _, rm := range md.ResourceMetrics().All() {
			for key := range rm.Resource().Attributes().All() {
				assert.Contains(t, values, key, "of a resource")
			}
			for _, m := range rm.ScopeMetrics().At(0).Metrics().All() {
				name := m.Name()
				written[name] = true
				want, ok := metrics[name]
				if !assert.True(t, ok, name) {
					continue
				}
				assert.Equal(t, want.unit, m.Unit(), name)
				check := func(attributes pcommon.Map) {
					for key, value := range attributes.All() {
						_, errGroup := group.ParseAttribute(key)
						if errGroup == nil && !slices.Contains(want.attributes, key) || key == "otel.metric.overflow" {
							continue // the user chose it
						}
						assert.Contains(t, want.attributes, key, name)
						if values[key] != nil {
							assert.Contains(t, values[key], value.AsString(), "%s %s", name, key)
						}
					}
				}
				kind := "gauge"
				switch m.Type() {
				case pmetric.MetricTypeHistogram:
					kind = "histogram"
					for _, dp := range m.Histogram().DataPoints().All() {
						check(dp.Attributes())
					}
				case pmetric.MetricTypeExponentialHistogram:
					kind = "histogram"
					for _, dp := range m.ExponentialHistogram().DataPoints().All() {
						check(dp.Attributes())
					}
				default:
					if m.Type() == pmetric.MetricTypeSum {
						kind = "updowncounter"
						if m.Sum().IsMonotonic() {
							kind = "counter"
						}
					}
					for _, dp := range points(m).All() {
						check(dp.Attributes())
					}
				}
				assert.Equal(t, want.instrument, kind, name)
			}
		}
	}
	assert.Greater(t, len(written), 90, "the golden files have nearly all of %d metrics", len(metrics))
}
