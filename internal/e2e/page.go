// SPDX-License-Identifier: Apache-2.0

//go:build linux || freebsd

package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"
)

// Page is the samples of a page in Prometheus's text format, by their name and
// sorted labels: name{a="1",b="2"}. Histograms are there with name_count and
// name_sum.
type Page map[string]float64

// fetch reads a page. Prometheus's own parser refuses what Prometheus would.
func fetch(t *testing.T, endpoint string) Page {
	t.Helper()
	response, err := web.Get("http://" + endpoint + "/metrics")
	require.NoError(t, err)
	defer response.Body.Close()
	require.Equal(t, http.StatusOK, response.StatusCode)
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(response.Body)
	require.NoError(t, err)

	page := make(Page)
	for name, family := range families {
		for _, m := range family.GetMetric() {
			labels := make(map[string]string)
			for _, label := range m.GetLabel() {
				labels[label.GetName()] = label.GetValue()
			}
			for suffix, value := range samples(m) {
				key := sample(name+suffix, labels)
				_, twice := page[key]
				require.False(t, twice, "%s is there twice", key)
				page[key] = value
			}
		}
	}
	return page
}

func samples(m *dto.Metric) map[string]float64 {
	switch {
	case m.Counter != nil:
		return map[string]float64{"": m.GetCounter().GetValue()}
	case m.Gauge != nil:
		return map[string]float64{"": m.GetGauge().GetValue()}
	case m.Histogram != nil:
		return map[string]float64{"_count": float64(m.GetHistogram().GetSampleCount()), "_sum": m.GetHistogram().GetSampleSum()}
	}
	return map[string]float64{"": m.GetUntyped().GetValue()}
}

// sample is a sample's key in a Page. Labels without a value are left out, as
// Prometheus has it.
func sample(name string, labels map[string]string) string {
	var pairs []string
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		if labels[key] != "" {
			pairs = append(pairs, fmt.Sprintf("%s=%q", key, labels[key]))
		}
	}
	return name + "{" + strings.Join(pairs, ",") + "}"
}

// onPage is the key of a data point on the page, as OpenTelemetry's specification
// of the Prometheus exporter has it.
func onPage(metric string, v Value, resource map[string]any) string {
	name := strings.ReplaceAll(metric, ".", "_")
	switch v.Unit {
	case "By":
		name += "_bytes"
	case "s":
		name += "_seconds"
	case "By/s":
		name += "_bytes_per_second"
	}
	if v.Cumulative {
		name += "_total"
	}
	labels := make(map[string]string)
	for _, attributes := range []map[string]any{resource, v.Attributes} {
		for key, value := range attributes {
			labels[strings.ReplaceAll(key, ".", "_")] = fmt.Sprint(value)
		}
	}
	return sample(name, labels)
}
