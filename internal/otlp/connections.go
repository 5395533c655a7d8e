// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"net/netip"
	"slices"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/table"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// endpoint is a connection with its attributes as text, made once for all its
// points.
type endpoint struct {
	// connection is nil where its series end.
	connection *table.Connection
	// stateOnly: of those that end, only the series that have the state as an
	// attribute do. The connection lives, and is in another state.
	stateOnly bool
	// fieldsOnly: only the series of its fields do.
	fieldsOnly bool

	fields              tcp.Fields
	state               tcp.State
	process             pcommon.Map // what goes on each point of its process and peer
	networkType         string
	localAddr, peerAddr string
	localPort, peerPort uint16
	start               pcommon.Timestamp

	// common are the attributes of a point that has no more than those which all
	// points of the connection have, once there is one.
	common    pcommon.Map
	described bool
}

// SortByHolder brings the connections of each process together, so that it has
// one resource in a batch.
func (w *Writer) SortByHolder(connections []*table.Connection) {
	slices.SortFunc(connections, func(a, b *table.Connection) int { return holderOf(a).compare(holderOf(b)) })
}

// Connections returns one batch of connections. Building and marshalling a few
// hundred is several times cheaper, each, than all at once, and gRPC takes 4 MiB.
func (w *Writer) Connections(connections []*table.Connection, now time.Time) pmetric.Metrics {
	md := pmetric.NewMetrics()
	if len(w.instruments) == 0 {
		return md
	}
	for h, its := range ofEachHolder(connections, holderOf) {
		if !w.enter(md, h, now) {
			continue
		}
		for _, c := range its {
			e := endpointOf(c.Local, c.Peer)
			e.process, e.connection, e.fields, e.state, e.start = w.withPeer(w.under.process, c.PeerInfo), c, c.Fields, c.State, startTime(c.Start, now)
			w.endpoints = append(w.endpoints, e)
		}
	}
	w.leave(md, now)
	return md
}

// Ended returns one batch with the last points, without a value, of series that
// were written before.
func (w *Writer) Ended(all []ending, now time.Time) pmetric.Metrics {
	md := pmetric.NewMetrics()
	slices.SortFunc(all, func(a, b ending) int { return a.holder().compare(b.holder()) })
	for h, its := range ofEachHolder(all, func(e ending) holder { return e.holder() }) {
		if !w.enter(md, h, now) {
			continue
		}
		for _, one := range its {
			e := endpointOf(one.local, one.peer)
			e.process, e.fields, e.state, e.start = w.withPeer(w.under.process, one.peerInfo), one.fields, one.state, startTime(one.startOf(), now)
			e.stateOnly, e.fieldsOnly = one.stateOnly, one.fieldsOnly
			w.endpoints = append(w.endpoints, e)
		}
	}
	w.leave(md, now)
	return md
}

// enter makes the endpoints that follow those of a holder, after writing those
// before under their resource if that is another. It reports whether the filters on
// resource attributes let them pass.
func (w *Writer) enter(md pmetric.Metrics, h holder, now time.Time) bool {
	to, pass := w.destination(h)
	if !pass {
		return false
	}
	if w.under.key != to.key {
		w.leave(md, now)
	}
	w.under = to
	return true
}

// leave writes the endpoints so far.
func (w *Writer) leave(md pmetric.Metrics, now time.Time) {
	if len(w.endpoints) > 0 {
		metrics := pmetric.NewMetricSlice()
		metrics.EnsureCapacity(len(w.instruments))
		for i := range w.instruments {
			w.instruments[i].write(metrics, w.endpoints, now)
		}
		if metrics.Len() > 0 {
			metrics.MoveAndAppendTo(w.scope(md, w.under.resource))
		}
	}
	clear(w.endpoints)
	w.endpoints = w.endpoints[:0]
}

func endpointOf(local, peer netip.AddrPort) endpoint {
	return endpoint{
		networkType: networkType(local.Addr()),
		localAddr:   local.Addr().String(), localPort: local.Port(),
		peerAddr: peer.Addr().String(), peerPort: peer.Port(),
	}
}

func holderOf(c *table.Connection) holder { return holder{c.Owner.Process, c.ID.Namespace} }

// write appends the metric with a point for every series that a connection
// knows; without points it appends nothing.
func (in *instrument) write(metrics pmetric.MetricSlice, endpoints []endpoint, now time.Time) {
	n := 0
	for i := range endpoints {
		for j := range in.series {
			if in.writes(&in.series[j], &endpoints[i]) {
				n++
			}
		}
	}
	if n == 0 {
		return
	}
	m := metrics.AppendEmpty()
	in.prototype.CopyTo(m)
	to := points(m)
	to.EnsureCapacity(n)
	ts := pcommon.NewTimestampFromTime(now)
	cumulative := m.Type() == pmetric.MetricTypeSum
	for i := range endpoints {
		e := &endpoints[i]
		for j := range in.series {
			s := &in.series[j]
			if !in.writes(s, e) {
				continue
			}
			dp := to.AppendEmpty()
			dp.SetTimestamp(ts)
			if cumulative {
				dp.SetStartTimestamp(e.start)
			}
			if e.connection != nil {
				s.set(dp, e.connection, now)
			} else {
				dp.SetFlags(ended)
			}
			in.describe(s, e, dp.Attributes())
		}
	}
}

// describe sets the attributes of a point. All points of a connection have most of
// them in common: they are put together for the first one, and copied for the others,
// which is cheaper because a copy does not look each name up. The capacity is exact:
// attributes are most of what a batch takes.
func (in *instrument) describe(s *series, e *endpoint, attrs pcommon.Map) {
	const own = 6
	key, value := s.key, s.value
	if in.hasState {
		key, value = "network.connection.state", e.state.String()
	}
	capacity := own + e.process.Len()
	if key != "" {
		capacity++
	}
	attrs.EnsureCapacity(capacity)
	if e.described {
		e.common.CopyTo(attrs)
	} else {
		attrs.PutStr("network.transport", metadata.AttributeNetworkTransportTCP.String())
		attrs.PutStr("network.type", e.networkType)
		attrs.PutStr("network.local.address", e.localAddr)
		attrs.PutInt("network.local.port", int64(e.localPort))
		attrs.PutStr("network.peer.address", e.peerAddr)
		attrs.PutInt("network.peer.port", int64(e.peerPort))
		putAll(attrs, e.process)
		if key == "" {
			e.common, e.described = attrs, true
		}
	}
	if key != "" {
		attrs.PutStr(key, value)
	}
}

// writes reports whether a connection has a point of a series.
func (in *instrument) writes(s *series, e *endpoint) bool {
	has := e.fields.Has(s.needs)
	if s.always {
		has = !e.fieldsOnly
	}
	return has && (in.hasState || !e.stateOnly)
}

func (s *series) set(dp pmetric.NumberDataPoint, c *table.Connection, now time.Time) {
	switch {
	case s.integer != nil:
		dp.SetIntValue(int64(s.integer(&c.Sample)))
	case s.seconds != nil:
		dp.SetDoubleValue(s.seconds(&c.Sample).Seconds())
	default:
		dp.SetDoubleValue(s.age(c, now).Seconds())
	}
}

func networkType(local netip.Addr) string {
	if local.Is4() {
		return metadata.AttributeNetworkTypeIpv4.String()
	}
	return metadata.AttributeNetworkTypeIpv6.String()
}
