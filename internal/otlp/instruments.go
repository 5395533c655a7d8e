// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"time"

	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/table"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// instrument is one metric of connections.
type instrument struct {
	name      string
	series    []series
	hasState  bool // the connection's state is an attribute
	prototype pmetric.Metric
}

// series is one point of an instrument for each connection that knows it:
// of the three values one is set.
type series struct {
	key, value string // one more attribute, if key is not ""
	needs      tcp.Field
	always     bool // needs no field

	integer func(*tcp.Socket) uint64
	seconds func(*tcp.Socket) time.Duration
	age     func(c *table.Connection, now time.Time) time.Duration
}

// instruments lists every metric of connections.
func instruments() []instrument {
	info := metadata.MetricsInfo
	const direction = "network.io.direction"
	var (
		transmit = metadata.AttributeNetworkIoDirectionTransmit.String()
		receive  = metadata.AttributeNetworkIoDirectionReceive.String()
	)
	count := func(needs tcp.Field, value func(*tcp.Socket) uint64) []series {
		return []series{{needs: needs, integer: value}}
	}
	duration := func(needs tcp.Field, value func(*tcp.Socket) time.Duration) []series {
		return []series{{needs: needs, seconds: value}}
	}
	both := func(needsSend tcp.Field, send func(*tcp.Socket) uint64, needsReceive tcp.Field, received func(*tcp.Socket) uint64) []series {
		return []series{
			{key: direction, value: transmit, needs: needsSend, integer: send},
			{key: direction, value: receive, needs: needsReceive, integer: received},
		}
	}
	limitedBy := func(by metadata.AttributeTCPLimitedBy, value func(*tcp.Socket) time.Duration) series {
		return series{key: "tcp.limited_by", value: by.String(), needs: tcp.FieldBusyTime, seconds: value}
	}
	since := func(event metadata.AttributeTCPIdleEvent, needs tcp.Field, value func(*tcp.Socket) time.Duration) series {
		return series{key: "tcp.idle.event", value: event.String(), needs: needs, seconds: value}
	}

	return []instrument{
		{name: info.TCPConnectionRtt.Name, series: duration(tcp.FieldSmoothedRTT, func(s *tcp.Socket) time.Duration { return s.SmoothedRTT })},
		{name: info.TCPConnectionRttVariation.Name, series: duration(tcp.FieldRTTVariation, func(s *tcp.Socket) time.Duration { return s.RTTVariation })},
		{name: info.TCPConnectionRttMin.Name, series: duration(tcp.FieldMinRTT, func(s *tcp.Socket) time.Duration { return s.MinRTT })},
		{name: info.TCPConnectionRto.Name, series: duration(tcp.FieldRTO, func(s *tcp.Socket) time.Duration { return s.RTO })},
		{name: info.TCPConnectionCongestionWindow.Name, series: count(tcp.FieldCongestionWindow, func(s *tcp.Socket) uint64 { return s.CongestionWindow })},
		{name: info.TCPConnectionSlowStartThreshold.Name, series: count(tcp.FieldSlowStartThreshold, func(s *tcp.Socket) uint64 { return s.SlowStartThreshold })},
		{name: info.TCPConnectionMss.Name, series: both(
			tcp.FieldSendMSS, func(s *tcp.Socket) uint64 { return uint64(s.SendMSS) },
			tcp.FieldReceiveMSS, func(s *tcp.Socket) uint64 { return uint64(s.ReceiveMSS) })},
		{name: info.TCPConnectionIo.Name, series: both(
			tcp.FieldBytesSent, func(s *tcp.Socket) uint64 { return s.BytesSent },
			tcp.FieldBytesReceived, func(s *tcp.Socket) uint64 { return s.BytesReceived })},
		{name: info.TCPConnectionAcked.Name, series: count(tcp.FieldBytesAcked, func(s *tcp.Socket) uint64 { return s.BytesAcked })},
		{name: info.TCPConnectionRetransmitIo.Name, series: count(tcp.FieldBytesRetransmitted, func(s *tcp.Socket) uint64 { return s.BytesRetransmitted })},
		{name: info.TCPConnectionSegments.Name, series: both(
			tcp.FieldSegmentsSent, func(s *tcp.Socket) uint64 { return s.SegmentsSent },
			tcp.FieldSegmentsReceived, func(s *tcp.Socket) uint64 { return s.SegmentsReceived })},
		{name: info.TCPConnectionRetransmits.Name, series: count(tcp.FieldRetransmits, func(s *tcp.Socket) uint64 { return s.Retransmits })},
		{name: info.TCPConnectionSpuriousRetransmits.Name, series: count(tcp.FieldSpuriousRetransmits, func(s *tcp.Socket) uint64 { return s.SpuriousRetransmits })},
		{name: info.TCPConnectionTimeouts.Name, series: count(tcp.FieldTimeouts, func(s *tcp.Socket) uint64 { return s.Timeouts })},
		{name: info.TCPConnectionOutOfOrder.Name, series: count(tcp.FieldOutOfOrder, func(s *tcp.Socket) uint64 { return s.OutOfOrder })},
		{name: info.TCPConnectionLost.Name, series: count(tcp.FieldLost, func(s *tcp.Socket) uint64 { return uint64(s.Lost) })},
		{name: info.TCPConnectionDeliveryRate.Name, series: count(tcp.FieldDeliveryRate, func(s *tcp.Socket) uint64 { return s.DeliveryRate })},
		{name: info.TCPConnectionPacingRate.Name, series: count(tcp.FieldPacingRate, func(s *tcp.Socket) uint64 { return s.PacingRate })},
		{name: info.TCPConnectionWindow.Name, series: both(
			tcp.FieldSendWindow, func(s *tcp.Socket) uint64 { return uint64(s.SendWindow) },
			tcp.FieldReceiveWindow, func(s *tcp.Socket) uint64 { return uint64(s.ReceiveWindow) })},
		{name: info.TCPConnectionBufferUsage.Name, series: both(
			tcp.FieldSendBufferUsage, func(s *tcp.Socket) uint64 { return uint64(s.SendBufferUsage) },
			tcp.FieldReceiveBufferUsage, func(s *tcp.Socket) uint64 { return uint64(s.ReceiveBufferUsage) })},
		{name: info.TCPConnectionBufferLimit.Name, series: both(
			tcp.FieldSendBufferLimit, func(s *tcp.Socket) uint64 { return uint64(s.SendBufferLimit) },
			tcp.FieldReceiveBufferLimit, func(s *tcp.Socket) uint64 { return uint64(s.ReceiveBufferLimit) })},
		{name: info.TCPConnectionUnsent.Name, series: count(tcp.FieldUnsent, func(s *tcp.Socket) uint64 { return uint64(s.Unsent) })},
		{name: info.TCPConnectionTime.Name, series: []series{
			limitedBy(metadata.AttributeTCPLimitedByReceiver, func(s *tcp.Socket) time.Duration { return s.ReceiveWindowLimited }),
			limitedBy(metadata.AttributeTCPLimitedBySendBuffer, func(s *tcp.Socket) time.Duration { return s.SendBufferLimited }),
			limitedBy(metadata.AttributeTCPLimitedByNetwork, func(s *tcp.Socket) time.Duration {
				return max(0, s.BusyTime-s.ReceiveWindowLimited-s.SendBufferLimited)
			}),
		}},
		{name: info.TCPConnectionIdle.Name, series: []series{
			since(metadata.AttributeTCPIdleEventDataSent, tcp.FieldSinceDataSent, func(s *tcp.Socket) time.Duration { return s.SinceDataSent }),
			since(metadata.AttributeTCPIdleEventDataReceived, tcp.FieldSinceDataReceived, func(s *tcp.Socket) time.Duration { return s.SinceDataReceived }),
			since(metadata.AttributeTCPIdleEventAckReceived, tcp.FieldSinceACKReceived, func(s *tcp.Socket) time.Duration { return s.SinceACKReceived }),
		}},
		{name: info.TCPConnectionZeroWindows.Name, series: count(tcp.FieldZeroWindows, func(s *tcp.Socket) uint64 { return s.ZeroWindows })},
		{name: info.TCPConnectionEcnCe.Name, series: both(
			tcp.FieldDeliveredCE, func(s *tcp.Socket) uint64 { return s.DeliveredCE },
			tcp.FieldReceivedCE, func(s *tcp.Socket) uint64 { return s.ReceivedCE })},
		{name: info.TCPConnectionAge.Name, hasState: true, series: []series{{
			always: true,
			age: func(c *table.Connection, now time.Time) time.Duration {
				if c.Has(tcp.FieldAge) {
					return c.Sample.Age
				}
				return now.Sub(c.FirstSeen)
			},
		}}},
	}
}
