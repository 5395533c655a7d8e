// SPDX-License-Identifier: Apache-2.0

//go:build linux

package readers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	mdpacket "github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/capture"
	"github.com/netpulse/tcpstatsreceiver/internal/capture/filter"
	"github.com/netpulse/tcpstatsreceiver/internal/capture/packet"
)

// socket reads with mdlayher/packet: one packet a call, without the kernel's time.
type socket struct {
	base
	conn *mdpacket.Conn
}

func socketFactory() capture.Factory {
	const name = "mdlayher packet"
	open := func(_ context.Context, options capture.Options) (capture.Engine, error) {
		program, err := forSocket(options.Filter)
		if err != nil {
			return nil, err
		}
		// An interface without a number stands for all of them, see bind in packet(7).
		conn, err := mdpacket.Listen(&net.Interface{}, mdpacket.Datagram, unix.ETH_P_ALL, &mdpacket.Config{Filter: program})
		if err != nil {
			return nil, fmt.Errorf("open a packet socket: %w", err)
		}
		return &socket{base: base{name: name, capabilities: capture.KernelFilter}, conn: conn}, nil
	}
	return capture.Factory{Name: name, Capabilities: capture.KernelFilter, Open: open}
}

// Run implements capture.Engine.
func (s *socket) Run(ctx context.Context, visit func(*packet.Packet)) error {
	defer context.AfterFunc(ctx, func() { _ = s.conn.SetReadDeadline(past()) })()
	visit = s.counted(visit)
	data := make([]byte, filter.Snap)
	var p packet.Packet
	for {
		n, _, err := s.conn.ReadFrom(data)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read packets: %w", err)
		}
		p.Time, p.Length, p.Data = time.Now(), n, data[:n]
		visit(&p)
	}
}

// Stats implements capture.Engine.
func (s *socket) Stats() capture.Stats {
	stats, err := s.conn.Stats()
	if err != nil {
		stats = &mdpacket.Stats{}
	}
	return s.stats(uint64(stats.Packets), uint64(stats.Drops))
}

// Close implements capture.Engine.
func (s *socket) Close() error { return s.conn.Close() }
