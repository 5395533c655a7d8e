// SPDX-License-Identifier: Apache-2.0

package sockdiag

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// Lengths of struct tcp_info of <linux/tcp.h> as it grew, each after the last
// member that came with it. A kernel's struct may end after any of them.
const (
	infoLenTotalRetrans = 104 // 2.6.x
	infoLenPacingRate   = 120 // 3.15
	infoLenBytes        = 136 // 4.1
	infoLenSegments     = 144 // 4.2
	infoLenMinRTT       = 160 // 4.6: notsent_bytes, min_rtt, data_segs_*
	infoLenDeliveryRate = 168 // 4.9
	infoLenLimited      = 192 // 4.10: busy_time, rwnd_limited, sndbuf_limited
	infoLenDeliveredCE  = 200 // 4.18
	infoLenBytesSent    = 216 // 4.19: bytes_sent, bytes_retrans
	infoLenDSACK        = 224 // 4.19: dsack_dups, reord_seen
	infoLenOutOfOrder   = 228 // 5.4
	infoLenSendWindow   = 232 // 5.4
	infoLenRecvWindow   = 236 // 6.2
	infoLenTotalRTO     = 242 // 6.7
	infoLenReceivedCE   = 252 // 6.18
)

// infoInfinite is TCP_INFINITE_SSTHRESH of <net/tcp.h>: slow start has not
// ended yet.
const infoInfinite = 0x7fffffff

// Bits of tcpi_options, TCPI_OPT_* of <linux/tcp.h>.
const (
	infoOptions       = 5
	infoOptionSACK    = 1 << 1
	infoOptionSYNData = 1 << 5
)

// ownFIN is what the tcp_info of a destroyed socket, of which sendQueue bytes were
// outstanding, shows of our FIN.
//
// tcpi_delivered counts segments that arrived, each once, with the SYN and, if it had a
// segment of its own, the FIN; tcpi_data_segs_out those with payload, each time
// that they were sent. The FIN is sent with payload if that waits to be sent (tcp_send_fin).
// Without SACK the kernel guesses what was delivered, and a SYN with payload counts
// twice.
func ownFIN(b []byte, sendQueue uint32) tcp.OwnFIN {
	if len(b) < infoLenDeliveredCE || sendQueue != 0 || b[infoOptions]&(infoOptionSACK|infoOptionSYNData) != infoOptionSACK {
		return tcp.UnknownFIN
	}
	delivered, dataSegments := binary.NativeEndian.Uint32(b[192:]), binary.NativeEndian.Uint32(b[156:])
	switch delivered - dataSegments {
	case 2:
		return tcp.FINAcked
	case 1:
		if dataSegments == 0 {
			return tcp.NoFIN
		}
	}
	return tcp.UnknownFIN
}

// outstanding is the least that can be in the send queue of an established
// connection: a byte for each segment on its way, and what is not sent. The kernel
// fills in tcp_info with the socket locked, a moment after it has read the length of
// the queue without (net/ipv4/inet_diag.c inet_sk_diag_fill): what was sent between
// the two is in the one and not in the other.
func outstanding(b []byte) uint32 {
	if len(b) < infoLenMinRTT {
		return 0
	}
	return binary.NativeEndian.Uint32(b[24:]) + binary.NativeEndian.Uint32(b[144:])
}

