package otlp

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/table"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// listener is what one process listens to at one address and port: one socket,
// or several that share it (SO_REUSEPORT), summed.
type listener struct {
	holder       holder
	local        netip.AddrPort
	networkType  string
	start        time.Time // of the oldest
	usage, limit uint64
	fields       tcp.Fields // that all of them know
}

// AddListener adds a listening socket to those that the next System writes.
func (w *Writer) AddListener(c *table.Connection) {
	w.listeners = append(w.listeners, listener{
		holder:      holderOf(c),
		local:       c.Local,
		networkType: networkType(c),
		start:       c.Start,
		usage:       uint64(c.Sample.QueueLength),
		limit:       uint64(c.Sample.QueueLimit),
		fields:      c.Fields,
	})
}

// writeListeners writes the listeners, a resource for each process, and forgets
// them.
func (w *Writer) writeListeners(md pmetric.Metrics, now time.Time) {
	slices.SortFunc(w.listeners, func(a, b listener) int {
		return cmp.Or(a.holder.compare(b.holder), a.local.Compare(b.local))
	})
	merged := w.listeners[:0]
	for _, l := range w.listeners {
		if n := len(merged); n > 0 && merged[n-1].holder == l.holder && merged[n-1].local == l.local {
			merged[n-1].usage += l.usage
			merged[n-1].limit += l.limit
			merged[n-1].fields &= l.fields
			if l.start.Before(merged[n-1].start) {
				merged[n-1].start = l.start
			}
			continue
		}
		merged = append(merged, l)
	}
	for h, its := range ofEachHolder(merged, func(l listener) holder { return l.holder }) {
		resource := w.resources.of(h.process, w.place(h.namespace))
		if !w.resources.pass(resource.Attributes()) {
			continue
		}
		metrics := pmetric.NewMetricSlice()
		w.writeQueue(metrics, metadata.MetricsInfo.TCPListenerQueueUsage.Name, its, tcp.FieldQueueLength, now, func(l *listener) uint64 { return l.usage })
		w.writeQueue(metrics, metadata.MetricsInfo.TCPListenerQueueLimit.Name, its, tcp.FieldQueueLimit, now, func(l *listener) uint64 { return l.limit })
		if metrics.Len() > 0 {
			metrics.MoveAndAppendTo(w.scope(md, resource))
		}
	}
	clear(w.listeners)
	w.listeners = w.listeners[:0]
}

func (w *Writer) writeQueue(metrics pmetric.MetricSlice, name string, listeners []listener, needs tcp.Field, now time.Time, value func(*listener) uint64) {
	known := func(l listener) bool { return l.fields.Has(needs) }
	prototype, enabled := w.prototypes[name]
	if !enabled || !slices.ContainsFunc(listeners, known) {
		return
	}
	m := metrics.AppendEmpty()
	prototype.CopyTo(m)
	for i := range listeners {
		l := &listeners[i]
		if !known(*l) {
			continue
		}
		dp := points(m).AppendEmpty()
		dp.SetStartTimestamp(startTime(l.start, now))
		dp.SetTimestamp(pcommon.NewTimestampFromTime(now))
		dp.SetIntValue(int64(value(l)))
		attrs := dp.Attributes()
		attrs.EnsureCapacity(4)
		attrs.PutStr("network.transport", metadata.AttributeNetworkTransportTCP.String())
		attrs.PutStr("network.type", l.networkType)
		attrs.PutStr("network.local.address", l.local.Addr().String())
		attrs.PutInt("network.local.port", int64(l.local.Port()))
	}
}
