// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"context"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.uber.org/zap"

	"github.com/netpulse/tcpstatsreceiver/internal/beneath"
	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
)

// beneathParts returns the parts of which a metric is enabled.
func beneathParts(cfg *metadata.MetricsConfig) (want beneath.Parts) {
	for part, enabled := range map[beneath.Parts]bool{
		beneath.Tracking:   cfg.SystemNetworkConntrackLimit.Enabled || cfg.SystemNetworkConntrackUsage.Enabled,
		beneath.Interfaces: cfg.SystemNetworkErrors.Enabled || cfg.SystemNetworkPacketDropped.Enabled,
		beneath.Queues: cfg.SystemNetworkSoftnetDrops.Enabled || cfg.SystemNetworkSoftnetSqueezes.Enabled ||
			cfg.SystemNetworkNetisrPackets.Enabled || cfg.SystemNetworkNetisrDrops.Enabled || cfg.SystemNetworkNetisrQueueUsage.Enabled ||
			cfg.SystemNetworkNetisrQueueWatermark.Enabled || cfg.SystemNetworkNetisrQueueLimit.Enabled,
		beneath.Protocols: cfg.SystemNetworkIcmpErrors.Enabled || cfg.SystemNetworkIcmpMessages.Enabled || cfg.SystemNetworkIcmpUnreachables.Enabled ||
			cfg.SystemNetworkIPDrops.Enabled || cfg.SystemNetworkIPFragmentationFailures.Enabled || cfg.SystemNetworkIPNoRoutes.Enabled ||
			cfg.SystemNetworkIPPackets.Enabled || cfg.SystemNetworkIPReassemblyFailures.Enabled ||
			cfg.SystemNetworkUDPDatagrams.Enabled || cfg.SystemNetworkUDPErrors.Enabled,
		beneath.Memory: cfg.SystemNetworkMbufUsage.Enabled || cfg.SystemNetworkMbufLimit.Enabled ||
			cfg.SystemNetworkMbufDenied.Enabled || cfg.SystemNetworkMbufDelayed.Enabled,
		beneath.Routing:  cfg.SystemNetworkRouteCount.Enabled || cfg.SystemNetworkRouteNexthopCount.Enabled,
		beneath.Captures: cfg.SystemNetworkBpfPackets.Enabled || cfg.SystemNetworkBpfDrops.Enabled,
	} {
		if enabled {
			want |= part
		}
	}
	return want
}

// sendBeneath reads and sends what the host counts beneath TCP. It is read when it
// is sent: nobody waits for it under the engine's lock.
func (m *Metrics) sendBeneath(ctx context.Context) error {
	numbers, err := m.cfg.Beneath(ctx, m.wantsBeneath)
	if err != nil && !m.beneathFailed {
		m.cfg.Receiver.Logger.Warn("some of what the host counts beneath TCP cannot be read", zap.Error(err))
	}
	m.beneathFailed = err != nil
	return m.consume(ctx, m.writer.Beneath(&numbers, time.Now()))
}

// families are the versions of IP; what is of both together has none.
var families = [beneath.NumFamilies]metadata.AttributeNetworkType{
	beneath.IPv4: metadata.AttributeNetworkTypeIpv4, beneath.IPv6: metadata.AttributeNetworkTypeIpv6,
}

// familyRecorder records a number of a version of IP.
type familyRecorder func(mb *builder, ts pcommon.Timestamp, v int64, family metadata.AttributeNetworkType)

// received and sent record a metric by direction.
func received(record func(*builder, pcommon.Timestamp, int64, metadata.AttributeNetworkIoDirection, metadata.AttributeNetworkType)) familyRecorder {
	return func(mb *builder, ts pcommon.Timestamp, v int64, family metadata.AttributeNetworkType) {
		record(mb, ts, v, metadata.AttributeNetworkIoDirectionReceive, family)
	}
}

func sent(record func(*builder, pcommon.Timestamp, int64, metadata.AttributeNetworkIoDirection, metadata.AttributeNetworkType)) familyRecorder {
	return func(mb *builder, ts pcommon.Timestamp, v int64, family metadata.AttributeNetworkType) {
		record(mb, ts, v, metadata.AttributeNetworkIoDirectionTransmit, family)
	}
}

// udpFamily is the version of IP of UDP, which not every system counts apart.
func udpFamily(family metadata.AttributeNetworkType) []metadata.MetricAttributeOption {
	if family == 0 {
		return nil
	}
	return []metadata.MetricAttributeOption{metadata.WithUDPNetworkTypeMetricAttribute(family.String())}
}

func datagrams(direction metadata.AttributeNetworkIoDirection) familyRecorder {
	return func(mb *builder, ts pcommon.Timestamp, v int64, family metadata.AttributeNetworkType) {
		mb.RecordSystemNetworkUDPDatagramsDataPoint(ts, v, direction, udpFamily(family)...)
	}
}

func udpError(reason string) familyRecorder {
	return func(mb *builder, ts pcommon.Timestamp, v int64, family metadata.AttributeNetworkType) {
		mb.RecordSystemNetworkUDPErrorsDataPoint(ts, v, reason, udpFamily(family)...)
	}
}

