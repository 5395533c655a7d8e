// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"maps"
	"slices"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/netpulse/tcpstatsreceiver/internal/group"
	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/netns"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// WantsEnds tells whether a metric of how connections end is enabled.
func (w *Writer) WantsEnds() bool {
	info := metadata.MetricsInfo
	for _, name := range []string{info.SystemNetworkTCPRtt.Name, info.SystemNetworkTCPConnectionDuration.Name, info.SystemNetworkTCPConnectionFailures.Name} {
		if _, enabled := w.prototypes[name]; enabled {
			return true
		}
	}
	return false
}

// Ends appends how the connections of the host ended.
func (w *Writer) Ends(md pmetric.Metrics, ends *group.Ends, now time.Time) {
	resource := w.resources.of(nil, netns.Place{})
	if !w.resources.pass(resource.Attributes()) {
		return
	}
	metrics := pmetric.NewMetricSlice()
	start, ts := startTime(ends.Start, now), pcommon.NewTimestampFromTime(now)
	w.writeEnds(metrics, metadata.MetricsInfo.SystemNetworkTCPRtt.Name, ends.RTT, ends.RTTBounds(), start, ts)
	w.writeEnds(metrics, metadata.MetricsInfo.SystemNetworkTCPConnectionDuration.Name, ends.Duration, ends.DurationBounds(), start, ts)
	if prototype, enabled := w.prototypes[metadata.MetricsInfo.SystemNetworkTCPConnectionFailures.Name]; enabled && len(ends.Failures) > 0 {
		m := metrics.AppendEmpty()
		prototype.CopyTo(m)
		for _, failure := range slices.SortedFunc(maps.Keys(ends.Failures), group.Failure.Compare) {
			dp := m.Sum().DataPoints().AppendEmpty()
			dp.SetStartTimestamp(start)
			dp.SetTimestamp(ts)
			dp.SetIntValue(int64(ends.Failures[failure]))
			putRole(dp.Attributes(), failure.Role)
			dp.Attributes().PutStr("error.type", failure.Error.String())
		}
	}
	if metrics.Len() > 0 {
		metrics.MoveAndAppendTo(w.scope(md, resource))
	}
}

func (w *Writer) writeEnds(metrics pmetric.MetricSlice, name string, byRole map[tcp.Role]*group.Histogram, bounds []float64, start, ts pcommon.Timestamp) {
	prototype, enabled := w.prototypes[name]
	if !enabled || len(byRole) == 0 {
		return
	}
	m := newHistogram(metrics, prototype, len(bounds) == 0)
	write := writerOf(len(bounds) == 0)
	for _, role := range []tcp.Role{tcp.Client, tcp.Server} {
		if h := byRole[role]; h != nil {
			putRole(write(m, h, bounds, start, ts), role)
		}
	}
}

func putRole(attrs pcommon.Map, role tcp.Role) { attrs.PutStr("tcp.role", role.String()) }
