// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/netpulse/tcpstatsreceiver/internal/dns"
	"github.com/netpulse/tcpstatsreceiver/internal/group"
	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
)

// The attributes of DNS lookups.
const (
	attrQuestionType = "dns.question.type"
	attrQuestionName = "dns.question.name"
	attrResponseCode = "dns.response.code"
	attrOverflow     = "otel.metric.overflow"

	dnsTimeout = "timeout" // of error.type
)

// wantsLookups reports whether a metric of DNS lookups is enabled.
func wantsLookups(cfg *metadata.MetricsConfig) bool {
	return cfg.DNSLookupDuration.Enabled || cfg.DNSQueries.Enabled
}

// Lookups returns the DNS lookups of each network namespace.
func (w *Writer) Lookups(lookups *group.Lookups, now time.Time) pmetric.Metrics {
	md := pmetric.NewMetrics()
	pages := make(map[uint64]*lookupPage)
	lookups.Visit(now, func(key *group.LookupKey, count *group.LookupCount) {
		page, begun := pages[key.Namespace]
		if !begun {
			if resource := w.resources.of(nil, w.place(key.Namespace)); w.resources.pass(resource.Attributes()) {
				page = &lookupPage{metrics: w.scope(md, resource)}
			}
			pages[key.Namespace] = page
		}
		switch {
		case page == nil:
		case count.Duration == nil:
			w.writeQueries(page, key, count, now)
		default:
			w.writeDurations(page, key, count, lookups.Bounds(), now)
		}
	})
	md.ResourceMetrics().RemoveIf(func(rm pmetric.ResourceMetrics) bool { return rm.ScopeMetrics().At(0).Metrics().Len() == 0 })
	return md
}

// lookupPage is where the lookups of one network namespace go.
type lookupPage struct {
	metrics            pmetric.MetricSlice
	queries, durations pmetric.Metric
	begun              [2]bool
}

func (w *Writer) writeQueries(page *lookupPage, key *group.LookupKey, count *group.LookupCount, now time.Time) {
	prototype, enabled := w.prototypes[metadata.MetricsInfo.DNSQueries.Name]
	if !enabled {
		return
	}
	if !page.begun[0] {
		page.begun[0], page.queries = true, page.metrics.AppendEmpty()
		prototype.CopyTo(page.queries)
	}
	start := startTime(count.Start, now)
	point := func(at pcommon.Timestamp) pmetric.NumberDataPoint {
		dp := page.queries.Sum().DataPoints().AppendEmpty()
		dp.SetStartTimestamp(start)
		dp.SetTimestamp(at)
		putLookup(dp.Attributes(), key, func() { dp.Attributes().PutStr(attrQuestionType, dns.TypeName(key.Type)) })
		return dp
	}
	if count.New {
		point(start).SetIntValue(0) // else backends do not see the first queries as an increase
	}
	dp := point(pcommon.NewTimestampFromTime(now))
	if count.Ending {
		dp.SetFlags(ended)
		return
	}
	dp.SetIntValue(int64(count.Queries))
}

func (w *Writer) writeDurations(page *lookupPage, key *group.LookupKey, count *group.LookupCount, bounds []float64, now time.Time) {
	prototype, enabled := w.prototypes[metadata.MetricsInfo.DNSLookupDuration.Name]
	if !enabled {
		return
	}
	exponential := len(bounds) == 0
	if !page.begun[1] {
		page.begun[1], page.durations = true, newHistogram(page.metrics, prototype, exponential)
	}
	start := startTime(count.Start, now)
	point := func(h *group.Histogram, at pcommon.Timestamp) {
		attrs := writerOf(exponential)(page.durations, h, bounds, start, at)
		putLookup(attrs, key, func() { attrs.PutStr(attrServer, key.Server.String()) })
	}
	if count.New {
		point(emptyLike(count.Duration), start)
	}
	h := count.Duration
	if count.Ending {
		h = nil
	}
	point(h, pcommon.NewTimestampFromTime(now))
}

// putLookup writes what lookups that are counted together have in common; own writes
// what only one of the metrics has.
func putLookup(attrs pcommon.Map, key *group.LookupKey, own func()) {
	if key.Overflow {
		attrs.PutBool(attrOverflow, true)
		return
	}
	own()
	code := dns.RCodeName(key.RCode)
	switch {
	case key.TimedOut:
		attrs.PutStr(attrErrorType, dnsTimeout)
	case key.RCode != 0:
		attrs.PutStr(attrErrorType, code)
		fallthrough
	default:
		attrs.PutStr(attrResponseCode, code)
	}
	if key.Name != "" {
		attrs.PutStr(attrQuestionName, key.Name)
	}
}
