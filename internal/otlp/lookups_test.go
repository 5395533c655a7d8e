// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/filter"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/netpulse/tcpstatsreceiver/internal/dns"
	"github.com/netpulse/tcpstatsreceiver/internal/group"
	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/netns"
)

func answered(namespace uint64, rcode uint16, timedOut bool) *dns.Lookup {
	return &dns.Lookup{
		Namespace: namespace, Server: netip.MustParseAddrPort("10.0.0.2:53"), Type: 28, Name: []byte("a.example"),
		RCode: rcode, TimedOut: timedOut, Duration: 20 * time.Millisecond,
	}
}

// lookupsOf returns the points by resource and metric.
func lookupsOf(md pmetric.Metrics) (queries, durations map[int64][]map[string]any) {
	queries, durations = make(map[int64][]map[string]any), make(map[int64][]map[string]any)
	for _, rm := range md.ResourceMetrics().All() {
		namespace := int64(0)
		if id, ok := rm.Resource().Attributes().Get("network.namespace.id"); ok {
			namespace = id.Int()
		}
		for _, m := range rm.ScopeMetrics().At(0).Metrics().All() {
			switch m.Type() {
			case pmetric.MetricTypeSum:
				for _, dp := range m.Sum().DataPoints().All() {
					point := dp.Attributes().AsRaw()
					point["n"], point["at"] = dp.IntValue(), dp.Timestamp().AsTime().Sub(began)
					if dp.Flags().NoRecordedValue() {
						point["n"] = "ended"
					}
					queries[namespace] = append(queries[namespace], point)
				}
			case pmetric.MetricTypeHistogram:
				for _, dp := range m.Histogram().DataPoints().All() {
					point := dp.Attributes().AsRaw()
					point["n"], point["at"] = dp.Count(), dp.Timestamp().AsTime().Sub(began)
					if dp.Flags().NoRecordedValue() {
						point["n"] = "ended"
					}
					durations[namespace] = append(durations[namespace], point)
				}
			}
		}
	}
	return queries, durations
}

func TestLookups(t *testing.T) {
	w := newWriter(everything())
	w.locate = func(namespace uint64) netns.Place { return netns.Place{Namespace: namespace} }
	lookups := group.NewLookups(group.LookupsConfig{Limit: 100, Expiry: time.Minute}, began)
	lookups.Lookup(answered(0, 0, false))
	lookups.Lookup(answered(0, 0, false))
	lookups.Lookup(answered(0, 3, false))
	lookups.Lookup(answered(7, 0, true))
	queries, durations := lookupsOf(w.Lookups(lookups, now))
	const later = 20 * time.Second
	assert.Equal(t, map[int64][]map[string]any{
		0: {
			{"n": int64(0), "at": time.Duration(0), "dns.question.type": "AAAA", "dns.response.code": "NOERROR"},
			{"n": int64(2), "at": later, "dns.question.type": "AAAA", "dns.response.code": "NOERROR"},
			{"n": int64(0), "at": time.Duration(0), "dns.question.type": "AAAA", "dns.response.code": "NXDOMAIN", "error.type": "NXDOMAIN"},
			{"n": int64(1), "at": later, "dns.question.type": "AAAA", "dns.response.code": "NXDOMAIN", "error.type": "NXDOMAIN"},
		},
		7: {
			{"n": int64(0), "at": time.Duration(0), "dns.question.type": "AAAA", "error.type": "timeout"},
			{"n": int64(1), "at": later, "dns.question.type": "AAAA", "error.type": "timeout"},
		},
	}, queries)
	assert.Equal(t, map[int64][]map[string]any{
		0: {
			{"n": uint64(0), "at": time.Duration(0), "server.address": "10.0.0.2", "dns.response.code": "NOERROR"},
			{"n": uint64(2), "at": later, "server.address": "10.0.0.2", "dns.response.code": "NOERROR"},
			{"n": uint64(0), "at": time.Duration(0), "server.address": "10.0.0.2", "dns.response.code": "NXDOMAIN", "error.type": "NXDOMAIN"},
			{"n": uint64(1), "at": later, "server.address": "10.0.0.2", "dns.response.code": "NXDOMAIN", "error.type": "NXDOMAIN"},
		},
		7: {
			{"n": uint64(0), "at": time.Duration(0), "server.address": "10.0.0.2", "error.type": "timeout"},
			{"n": uint64(1), "at": later, "server.address": "10.0.0.2", "error.type": "timeout"},
		},
	}, durations)

	// A series that ends has a last point without a value.
	queries, durations = lookupsOf(w.Lookups(lookups, now.Add(time.Minute)))
	assert.Equal(t, []map[string]any{{"n": "ended", "at": later + time.Minute, "dns.question.type": "AAAA", "error.type": "timeout"}}, queries[7])
	assert.Equal(t, []map[string]any{{"n": "ended", "at": later + time.Minute, "server.address": "10.0.0.2", "error.type": "timeout"}}, durations[7])
	assert.Zero(t, w.Lookups(lookups, now.Add(2*time.Minute)).DataPointCount())
}

// Beyond the limit there is one series more, and filters on resources count.
func TestLookupsByName(t *testing.T) {
	cfg := everything()
	cfg.ResourceAttributes.NetworkNamespaceID.MetricsExclude = []filter.Config{{Strict: "9"}}
	cfg.Metrics.DNSLookupDuration.Enabled = false
	w := newWriter(cfg)
	w.locate = func(namespace uint64) netns.Place { return netns.Place{Namespace: namespace} }
	lookups := group.NewLookups(group.LookupsConfig{Limit: 1, Names: true, Exponential: true, Expiry: time.Minute}, began)
	lookups.Lookup(answered(8, 0, false))
	lookups.Lookup(answered(0, 2, false))
	queries, durations := lookupsOf(w.Lookups(lookups, began))
	require.Empty(t, durations)
	assert.Equal(t, "a.example", queries[8][1]["dns.question.name"])
	assert.Equal(t, map[string]any{"n": int64(1), "at": time.Duration(0), "otel.metric.overflow": true}, queries[0][1])

	lookups = group.NewLookups(group.LookupsConfig{Limit: 10, Expiry: time.Minute}, began)
	lookups.Lookup(answered(9, 0, false))
	assert.Zero(t, w.Lookups(lookups, now).DataPointCount())
}

// Exponential histograms have their own kind.
func TestExponentialLookups(t *testing.T) {
	w := newWriter(everything())
	lookups := group.NewLookups(group.LookupsConfig{Limit: 10, Exponential: true, Expiry: time.Minute}, began)
	lookups.Lookup(answered(0, 0, false))
	md := w.Lookups(lookups, now)
	for _, m := range md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().All() {
		if m.Name() == metadata.MetricsInfo.DNSLookupDuration.Name {
			assert.Equal(t, pmetric.MetricTypeExponentialHistogram, m.Type())
			assert.Equal(t, uint64(1), m.ExponentialHistogram().DataPoints().At(1).Count())
		}
	}
}
