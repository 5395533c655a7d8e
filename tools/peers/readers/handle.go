// SPDX-License-Identifier: Apache-2.0

//go:build linux

package readers

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/gopacket/gopacket/pcapgo"
	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/capture"
	"github.com/netpulse/tcpstatsreceiver/internal/capture/filter"
	"github.com/netpulse/tcpstatsreceiver/internal/capture/packet"
)

// handle reads with gopacket's pcapgo: one packet of one interface a call.
type handle struct {
	base
	*pcapgo.EthernetHandle
}

func handleFactory(device string) capture.Factory {
	const (
		name         = "gopacket pcapgo"
		capabilities = capture.KernelFilter | capture.Timestamps
	)
	open := func(_ context.Context, options capture.Options) (capture.Engine, error) {
		program, err := filter.ForLink(packet.Ethernet, options.Filter)
		if err != nil {
			return nil, err
		}
		raw, err := assemble(program)
		if err != nil {
			return nil, err
		}
		h, err := pcapgo.NewEthernetHandle(device)
		if err != nil {
			return nil, err
		}
		if err := h.SetBPF(raw); err != nil {
			return nil, errors.Join(fmt.Errorf("attach the filter to a packet socket: %w", err), h.Close())
		}
		return &handle{base: base{name: name, capabilities: capabilities}, EthernetHandle: h}, nil
	}
	return capture.Factory{Name: name, Capabilities: capabilities, Open: open}
}

// Run implements capture.Engine. It can be called once: nothing but closing the handle
// ends its reading.
func (h *handle) Run(ctx context.Context, visit func(*packet.Packet)) error {
	defer context.AfterFunc(ctx, func() { _ = h.EthernetHandle.Close() })()
	visit = h.counted(visit)
	p := packet.Packet{Link: packet.Ethernet}
	for {
		data, info, err := h.ZeroCopyReadPacketData()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read packets: %w", err)
		}
		p.Time, p.Interface = info.Timestamp, uint32(info.InterfaceIndex)
		p.Length, p.Data = info.Length, data
		visit(&p)
	}
}

// Stats implements capture.Engine.
func (h *handle) Stats() capture.Stats {
	stats, err := h.EthernetHandle.Stats()
	if err != nil { // it is closed
		stats = &unix.TpacketStats{}
	}
	return h.stats(uint64(stats.Packets), uint64(stats.Drops))
}

// Close implements capture.Engine.
func (h *handle) Close() error {
	if err := h.EthernetHandle.Close(); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}