// info decodes as much of a tcp_info as there is into s and returns which
// fields that gave. Times are in µs unless said otherwise. A value that the
// kernel has not measured yet is left absent.
func info(s *tcp.Socket, b []byte) (fields tcp.Fields) {
	u32 := func(at int) uint32 { return binary.NativeEndian.Uint32(b[at:]) }
	u64 := func(at int) uint64 { return binary.NativeEndian.Uint64(b[at:]) }
	micros := func(v uint64) time.Duration {
		return time.Duration(min(v, math.MaxInt64/1000)) * time.Microsecond
	}
	millis := func(at int) time.Duration { return time.Duration(u32(at)) * time.Millisecond }

	if len(b) < infoLenTotalRetrans {
		return fields
	}
	sendMSS, congestionWindow := u32(16), u32(80)
	s.RTO = micros(uint64(u32(8)))
	s.SendMSS = sendMSS
	s.ReceiveMSS = u32(20)
	s.Lost = u32(32)
	s.CongestionWindow = uint64(congestionWindow) * uint64(sendMSS)
	s.Retransmits = uint64(u32(100))
	fields = fields.With(tcp.FieldRTO).With(tcp.FieldSendMSS).With(tcp.FieldReceiveMSS).With(tcp.FieldLost).With(tcp.FieldCongestionWindow).With(tcp.FieldRetransmits)
	if rtt := u32(68); rtt != 0 {
		s.SmoothedRTT = micros(uint64(rtt))
		s.RTTVariation = micros(uint64(u32(72)))
		fields = fields.With(tcp.FieldSmoothedRTT).With(tcp.FieldRTTVariation)
	}
	if ssthresh := u32(76); ssthresh < infoInfinite {
		s.SlowStartThreshold = uint64(ssthresh) * uint64(sendMSS)
		fields = fields.With(tcp.FieldSlowStartThreshold)
	}
	// Before the handshake is through, the kernel counts these from its own boot, and
	// some of them after tcp_disconnect. A notice does not say that in its state.
	handshaken := s.State != tcp.SynSent && s.State != tcp.SynReceived
	if s.State == tcp.Closed {
		handshaken = b[infoOptions] != 0 || fields.Has(tcp.FieldSmoothedRTT) || len(b) >= infoLenBytes && u64(120) != 0
	}
	if handshaken {
		s.SinceDataSent = millis(44)
		s.SinceDataReceived = millis(52)
		s.SinceACKReceived = millis(56)
		fields = fields.With(tcp.FieldSinceDataSent).With(tcp.FieldSinceDataReceived).With(tcp.FieldSinceACKReceived)
	}

	if len(b) < infoLenPacingRate {
		return fields
	}
	if rate := u64(104); rate != math.MaxUint64 {
		s.PacingRate = rate
		fields = fields.With(tcp.FieldPacingRate)
	}
	if len(b) < infoLenBytes {
		return fields
	}
	s.BytesAcked, s.BytesReceived = u64(120), u64(128)
	// The kernel counts a FIN as one byte.
	if s.State.OwnFinAcked() && s.BytesAcked > 0 {
		s.BytesAcked--
	}
	if s.State.PeerFinReceived() && s.BytesReceived > 0 {
		s.BytesReceived--
	}
	fields = fields.With(tcp.FieldBytesAcked).With(tcp.FieldBytesReceived)
	if len(b) < infoLenSegments {
		return fields
	}
	s.SegmentsSent, s.SegmentsReceived = uint64(u32(136)), uint64(u32(140))
	fields = fields.With(tcp.FieldSegmentsSent).With(tcp.FieldSegmentsReceived)
	if len(b) < infoLenMinRTT {
		return fields
	}
	s.Unsent = u32(144)
	fields = fields.With(tcp.FieldUnsent)
	if rtt := u32(148); rtt != math.MaxUint32 && fields.Has(tcp.FieldSmoothedRTT) {
		s.MinRTT = micros(uint64(rtt))
		fields = fields.With(tcp.FieldMinRTT)
	}
	if len(b) < infoLenDeliveryRate {
		return fields
	}
	if rate := u64(160); rate != 0 {
		s.DeliveryRate = rate
		fields = fields.With(tcp.FieldDeliveryRate)
	}
	if len(b) < infoLenLimited {
		return fields
	}
	s.BusyTime, s.ReceiveWindowLimited, s.SendBufferLimited = micros(u64(168)), micros(u64(176)), micros(u64(184))
	fields = fields.With(tcp.FieldBusyTime).With(tcp.FieldReceiveWindowLimited).With(tcp.FieldSendBufferLimited)
	if len(b) < infoLenDeliveredCE {
		return fields
	}
	s.DeliveredCE = uint64(u32(196))
	fields = fields.With(tcp.FieldDeliveredCE)
	if len(b) < infoLenBytesSent {
		return fields
	}
	s.BytesSent, s.BytesRetransmitted = u64(200), u64(208)
	fields = fields.With(tcp.FieldBytesSent).With(tcp.FieldBytesRetransmitted)
	if len(b) < infoLenDSACK {
		return fields
	}
	s.SpuriousRetransmits = uint64(u32(216))
	fields = fields.With(tcp.FieldSpuriousRetransmits)
	if len(b) < infoLenOutOfOrder {
		return fields
	}
	s.OutOfOrder = uint64(u32(224))
	fields = fields.With(tcp.FieldOutOfOrder)
	if len(b) < infoLenSendWindow {
		return fields
	}
	s.SendWindow = u32(228)
	fields = fields.With(tcp.FieldSendWindow)
	if len(b) < infoLenRecvWindow {
		return fields
	}
	s.ReceiveWindow = u32(232)
	fields = fields.With(tcp.FieldReceiveWindow)
	if len(b) < infoLenTotalRTO {
		return fields
	}
	s.Timeouts = uint64(binary.NativeEndian.Uint16(b[240:]))
	fields = fields.With(tcp.FieldTimeouts)
	if len(b) < infoLenReceivedCE {
		return fields
	}
	s.ReceivedCE = uint64(u32(248))
	fields = fields.With(tcp.FieldReceivedCE)
	return fields
}
