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

// wantsBeneath reports whether a metric of what lies beneath TCP is enabled.
func wantsBeneath(cfg *metadata.MetricsConfig) bool {
	return cfg.SystemNetworkConntrackLimit.Enabled || cfg.SystemNetworkConntrackUsage.Enabled ||
		cfg.SystemNetworkErrors.Enabled || cfg.SystemNetworkPacketDropped.Enabled ||
		cfg.SystemNetworkSoftnetDrops.Enabled || cfg.SystemNetworkSoftnetSqueezes.Enabled ||
		cfg.SystemNetworkIcmpErrors.Enabled || cfg.SystemNetworkIcmpMessages.Enabled || cfg.SystemNetworkIcmpUnreachables.Enabled ||
		cfg.SystemNetworkIPDrops.Enabled || cfg.SystemNetworkIPFragmentationFailures.Enabled || cfg.SystemNetworkIPNoRoutes.Enabled ||
		cfg.SystemNetworkIPPackets.Enabled || cfg.SystemNetworkIPReassemblyFailures.Enabled ||
		cfg.SystemNetworkUDPDatagrams.Enabled || cfg.SystemNetworkUDPErrors.Enabled
}

// sendBeneath reads and sends what the host counts beneath TCP. It is read when it
// is sent: nobody waits for it under the engine's lock.
func (m *Metrics) sendBeneath(ctx context.Context) error {
	numbers, err := m.cfg.Beneath()
	if err != nil && !m.beneathFailed {
		m.cfg.Receiver.Logger.Warn("some of what the host counts beneath TCP cannot be read", zap.Error(err))
	}
	m.beneathFailed = err != nil
	return m.consume(ctx, m.writer.Beneath(&numbers, time.Now()))
}

// familyRecorder records a number of one version of IP.
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

func udpError(reason string) familyRecorder {
	return func(mb *builder, ts pcommon.Timestamp, v int64, family metadata.AttributeNetworkType) {
		mb.RecordSystemNetworkUDPErrorsDataPoint(ts, v, family, reason)
	}
}

var beneathRecorders = [beneath.NumNumbers]familyRecorder{
	beneath.UDPReceived:              received((*builder).RecordSystemNetworkUDPDatagramsDataPoint),
	beneath.UDPSent:                  sent((*builder).RecordSystemNetworkUDPDatagramsDataPoint),
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
	for family, name := range [beneath.NumFamilies]metadata.AttributeNetworkType{metadata.AttributeNetworkTypeIpv4, metadata.AttributeNetworkTypeIpv6} {
		for number, record := range beneathRecorders {
			if v, ok := n.Get(beneath.Family(family), beneath.Number(number)); ok {
				record(w.system, ts, int64(v), name)
			}
		}
	}
	if n.Softnet != nil {
		w.system.RecordSystemNetworkSoftnetDropsDataPoint(ts, int64(n.Softnet.Drops))
		w.system.RecordSystemNetworkSoftnetSqueezesDataPoint(ts, int64(n.Softnet.Squeezes))
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
	return w.system.Emit()
}
