// SPDX-License-Identifier: Apache-2.0

//go:build linux

package readers

import (
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/net/bpf"

	"github.com/netpulse/tcpstatsreceiver/internal/capture"
	"github.com/netpulse/tcpstatsreceiver/internal/capture/filter"
	"github.com/netpulse/tcpstatsreceiver/internal/capture/packet"
)

// All returns the readers. Those that cannot read all interfaces at once read the one
// that is named.
func All(device string) []capture.Factory {
	return []capture.Factory{ringFactory(), socketFactory(), handleFactory(device)}
}

// base is what the readers have in common.
type base struct {
	name             string
	capabilities     capture.Capabilities
	delivered, bytes atomic.Uint64
	// seen and dropped are sums: the kernel's counters start again when they are read.
	seen, dropped atomic.Uint64
}

// Name implements capture.Engine.
func (b *base) Name() string { return b.name }

// Capabilities implements capture.Engine.
func (b *base) Capabilities() capture.Capabilities { return b.capabilities }

// counted returns visit with the counters of our own engines.
func (b *base) counted(visit func(*packet.Packet)) func(*packet.Packet) {
	return func(p *packet.Packet) {
		b.delivered.Add(1)
		b.bytes.Add(uint64(p.Length))
		visit(p)
	}
}

// stats adds what the kernel has counted since the last call.
func (b *base) stats(seen, dropped uint64) capture.Stats {
	return capture.Stats{
		Seen: b.seen.Add(seen), Dropped: b.dropped.Add(dropped),
		Delivered: b.delivered.Load(), Bytes: b.bytes.Load(),
	}
}

// forSocket is the filter of our own packet sockets.
func forSocket(ip []bpf.Instruction) ([]bpf.RawInstruction, error) {
	program, err := filter.ForSocket(ip)
	if err != nil {
		return nil, err
	}
	return assemble(program)
}

func assemble(program []bpf.Instruction) ([]bpf.RawInstruction, error) {
	raw, err := bpf.Assemble(program)
	if err != nil {
		return nil, fmt.Errorf("assemble the filter of packets: %w", err)
	}
	return raw, nil
}

// past is a deadline that ends reading at once.
func past() time.Time { return time.Unix(1, 0) }
