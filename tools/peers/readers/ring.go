// SPDX-License-Identifier: Apache-2.0

//go:build linux

package readers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gopacket/gopacket/afpacket"

	"github.com/netpulse/tcpstatsreceiver/internal/capture"
	"github.com/netpulse/tcpstatsreceiver/internal/capture/packet"
)

// The ring has the size and the timeout of our own tpacket_v3.
const (
	ringFrame   = 2 << 10
	ringBlock   = 128 << 10
	ringBlocks  = 4
	ringTimeout = 50 * time.Millisecond
	// ringPoll is how late the reader may notice that it is to end.
	ringPoll = 100 * time.Millisecond
)

// ring reads with gopacket's afpacket: TPACKET_V3, without copies.
type ring struct {
	base
	*afpacket.TPacket
}

func ringFactory() capture.Factory {
	const (
		name         = "gopacket afpacket"
		capabilities = capture.KernelFilter | capture.ZeroCopy | capture.Timestamps
	)
	open := func(_ context.Context, options capture.Options) (capture.Engine, error) {
		program, err := forSocket(options.Filter)
		if err != nil {
			return nil, err
		}
		t, err := afpacket.NewTPacket(afpacket.TPacketVersion3, afpacket.SocketDgram,
			afpacket.OptFrameSize(ringFrame), afpacket.OptBlockSize(ringBlock), afpacket.OptNumBlocks(ringBlocks),
			afpacket.OptBlockTimeout(ringTimeout), afpacket.OptPollTimeout(ringPoll))
		if err != nil {
			return nil, fmt.Errorf("make a ring of packets: %w", err)
		}
		if err := t.SetBPF(program); err != nil {
			t.Close()
			return nil, fmt.Errorf("attach the filter to a packet socket: %w", err)
		}
		return &ring{base: base{name: name, capabilities: capabilities}, TPacket: t}, nil
	}
	return capture.Factory{Name: name, Capabilities: capabilities, Open: open}
}

// Run implements capture.Engine.
func (r *ring) Run(ctx context.Context, visit func(*packet.Packet)) error {
	visit = r.counted(visit)
	var p packet.Packet
	for ctx.Err() == nil {
		data, info, err := r.ZeroCopyReadPacketData()
		if errors.Is(err, afpacket.ErrTimeout) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read packets: %w", err)
		}
		p.Time, p.Interface = info.Timestamp, uint32(info.InterfaceIndex)
		p.Length, p.Data = info.Length, data
		visit(&p)
	}
	return nil
}

// Stats implements capture.Engine.
func (r *ring) Stats() capture.Stats {
	_, stats, err := r.SocketStats() // sums, not what is new
	if err != nil {
		return r.stats(0, 0)
	}
	return capture.Stats{
		Seen: uint64(stats.Packets()), Dropped: uint64(stats.Drops()),
		Delivered: r.delivered.Load(), Bytes: r.bytes.Load(),
	}
}

// Close implements capture.Engine.
func (r *ring) Close() error {
	r.TPacket.Close()
	return nil
}
