// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"math/bits"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// ports is a set of ports.
type ports [1 << 16 / 64]uint64

func (p *ports) add(port uint16) { p[port/64] |= 1 << (port % 64) }

// count returns how many ports of a range are in the set.
func (p *ports) count(first, n uint64) (count uint64) {
	for i, word := range p {
		if word == 0 {
			continue
		}
		for at := uint64(i) * 64; word != 0; word &= word - 1 {
			if port := at + uint64(bits.TrailingZeros64(word)); port >= first && port-first < n {
				count++
			}
		}
	}
	return count
}

// countPorts counts the ephemeral ports that the sockets of a dump have, where
// their range is known.
func (e *Engine) countPorts(sp *space) {
	first, _ := sp.counters.Get(tcp.EphemeralPortFirst)
	if limit, ok := sp.counters.Get(tcp.EphemeralPortLimit); ok {
		sp.counters.Set(tcp.EphemeralPortUsage, e.ports.count(first, limit))
	}
}
