// SPDX-License-Identifier: Apache-2.0

package kmod

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/netpulse/tcpstatsreceiver/internal/netns"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// parseVnet decodes a struct tcpstats_vnet. Its counters have the layout of
// net.inet.tcp.stats, which host knows.
func parseVnet(b []byte, host Host) (source.Stack, error) {
	if len(b) < vnetLen {
		return source.Stack{}, fmt.Errorf("network stack of %d bytes, wants %d: %w", len(b), vnetLen, errTruncated)
	}
	name, _, _ := bytes.Cut(b[atVnetName:atVnetStates], []byte{0})
	stack := source.Stack{
		Place: netns.Place{
			Namespace: uint64(binary.NativeEndian.Uint32(b[atVnetJail:])),
			Name:      tcp.Name(name, len(name)),
		},
		Cookie: binary.NativeEndian.Uint64(b[atVnetBorn:]),
	}
	n := binary.NativeEndian.Uint32(b[atVnetStatsLen:])
	if n > vnetLen-atVnetStats {
		return source.Stack{}, fmt.Errorf("counters of %d bytes in a network stack of %d: %w", n, vnetLen, errLayout)
	}
	stack.Counters, stack.States, stack.Err = host.CountersOf(b[atVnetStats:atVnetStats+n], b[atVnetStates:atVnetStates+8*int(tcp.NumStates)])
	return stack, nil
}
