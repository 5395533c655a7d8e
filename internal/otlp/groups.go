// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"slices"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/netpulse/tcpstatsreceiver/internal/group"
	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/netns"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// groupBatch is how many groups one batch has: with every metric and the
// longest attributes it stays below the 4 MiB that gRPC takes.
const groupBatch = 100

// Groups returns the groups, a hundred in a batch. Groups are metrics of the
// host: what they are grouped by is on each point. live says whether what is live
// is known: without it, only counters are written.
//
// A series that is written for the first time begins with a point of value 0 just
// after the collection before, when it was 0: backends compute increases from the
// points alone. A group that ends has one last point without a value in each of its
// series, which backends take as the end of the series instead of repeating its last
// value for minutes.
func (w *Writer) Groups(set *group.Set, live bool, now time.Time) (batches []pmetric.Metrics) {
	resource := w.resources.of(nil, netns.Place{})
	for batch := range slices.Chunk(slices.Collect(set.All()), groupBatch) {
		metrics := pmetric.NewMetricSlice()
		w.writeGroups(metrics, batch, live, set.Before(), now)
		if metrics.Len() == 0 {
			continue
		}
		md := pmetric.NewMetrics()
		metrics.MoveAndAppendTo(w.scope(md, resource))
		batches = append(batches, md)
	}
	return batches
}

// afterCollection is how long after a collection a series begins that was born
// after it: the last point of one that ended with the collection is not younger.
const afterCollection = time.Millisecond

// groupPage is what the points of some groups have in common.
type groupPage struct {
	groups     []*group.Group
	attributes []pcommon.Map
	starts     []pcommon.Timestamp
	// birth is when a new series was 0; not before now if there is no such time.
	birth, now pcommon.Timestamp
	live       bool
}

func (w *Writer) writeGroups(metrics pmetric.MetricSlice, all []*group.Group, live bool, before, now time.Time) {
	page := groupPage{birth: pcommon.NewTimestampFromTime(before.Add(afterCollection)), now: pcommon.NewTimestampFromTime(now), live: live}
	for _, g := range all {
		attrs := w.groupAttributes(g)
		if !w.resources.pass(attrs) {
			continue
		}
		page.groups, page.attributes, page.starts = append(page.groups, g), append(page.attributes, attrs), append(page.starts, startTime(g.Start, now))
	}
	w.writeStates(metrics, &page)
	for i := range w.groups.numbers {
		w.groups.numbers[i].write(metrics, &page)
	}
	w.writeDistributions(metrics, &page)
}

// writeStates writes how many connections each group has in each state.
func (w *Writer) writeStates(metrics pmetric.MetricSlice, page *groupPage) {
	prototype, enabled := w.prototypes[metadata.MetricsInfo.TCPCount.Name]
	if !enabled {
		return
	}
	to := lazy{in: metrics, prototype: prototype}
	for i, g := range page.groups {
		for state, n := range g.Live {
			bit := uint64(1) << state
			switch {
			case g.Ending:
				if g.WrittenStates&bit == 0 {
					continue
				}
			case !page.live:
				continue
			case n == 0 && g.Before[state] == 0:
				// Where there were some and are none now, one 0 says so.
				continue
			}
			g.WrittenStates |= bit
			dp := to.number(page, i, page.now)
			if g.Ending {
				dp.SetFlags(ended)
			} else {
				dp.SetIntValue(n)
			}
			dp.Attributes().PutStr("network.connection.state", tcp.State(state).String())
		}
	}
}

// ended are the flags of the last point of a series, which has no value.
const ended = pmetric.DataPointFlags(1)

// lazy is a metric that is appended with its first point.
type lazy struct {
	in        pmetric.MetricSlice
	prototype pmetric.Metric
	metric    pmetric.Metric
	begun     bool
}

// number appends a point of a group to a sum.
func (l *lazy) number(page *groupPage, i int, at pcommon.Timestamp) pmetric.NumberDataPoint {
	if !l.begun {
		l.begun = true
		l.metric = l.in.AppendEmpty()
		l.prototype.CopyTo(l.metric)
	}
	dp := l.metric.Sum().DataPoints().AppendEmpty()
	dp.SetStartTimestamp(page.starts[i])
	dp.SetTimestamp(at)
	page.attributes[i].CopyTo(dp.Attributes())
	return dp
}

// write appends the metric with the points of the groups that know it.
func (n *groupNumber) write(metrics pmetric.MetricSlice, page *groupPage) {
	to := lazy{in: metrics, prototype: n.prototype}
	for i, g := range page.groups {
		for p := range n.points {
			point := &n.points[p]
			written := g.Written&point.series != 0
			if g.Ending {
				if written {
					dp := to.number(page, i, page.now)
					dp.SetFlags(ended)
					point.describe(dp)
				}
				continue
			}
			value := point.value(g)
			if g.Known&point.needs != point.needs || point.sparse && value == 0 && !written {
				continue
			}
			if !written && value > 0 && page.birth < page.now {
				n.set(to.number(page, i, page.birth), point, 0)
			}
			n.set(to.number(page, i, page.now), point, value)
			g.Written |= point.series
		}
	}
}

func (n *groupNumber) set(dp pmetric.NumberDataPoint, point *groupPoint, value uint64) {
	if n.millis {
		dp.SetDoubleValue(float64(value) / 1000)
	} else {
		dp.SetIntValue(int64(value))
	}
	point.describe(dp)
}

func (p *groupPoint) describe(dp pmetric.NumberDataPoint) {
	if p.key != "" {
		dp.Attributes().PutStr(p.key, p.attribute)
	}
}

// groupAttributes has what is known of a group. The overflow group has nothing
// but its mark.
func (w *Writer) groupAttributes(g *group.Group) pcommon.Map {
	attrs := pcommon.NewMap()
	if g.Overflow {
		attrs.PutBool(attrOverflow, true)
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
