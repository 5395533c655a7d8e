// SPDX-License-Identifier: Apache-2.0

package tpacket

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/capture"
	"github.com/netpulse/tcpstatsreceiver/internal/capture/packet"
	"github.com/netpulse/tcpstatsreceiver/internal/capture/socket"
)

const (
	name         = "tpacket_v3"
	rank         = 20
	capabilities = capture.Direction | capture.KernelFilter | capture.ZeroCopy | capture.Timestamps

	// A block has room for the longest packet. The ring is the kernel's memory that
	// cannot be swapped out, and each namespace has one.
	blockSize = 128 << 10
	blocks    = 4
	// frameSize matters to older versions of the ring, but must fit.
	frameSize = 2048
	// blockTimeout is after how many ms the kernel hands over a block that is not
	// full: how late a packet may be seen. A timer of the kernel's runs as often, which
	// wakes nobody while the block is empty.
	blockTimeout = 50
)

// Factory makes tpacket_v3 engines.
func Factory() capture.Factory {
	return capture.Factory{Name: name, Rank: rank, Capabilities: capabilities, Open: open}
}

// engine is a packet socket with its ring.
type engine struct {
	socket *socket.Socket
	ring   []byte
	next   int // the block that the kernel hands over next

	delivered, bytes atomic.Uint64
}

func open(_ context.Context, options capture.Options) (capture.Engine, error) {
	s, err := socket.Open(options.Filter)
	if err != nil {
		return nil, err
	}
	e := &engine{socket: s}
	if err := e.share(); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	if err := s.Bind(); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// share makes the ring.
func (e *engine) share() error {
	if err := unix.SetsockoptInt(e.socket.FD, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return fmt.Errorf("choose TPACKET_V3: %w (Linux 3.2 or later)", err)
	}
	request := unix.TpacketReq3{
		Block_size: blockSize, Block_nr: blocks,
		Frame_size: frameSize, Frame_nr: blocks * blockSize / frameSize,
		Retire_blk_tov: blockTimeout,
	}
	if err := unix.SetsockoptTpacketReq3(e.socket.FD, unix.SOL_PACKET, unix.PACKET_RX_RING, &request); err != nil {
		return fmt.Errorf("make a ring of %d KiB for packets: %w", blocks*blockSize>>10, err)
	}
	ring, err := unix.Mmap(e.socket.FD, 0, blocks*blockSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map the ring of packets: %w", err)
	}
	e.ring = ring
	return nil
}

// Name implements capture.Engine.
func (e *engine) Name() string { return name }

// Capabilities implements capture.Engine.
func (e *engine) Capabilities() capture.Capabilities { return capabilities }

// Run implements capture.Engine.
func (e *engine) Run(ctx context.Context, visit func(*packet.Packet)) error {
	defer e.socket.Until(ctx)()
	var p packet.Packet
	count := func(p *packet.Packet) {
		e.delivered.Add(1)
		e.bytes.Add(uint64(p.Length))
		visit(p)
	}
	handedOver := func() bool { return atomic.LoadUint32(e.status(e.next))&unix.TP_STATUS_USER != 0 }
	for ctx.Err() == nil {
		done, err := e.socket.Wait(handedOver)
		if err != nil {
			return fmt.Errorf("wait for packets: %w", err)
		}
		if done {
			break
		}
		_, err = walk(e.block(e.next), &p, count)
		atomic.StoreUint32(e.status(e.next), unix.TP_STATUS_KERNEL)
		e.next = (e.next + 1) % blocks
		if err != nil {
			return fmt.Errorf("read packets: %w", err)
		}
	}
	return nil
}

func (e *engine) block(i int) []byte { return e.ring[i*blockSize : (i+1)*blockSize] }

// status is who owns a block. The kernel changes it while we look.
func (e *engine) status(i int) *uint32 {
	return (*uint32)(unsafe.Pointer(&e.ring[i*blockSize+blockStatus]))
}

// Stats implements capture.Engine.
func (e *engine) Stats() capture.Stats {
	seen, dropped := e.socket.Statistics()
	stats := capture.Stats{Seen: seen, Dropped: dropped, Delivered: e.delivered.Load(), Bytes: e.bytes.Load(), Blocks: blocks}
	for i := range blocks {
		if atomic.LoadUint32(e.status(i))&unix.TP_STATUS_USER != 0 {
			stats.BlocksInUse++
		}
	}
	return stats
}

// Close implements capture.Engine.
func (e *engine) Close() error {
	var err error
	if e.ring != nil {
		err = unix.Munmap(e.ring)
		e.ring = nil
	}
	return errors.Join(err, e.socket.Close())
}
