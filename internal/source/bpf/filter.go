// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"net/netip"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// stateMask has bit n for Linux's state number n.
func stateMask(states []tcp.State) (mask uint32) {
	for n := range uint64(32) {
		state, ok := tcp.LinuxState(n)
		if !ok {
			continue
		}
		wanted := len(states) == 0
		for _, s := range states {
			wanted = wanted || s == state
		}
		if wanted {
			mask |= 1 << n
		}
	}
	return mask
}

// portBits has a bit for each port of the ranges.
func portBits(ranges []source.PortRange) (bits [1 << 16 / 64]uint64) {
	for _, r := range ranges {
		for port := uint32(r.First); port <= uint32(r.Last); port++ {
			bits[port/64] |= 1 << (port % 64)
		}
	}
	return bits
}

// prefixKey is a network as the program looks it up: struct prefix of
// program/sockets.bpf.c. IPv4 is told from IPv6 by the first 32 bits.
type prefixKey struct {
	Bits    uint32
	Family  uint32
	Address [16]byte
}

func prefixKeyOf(p netip.Prefix) (key prefixKey) {
	key.Bits = 32 + uint32(p.Bits())
	key.Family = familyIPv6
	if p.Addr().Is4() {
		key.Family = familyIPv4
	}
	copy(key.Address[:], p.Addr().AsSlice())
	return key
}
