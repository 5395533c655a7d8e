// SPDX-License-Identifier: Apache-2.0

package tpacket

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/capture/packet"
)

// struct tpacket_block_desc of <linux/if_packet.h>.
const (
	blockStatus  = 8
	blockPackets = 12
	blockFirst   = 16
	blockLen     = 48
)

// struct tpacket3_hdr, and behind it struct sockaddr_ll.
const (
	headerNext        = 0
	headerSeconds     = 4
	headerNanoseconds = 8
	headerCaptured    = 12
	headerLength      = 16
	headerMAC         = 24
	headerLen         = 48
	addressInterface  = headerLen + 4
	addressType       = headerLen + 10
	addressLen        = 20
)

// outgoing is PACKET_OUTGOING, a packet of this host.
const outgoing = 4

// errBlock says that a block contradicts itself.
var errBlock = errors.New("malformed block of packets")

// walk visits the packets of a block and returns how many they were. p is reused.
func walk(block []byte, p *packet.Packet, visit func(*packet.Packet)) (n int, err error) {
	if len(block) < blockLen {
		return 0, fmt.Errorf("%w: %d bytes", errBlock, len(block))
	}
	total := binary.NativeEndian.Uint32(block[blockPackets:])
	at := uint64(binary.NativeEndian.Uint32(block[blockFirst:]))
	for i := range total {
		if at < blockLen || at+headerLen+addressLen > uint64(len(block)) {
			return n, fmt.Errorf("%w: packet %d of %d at byte %d of %d", errBlock, i, total, at, len(block))
		}
		header := block[at:]
		data := uint64(binary.NativeEndian.Uint16(header[headerMAC:]))
		captured := uint64(binary.NativeEndian.Uint32(header[headerCaptured:]))
		if data < headerLen || data+captured > uint64(len(header)) {
			return n, fmt.Errorf("%w: %d bytes of packet %d of %d at byte %d of %d", errBlock, captured, i, total, data, len(header))
		}
		p.Time = time.Unix(int64(binary.NativeEndian.Uint32(header[headerSeconds:])), int64(binary.NativeEndian.Uint32(header[headerNanoseconds:])))
		p.Interface = binary.NativeEndian.Uint32(header[addressInterface:])
		p.Direction = packet.Inbound
		if header[addressType] == outgoing {
			p.Direction = packet.Outbound
		}
		p.Data = header[data : data+captured : data+captured]
		p.Length = max(int(binary.NativeEndian.Uint32(header[headerLength:])), len(p.Data))
		visit(p)
		n++
		// A packet leads to the next one by its length, the last nowhere.
		next := uint64(binary.NativeEndian.Uint32(header[headerNext:]))
		if next == 0 && i+1 < total {
			return n, fmt.Errorf("%w: it ends after %d packets of %d", errBlock, i+1, total)
		}
		at += next
	}
	return n, nil
}
