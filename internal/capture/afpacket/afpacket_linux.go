// SPDX-License-Identifier: Apache-2.0

package afpacket

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/capture"
	"github.com/netpulse/tcpstatsreceiver/internal/capture/filter"
	"github.com/netpulse/tcpstatsreceiver/internal/capture/packet"
	"github.com/netpulse/tcpstatsreceiver/internal/capture/socket"
)

const (
	name         = "af_packet"
	rank         = 10
	capabilities = capture.Direction | capture.KernelFilter | capture.Timestamps

	// batch is how many packets one call reads at most.
	batch = 16
	// bufferLen is the socket's buffer, in bytes. The kernel doubles it for its own
	// needs.
	bufferLen = 512 << 10
	// rest is how long the reader waits when it has read all that there is: else the
	// kernel would wake it for each packet, which costs more than reading it.
	rest = 5 * time.Millisecond
)

// Factory makes af_packet engines.
func Factory() capture.Factory {
	return capture.Factory{Name: name, Rank: rank, Capabilities: capabilities, Open: open}
}

// engine is one packet socket.
type engine struct {
	socket   *socket.Socket
	messages [batch]message
	iovecs   [batch]unix.Iovec
	from     [batch]unix.RawSockaddrLinklayer
	control  [batch]struct {
		_ [0]uint64 // aligned
		b [controlLen]byte
	}
	data [batch][]byte

	delivered, bytes atomic.Uint64
}

// controlLen is the room for the one control message that is asked for.
const controlLen = int(unsafe.Sizeof(unix.Cmsghdr{})+unsafe.Sizeof(unix.Timespec{})) + 8

// message is struct mmsghdr of recvmmsg(2).
type message struct {
	header unix.Msghdr
	length uint32
}

func open(_ context.Context, options capture.Options) (capture.Engine, error) {
	s, err := socket.Open(options.Filter)
	if err != nil {
		return nil, err
	}
	// More than the limit of net.core.rmem_max takes CAP_NET_ADMIN; less room will do.
	if unix.SetsockoptInt(s.FD, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bufferLen) != nil {
		err = unix.SetsockoptInt(s.FD, unix.SOL_SOCKET, unix.SO_RCVBUF, bufferLen)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("set the buffer of a packet socket: %w", err), s.Close())
	}
	if err := unix.SetsockoptInt(s.FD, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		return nil, errors.Join(fmt.Errorf("ask for the times of packets: %w", err), s.Close())
	}
	e := &engine{socket: s}
	for i := range e.messages {
		e.data[i] = make([]byte, filter.Snap)
		e.iovecs[i].Base = &e.data[i][0]
		e.iovecs[i].SetLen(len(e.data[i]))
		h := &e.messages[i].header
		h.Iov = &e.iovecs[i]
		h.SetIovlen(1)
		h.Control = &e.control[i].b[0]
		h.Name = (*byte)(unsafe.Pointer(&e.from[i]))
	}
	if err := s.Bind(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return e, nil
}

// Name implements capture.Engine.
func (e *engine) Name() string { return name }

// Capabilities implements capture.Engine.
func (e *engine) Capabilities() capture.Capabilities { return capabilities }

// Run implements capture.Engine.
func (e *engine) Run(ctx context.Context, visit func(*packet.Packet)) error {
	defer e.socket.Until(ctx)()
	var (
		p      packet.Packet
		n      int
		failed error
	)
	receive := func() bool {
		n, failed = e.receive()
		return n > 0 || failed != nil
	}
	for ctx.Err() == nil {
		done, err := e.socket.Wait(receive)
		if err := errors.Join(err, failed); err != nil {
			return fmt.Errorf("read packets: %w", err)
		}
		if done {
			break
		}
		for i := range n {
			// With MSG_TRUNC the length is that of the packet, not of what was read.
			length := int(e.messages[i].length)
			from := &e.from[i]
			p.Time = e.time(i)
			p.Interface, p.Direction = uint32(from.Ifindex), socket.Direction(from.Pkttype)
			p.Length, p.Data = length, e.data[i][:min(length, len(e.data[i]))]
			visit(&p)
			e.delivered.Add(1)
			e.bytes.Add(uint64(length))
		}
		if n < batch {
			time.Sleep(rest)
		}
	}
	return nil
}

// time returns when the kernel saw a packet: SO_TIMESTAMPNS of socket(7).
func (e *engine) time(i int) time.Time {
	header := (*unix.Cmsghdr)(unsafe.Pointer(&e.control[i]))
	if int(e.messages[i].header.Controllen) < unix.CmsgLen(int(unsafe.Sizeof(unix.Timespec{}))) || header.Type != unix.SCM_TIMESTAMPNS {
		return time.Now()
	}
	stamp := (*unix.Timespec)(unsafe.Pointer(&e.control[i].b[unix.CmsgLen(0)]))
	return time.Unix(stamp.Unix())
}

// receive reads the packets that are there.
func (e *engine) receive() (n int, err error) {
	for i := range e.messages {
		e.messages[i].header.Namelen = uint32(unsafe.Sizeof(e.from[i]))
		e.messages[i].header.SetControllen(controlLen)
	}
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(e.socket.FD), uintptr(unsafe.Pointer(&e.messages[0])), batch, unix.MSG_DONTWAIT|unix.MSG_TRUNC, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EAGAIN:
			return 0, nil
		case unix.EINTR, unix.ENETDOWN: // of one interface; the others go on
			continue
		}
		return 0, fmt.Errorf("recvmmsg: %w", errno)
	}
}

// Stats implements capture.Engine.
func (e *engine) Stats() capture.Stats {
	seen, dropped := e.socket.Statistics()
	return capture.Stats{Seen: seen, Dropped: dropped, Delivered: e.delivered.Load(), Bytes: e.bytes.Load()}
}

// Close implements capture.Engine.
func (e *engine) Close() error { return e.socket.Close() }
