// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/group"
	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// byteBounds are the buckets of bytes, and of bytes per second: powers of 4
// from 1 KiB to 16 MiB.
var byteBounds = []float64{1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 22, 1 << 24}

// groupWriter is what a Writer needs for groups.
type groupWriter struct {
	by      []group.Attribute
	numbers []groupNumber
	// distributions are the enabled ones, as the groups' Histograms are.
	distributions []groupDistribution
	// follows are the kinds of growth that an enabled metric is made of.
	follows []event.Kind
	series  int // that there are for each group, without the states
}

// groupNumber is a metric of groups with some points for each.
type groupNumber struct {
	prototype pmetric.Metric
	points    []groupPoint
	millis    bool // values are milliseconds, and written as seconds
}

type groupPoint struct {
	key, attribute string     // one more attribute, if key is not ""
	needs          tcp.Fields // what a source must know of some connection
	value          func(*group.Group) uint64
	sparse         bool   // not written until it is more than 0
	series         uint64 // its bit of Group.Written
}

type groupDistribution struct {
	prototype pmetric.Metric
	direction string
	group.Distribution
	series uint64 // its bit of Group.Written
}

// Follows returns the kinds of growth that groups are to count.
func (w *Writer) Follows() []event.Kind { return w.groups.follows }

// Group makes the writer write groups by the given attributes and returns the
// distributions that the configuration enables. rttBounds, in seconds, are the
// buckets of times; without them, all histograms are exponential.
func (w *Writer) Group(by []group.Attribute, rttBounds []float64) []group.Distribution {
	w.groups.by = by
	w.groupNumbers()
	return w.groupDistributions(rttBounds)
}

// nextSeries returns the bit of another series. There are fewer than 64.
func (w *Writer) nextSeries() uint64 {
	w.groups.series++
	return 1 << (w.groups.series - 1)
}

// groupNumbers lists the counters of groups.
func (w *Writer) groupNumbers() {
	const direction = "network.io.direction"
	var (
		info     = metadata.MetricsInfo
		transmit = metadata.AttributeNetworkIoDirectionTransmit.String()
		receive  = metadata.AttributeNetworkIoDirectionReceive.String()
	)
	number := func(name string, millis bool, points ...groupPoint) (enabled bool) {
		prototype, enabled := w.prototypes[name]
		if enabled {
			for i := range points {
				points[i].series = w.nextSeries()
			}
			w.groups.numbers = append(w.groups.numbers, groupNumber{prototype, points, millis})
		}
		return enabled
	}
	count := func(name string, points ...groupPoint) { number(name, false, points...) }
	// grown is a counter that is followed only if its metric is enabled.
	type grown struct {
		kind      event.Kind
		attribute string
	}
	follow := func(name string, millis bool, key string, all ...grown) {
		var points []groupPoint
		for _, one := range all {
			points = append(points, groupPoint{
				key: key, attribute: one.attribute, needs: tcp.Fields(0).With(one.kind.Field()),
				value: func(g *group.Group) uint64 { return g.Growth[one.kind] },
			})
		}
		if number(name, millis, points...) {
			for _, one := range all {
				w.groups.follows = append(w.groups.follows, one.kind)
			}
		}
	}
	failures, aborts := reasons()

	count(info.TCPIo.Name,
		groupPoint{key: direction, attribute: transmit, needs: tcp.Fields(0).With(tcp.FieldBytesSent), value: func(g *group.Group) uint64 { return g.BytesSent }},
		groupPoint{key: direction, attribute: receive, needs: tcp.Fields(0).With(tcp.FieldBytesReceived), value: func(g *group.Group) uint64 { return g.BytesReceived }})
	count(info.TCPRetransmits.Name, groupPoint{needs: tcp.Fields(0).With(tcp.FieldRetransmits), value: func(g *group.Group) uint64 { return g.Retransmits }})
	count(info.TCPOpens.Name, groupPoint{value: func(g *group.Group) uint64 { return g.Opens }})
	count(info.TCPCloses.Name, groupPoint{value: func(g *group.Group) uint64 { return g.Closes }})
	count(info.TCPFailures.Name, failures...)
	count(info.TCPAborts.Name, aborts...)
	follow(info.TCPSegments.Name, false, direction, grown{event.SegmentsSent, transmit}, grown{event.SegmentsReceived, receive})
	follow(info.TCPTime.Name, true, "tcp.limited_by",
		grown{event.LimitedByReceiver, metadata.AttributeTCPLimitedByReceiver.String()},
		grown{event.LimitedBySendBuffer, metadata.AttributeTCPLimitedBySendBuffer.String()},
		grown{event.LimitedByNetwork, metadata.AttributeTCPLimitedByNetwork.String()})
	follow(info.TCPRetransmitEvents.Name, false, "network.tcp.retransmit.type",
		grown{event.FastRetransmits, tcp.FastRetransmit.String()}, grown{event.TimeoutRetransmits, tcp.TimeoutRetransmit.String()},
		grown{event.ProbeRetransmits, tcp.ProbeRetransmit.String()}, grown{event.SYNRetransmits, tcp.SYNRetransmit.String()},
		grown{event.SpuriousRetransmits, metadata.AttributeNetworkTCPRetransmitTypeSpurious.String()})
	follow(info.TCPZeroWindows.Name, false, "", grown{event.ZeroWindows, ""})
}

// reasons returns a point for each reason for which a connection fails, or is
// aborted. Most groups have none of them ever.
func reasons() (failures, aborts []groupPoint) {
	for f := tcp.NoFailure + 1; f < tcp.NumFailures; f++ {
		failures = append(failures, groupPoint{key: "error.type", attribute: f.String(), sparse: true, value: func(g *group.Group) uint64 { return g.Failures[f] }})
	}
	for c := range tcp.NumCauses {
		if c != tcp.UnknownCause && !c.InOrder() {
			aborts = append(aborts, groupPoint{key: "tcp.end.cause", attribute: c.String(), sparse: true, value: func(g *group.Group) uint64 { return g.Aborts[c] }})
		}
	}
	return failures, aborts
}
