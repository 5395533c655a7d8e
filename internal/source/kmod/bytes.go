// SPDX-License-Identifier: Apache-2.0

package kmod

import (
	"encoding/binary"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// bytes works out the byte counters of d.socket. The kernel has 64-bit counters
// of what it sent, and 32-bit sequence numbers (RFC 9293 §3.4), in which our
// SYN and FIN and the peer's take one each.
func (d *Decoder) bytes(b []byte, valid uint32) {
	u32 := func(at int) uint32 { return binary.NativeEndian.Uint32(b[at:]) }
	u64 := func(at int) uint64 { return binary.NativeEndian.Uint64(b[at:]) }
	s := &d.socket

	s.BytesReceived = uint64(payload(u32(atIRS), u32(atRecvNxt), finReceived(s.State)))
	s.Fields, s.Low32 = s.Fields.With(tcp.FieldBytesReceived), s.Low32.With(tcp.FieldBytesReceived)

	if valid&validBytes == 0 {
		return
	}
	fresh := payload(u32(atISS), u32(atSendMax), u32(atFlags)&flagSentFin != 0)
	// In SACK recovery the default stack counts what it resends among what is
	// new (tcp_output of sys/netinet/tcp_output.c). So the sum of the two is taken
	// from the counters, and what was new from the sequence numbers, of which the
	// counters only tell how often they wrapped. RACK does not count segments.
	total := u64(atSentBytes) + u64(atRexmitBytes)
	resent := max(uint64(u32(atRexmits))*uint64(u32(atMaxseg)), u64(atRexmitBytes))
	d.sent(b, nearest(fresh, total-min(resent, total)))
}

// sent fills in the counters of what was sent, given how much was new.
func (d *Decoder) sent(b []byte, fresh uint64) {
	u32 := func(at int) uint32 { return binary.NativeEndian.Uint32(b[at:]) }
	s := &d.socket
	sentFin := u32(atFlags)&flagSentFin != 0
	low := payload(u32(atISS), u32(atSendMax), sentFin)
	acked := payload(u32(atISS), u32(atSendUna), sentFin && u32(atSendUna) == u32(atSendMax))

	s.PayloadOnly = true
	s.BytesSent = max(binary.NativeEndian.Uint64(b[atSentBytes:])+binary.NativeEndian.Uint64(b[atRexmitBytes:]), fresh)
	s.BytesRetransmitted = s.BytesSent - fresh
	s.BytesAcked = fresh - min(uint64(low-acked), fresh)
	s.Fields = s.Fields.With(tcp.FieldBytesSent).With(tcp.FieldBytesRetransmitted).With(tcp.FieldBytesAcked)
}

// payload is how many bytes lie between the number of a SYN and the next number,
// less a FIN.
func payload(initial, next uint32, fin bool) uint32 {
	n := next - initial
	if n > 0 {
		n-- // the SYN
	}
	if fin && n > 0 {
		n--
	}
	return n
}

// finReceived tells whether rcv_nxt has the peer's FIN. Of a closed connection
// nobody knows; most end by FINs.
func finReceived(s tcp.State) bool { return s.PeerFinReceived() || s == tcp.Closed }

// nearest returns the number nearest to estimate whose low 32 bits are low.
func nearest(low uint32, estimate uint64) uint64 {
	n := estimate + uint64(int64(int32(low-uint32(estimate))))
	if int64(n) < 0 && n > estimate {
		return uint64(low) // below 0
	}
	return n
}
