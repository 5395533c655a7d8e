// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/table"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// listening is what one process listens to at one address and port.
type listening struct {
	holder holder
	local  netip.AddrPort
}

// listener is one socket that listens there, or several that share it
// (SO_REUSEPORT), summed.
type listener struct {
	listening
	networkType  string
	start        time.Time // of the oldest
	isNew        bool      // all of them are
	usage, limit uint64
	fields       tcp.Fields // that all of them know
	// drops only grow: a socket that is closed takes nothing away.
	drops   uint64
	process pcommon.Map // what goes on each point of its process
	seen    bool        // since the last time that listeners were written
	written tcp.Fields  // of which there was a point
}

// listeners are those that were written last, and those that are next.
type listeners struct {
	all map[listening]*listener
	// dropped is how much each socket had dropped when it was last seen.
	dropped, droppedBefore map[tcp.Identity]uint64
}

func newListeners() listeners {
	return listeners{all: make(map[listening]*listener), dropped: make(map[tcp.Identity]uint64), droppedBefore: make(map[tcp.Identity]uint64)}
}

// AddListener adds a listening socket to those that the next System writes.
func (w *Writer) AddListener(c *table.Connection) {
	at := listening{holderOf(c), c.Local}
	l := w.listeners.all[at]
	if l == nil {
		l = &listener{listening: at, networkType: networkType(c.Local.Addr()), start: c.Start, isNew: true}
		w.listeners.all[at] = l
	}
	if !l.seen {
		l.seen, l.usage, l.limit, l.fields = true, 0, 0, c.Fields
	}
	l.usage += uint64(c.Sample.QueueLength)
	l.limit += uint64(c.Sample.QueueLimit)
	l.fields &= c.Fields
	l.isNew = l.isNew && c.IsNew
	if c.Start.Before(l.start) {
		l.start = c.Start
	}
	if c.Has(tcp.FieldDrops) {
		l.drops += c.Sample.Drops - min(c.Sample.Drops, w.listeners.droppedBefore[c.ID])
		w.listeners.dropped[c.ID] = c.Sample.Drops
	}
}

// writeListeners writes the listeners, a resource for each process. Those that are
// not there any more have one last point without a value; without complete, nobody
// knows which those are.
func (w *Writer) writeListeners(md pmetric.Metrics, complete bool, now time.Time) {
	sorted := slices.SortedFunc(maps.Values(w.listeners.all), func(a, b *listener) int {
		return cmp.Or(a.holder.compare(b.holder), a.local.Compare(b.local))
	})
	info := metadata.MetricsInfo
	var under destination
	var together []*listener
	write := func() {
		metrics := pmetric.NewMetricSlice()
		w.writeListening(metrics, info.TCPListenerQueueUsage.Name, together, tcp.FieldQueueLength, complete, now, func(l *listener) uint64 { return l.usage })
		w.writeListening(metrics, info.TCPListenerQueueLimit.Name, together, tcp.FieldQueueLimit, complete, now, func(l *listener) uint64 { return l.limit })
		w.writeListening(metrics, info.TCPListenerDrops.Name, together, tcp.FieldDrops, complete, now, func(l *listener) uint64 { return l.drops })
		if metrics.Len() > 0 {
			metrics.MoveAndAppendTo(w.scope(md, under.resource))
		}
		together = together[:0]
	}
	for h, its := range ofEachHolder(sorted, func(l *listener) holder { return l.holder }) {
		to, pass := w.destination(h)
		if !pass {
			continue
		}
		if under.key != to.key && len(together) > 0 {
			write()
		}
		under = to
		for _, l := range its {
			l.process = to.process
			together = append(together, l)
		}
	}
	if len(together) > 0 {
		write()
	}
	for at, l := range w.listeners.all {
		if !l.seen && complete {
			delete(w.listeners.all, at)
		}
		l.seen = false
	}
	if !complete {
		for id, n := range w.listeners.droppedBefore {
			w.listeners.dropped[id] = max(n, w.listeners.dropped[id])
		}
	}
	w.listeners.dropped, w.listeners.droppedBefore = w.listeners.droppedBefore, w.listeners.dropped
	clear(w.listeners.dropped)
}

func (w *Writer) writeListening(metrics pmetric.MetricSlice, name string, all []*listener, field tcp.Field, complete bool, now time.Time, value func(*listener) uint64) {
	prototype, enabled := w.prototypes[name]
	if !enabled {
		return
	}
	var m pmetric.Metric
	begun := false
	add := func(l *listener, at time.Time) pmetric.NumberDataPoint {
		if !begun {
			begun = true
			m = metrics.AppendEmpty()
			prototype.CopyTo(m)
		}
		dp := points(m).AppendEmpty()
		dp.SetStartTimestamp(startTime(l.start, at))
		dp.SetTimestamp(pcommon.NewTimestampFromTime(at))
		attrs := dp.Attributes()
		attrs.EnsureCapacity(4 + l.process.Len())
		attrs.PutStr("network.transport", metadata.AttributeNetworkTransportTCP.String())
		attrs.PutStr("network.type", l.networkType)
		attrs.PutStr("network.local.address", l.local.Addr().String())
		attrs.PutInt("network.local.port", int64(l.local.Port()))
		putAll(attrs, l.process)
		return dp
	}
	monotonic := prototype.Sum().IsMonotonic()
	for _, l := range all {
		switch {
		case !l.seen:
			if complete && l.written.Has(field) {
				add(l, now).SetFlags(ended)
			}
			continue
		case !l.fields.Has(field):
			continue
		}
		if birth := l.start.Add(afterCollection); monotonic && l.isNew && !l.written.Has(field) && value(l) > 0 && birth.Before(now) {
			add(l, birth).SetIntValue(0)
		}
		add(l, now).SetIntValue(int64(value(l)))
		l.written = l.written.With(field)
	}
}
