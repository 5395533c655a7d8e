package kmod

import (
	"encoding/binary"
	"math"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// bytes works out the byte counters of d.socket. The kernel has 64-bit counters
// of what it sent, and 32-bit sequence numbers (RFC 9293 §3.4), in which our
// SYN and FIN and the peer's take one each.
func (d *Decoder) bytes(b []byte, valid uint32) {
	u32 := func(at int) uint32 { return binary.NativeEndian.Uint32(b[at:]) }
	u64 := func(at int) uint64 { return binary.NativeEndian.Uint64(b[at:]) }
	s := &d.socket

	s.BytesReceived = d.received.total(s.ID, payload(u32(atIRS), u32(atRecvNxt), finReceived(s.State)))
	s.Fields = s.Fields.With(tcp.FieldBytesReceived)

	if valid&validBytes == 0 {
		return
	}
	sentFin := u32(atFlags)&flagSentFin != 0
	ackedAll := u32(atSendUna) == u32(atSendMax)
	fresh := payload(u32(atISS), u32(atSendMax), sentFin)
	acked := payload(u32(atISS), u32(atSendUna), sentFin && ackedAll)
	total := u64(atSentBytes) + u64(atRexmitBytes)

	// In SACK recovery the default stack counts what it resends among what is
	// new (tcp_output of sys/netinet/tcp_output.c). So the sum of the two is taken
	// from the counters, and what was new from the sequence numbers, of which the
	// counters only tell how often they wrapped. RACK does not count segments.
	resent := max(uint64(u32(atRexmits))*uint64(u32(atMaxseg)), u64(atRexmitBytes))
	sent := nearest(fresh, total-min(resent, total))
	s.BytesSent = max(total, sent)
	s.BytesRetransmitted = s.BytesSent - sent
	s.BytesAcked = sent - min(uint64(fresh-acked), sent)
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

// keepFrom is from how many bytes on a counter is remembered. Less than that,
// it is told from one that wrapped by its not being remembered.
const keepFrom = 1 << 28

// maxFall is by how much a counter may seem to fall, as by the FIN that is taken
// off when its connection is reset, and not be thought to have wrapped.
const maxFall = uint32(1 << 16)

// unwrapper makes 64-bit counters of 32-bit ones. What grows by 15/16 of 4 GiB
// or more from one walk to the next is not seen to have wrapped.
type unwrapper struct {
	last  map[tcp.Identity]lastCount
	pass  uint32
	stale int // of last, those that this pass has not had
}

type lastCount struct {
	total uint64
	pass  uint32
}

func newUnwrapper() unwrapper { return unwrapper{last: make(map[tcp.Identity]lastCount)} }

// begin starts a walk.
func (u *unwrapper) begin() {
	u.pass++
	u.stale = len(u.last)
}

// total returns the counter of a connection, of which low are the lowest bits.
func (u *unwrapper) total(id tcp.Identity, low uint32) uint64 {
	if low < keepFrom && len(u.last) == 0 {
		return uint64(low)
	}
	last, ok := u.last[id]
	if !ok && low < keepFrom {
		return uint64(low)
	}
	total := uint64(low)
	if ok {
		if last.pass != u.pass {
			u.stale--
		}
		total = last.total
		if grown := low - uint32(last.total); grown <= math.MaxUint32-maxFall {
			total += uint64(grown)
		}
	}
	u.last[id] = lastCount{total, u.pass}
	return total
}

// end ends a complete walk: connections that it did not have are forgotten.
func (u *unwrapper) end() {
	if u.stale == 0 {
		return
	}
	for id, last := range u.last {
		if last.pass != u.pass {
			delete(u.last, id)
		}
	}
}