var beneathRecorders = [beneath.NumNumbers]familyRecorder{
	beneath.UDPReceived:              datagrams(metadata.AttributeNetworkIoDirectionReceive),
	beneath.UDPSent:                  datagrams(metadata.AttributeNetworkIoDirectionTransmit),
	beneath.UDPNoPort:                udpError("no_port"),
	beneath.UDPReceiveBuffer:         udpError("receive_buffer"),
	beneath.UDPSendBuffer:            udpError("send_buffer"),
	beneath.UDPChecksum:              udpError("checksum"),
	beneath.IPReceived:               received((*builder).RecordSystemNetworkIPPacketsDataPoint),
	beneath.IPSent:                   sent((*builder).RecordSystemNetworkIPPacketsDataPoint),
	beneath.IPReceiveDrops:           received((*builder).RecordSystemNetworkIPDropsDataPoint),
	beneath.IPSendDrops:              sent((*builder).RecordSystemNetworkIPDropsDataPoint),
	beneath.IPNoRoutes:               (*builder).RecordSystemNetworkIPNoRoutesDataPoint,
	beneath.IPFragmentationFailures:  (*builder).RecordSystemNetworkIPFragmentationFailuresDataPoint,
	beneath.IPReassemblyFailures:     (*builder).RecordSystemNetworkIPReassemblyFailuresDataPoint,
	beneath.ICMPReceived:             received((*builder).RecordSystemNetworkIcmpMessagesDataPoint),
	beneath.ICMPSent:                 sent((*builder).RecordSystemNetworkIcmpMessagesDataPoint),
	beneath.ICMPReceiveErrors:        received((*builder).RecordSystemNetworkIcmpErrorsDataPoint),
	beneath.ICMPSendErrors:           sent((*builder).RecordSystemNetworkIcmpErrorsDataPoint),
	beneath.ICMPUnreachablesReceived: received((*builder).RecordSystemNetworkIcmpUnreachablesDataPoint),
	beneath.ICMPUnreachablesSent:     sent((*builder).RecordSystemNetworkIcmpUnreachablesDataPoint),
}

// Beneath returns what the host counts beneath TCP.
func (w *Writer) Beneath(n *beneath.Numbers, now time.Time) pmetric.Metrics {
	ts := pcommon.NewTimestampFromTime(now)
	for family, name := range families {
		for number, record := range beneathRecorders {
			if v, ok := n.Get(beneath.Family(family), beneath.Number(number)); ok {
				record(w.system, ts, int64(v), name)
			}
		}
	}
	if n.Softnet != nil {
		w.system.RecordSystemNetworkSoftnetDropsDataPoint(ts, int64(n.Softnet.Drops))
		if n.Softnet.HasSqueezes {
			w.system.RecordSystemNetworkSoftnetSqueezesDataPoint(ts, int64(n.Softnet.Squeezes))
		}
	}
	if n.Conntrack != nil {
		w.system.RecordSystemNetworkConntrackUsageDataPoint(ts, int64(n.Conntrack.Usage))
		w.system.RecordSystemNetworkConntrackLimitDataPoint(ts, int64(n.Conntrack.Limit))
	}
	for i := range n.Interfaces {
		in := &n.Interfaces[i]
		for d, direction := range [...]metadata.AttributeNetworkIoDirection{metadata.AttributeNetworkIoDirectionReceive, metadata.AttributeNetworkIoDirectionTransmit} {
			w.system.RecordSystemNetworkErrorsDataPoint(ts, int64(in.Errors[d]), in.Name, direction)
			w.system.RecordSystemNetworkPacketDroppedDataPoint(ts, int64(in.Drops[d]), in.Name, direction)
		}
	}
	w.beneathFreeBSD(n, ts)
	return w.system.Emit()
}

// beneathFreeBSD writes what only FreeBSD counts.
func (w *Writer) beneathFreeBSD(n *beneath.Numbers, ts pcommon.Timestamp) {
	for i := range n.NetISR {
		p := &n.NetISR[i]
		w.system.RecordSystemNetworkNetisrPacketsDataPoint(ts, int64(p.Handled), p.Protocol)
		w.system.RecordSystemNetworkNetisrDropsDataPoint(ts, int64(p.Drops), p.Protocol)
		w.system.RecordSystemNetworkNetisrQueueUsageDataPoint(ts, int64(p.Longest), p.Protocol)
		w.system.RecordSystemNetworkNetisrQueueWatermarkDataPoint(ts, int64(p.Watermark), p.Protocol)
		w.system.RecordSystemNetworkNetisrQueueLimitDataPoint(ts, int64(p.Limit), p.Protocol)
	}
	for i := range n.Mbufs {
		z := &n.Mbufs[i]
		w.system.RecordSystemNetworkMbufUsageDataPoint(ts, int64(z.Usage), z.Name)
		if z.Limit > 0 {
			w.system.RecordSystemNetworkMbufLimitDataPoint(ts, int64(z.Limit), z.Name)
		}
		w.system.RecordSystemNetworkMbufDeniedDataPoint(ts, int64(z.Denied), z.Name)
		w.system.RecordSystemNetworkMbufDelayedDataPoint(ts, int64(z.Delayed), z.Name)
	}
	for i := range n.Devices {
		d := &n.Devices[i]
		w.system.RecordSystemNetworkBpfPacketsDataPoint(ts, int64(d.Received), int64(d.PID), d.Interface)
		w.system.RecordSystemNetworkBpfDropsDataPoint(ts, int64(d.Dropped), int64(d.PID), d.Interface)
	}
	if n.Routes != nil {
		w.system.RecordSystemNetworkRouteCountDataPoint(ts, int64(n.Routes.Routes))
		w.system.RecordSystemNetworkRouteNexthopCountDataPoint(ts, int64(n.Routes.Nexthops))
	}
}
