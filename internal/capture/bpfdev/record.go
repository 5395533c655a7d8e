// SPDX-License-Identifier: Apache-2.0

package bpfdev

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/capture/packet"
)

// struct bpf_hdr of <net/bpf.h> on 64-bit machines: a struct timeval, two lengths,
// and where the packet begins.
const (
	headerSeconds      = 0
	headerMicroseconds = 8
	headerCaptured     = 16
	headerLength       = 20
	headerSize         = 24
	headerLen          = 26
	// Records begin at multiples of that: BPF_ALIGNMENT.
	alignment = 8
)

// errRecord says that what was read contradicts itself.
var errRecord = errors.New("malformed record of a packet")

// walk visits the packets of one read and returns how many they were. p is reused:
// its Interface and Link are the caller's.
func walk(b []byte, p *packet.Packet, visit func(*packet.Packet)) (n int, err error) {
	for len(b) > 0 {
		if len(b) < headerLen {
			return n, fmt.Errorf("%w: %d bytes left", errRecord, len(b))
		}
		captured := uint64(binary.NativeEndian.Uint32(b[headerCaptured:]))
		start := uint64(binary.NativeEndian.Uint16(b[headerSize:]))
		if start < headerLen || start+captured > uint64(len(b)) {
			return n, fmt.Errorf("%w: %d bytes at byte %d of %d", errRecord, captured, start, len(b))
		}
		seconds, microseconds := binary.NativeEndian.Uint64(b[headerSeconds:]), binary.NativeEndian.Uint64(b[headerMicroseconds:])
		p.Time = time.Unix(int64(seconds), int64(microseconds%1_000_000)*int64(time.Microsecond))
		p.Data = b[start : start+captured : start+captured]
		p.Length = max(int(binary.NativeEndian.Uint32(b[headerLength:])), len(p.Data))
		visit(p)
		n++
		b = b[min((start+captured+alignment-1)&^(alignment-1), uint64(len(b))):]
	}
	return n, nil
}

// Kinds of links, of <net/dlt.h>.
const (
	dltNull     = 0
	dltEthernet = 1
	dltRaw      = 12
	dltLoop     = 108 // as dltNull, in network order; the value is not used
)

// linkOf returns what packets of a kind of link begin with; ok is false if
// that is not supported.
func linkOf(dlt uint32) (link packet.Link, ok bool) {
	switch dlt {
	case dltNull, dltLoop:
		return packet.Null, true
	case dltEthernet:
		return packet.Ethernet, true
	case dltRaw:
		return packet.Raw, true
	}
	return 0, false
}
