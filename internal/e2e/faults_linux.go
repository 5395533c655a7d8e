// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Attempt connects, without keeping what comes of it, and returns why it failed.
func (h *Holder) Attempt(args ConnectArgs, reply *string) error {
	fd, err := newSocket(args.To.Addr())
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, toSockaddr(args.To)); err != nil {
		*reply = err.Error()
	}
	return nil
}

// ConnectDeaf begins to connect with a socket that hears no answer.
func (h *Holder) ConnectDeaf(args ConnectArgs, reply *Endpoints) error {
	fd, err := newSocket(args.To.Addr())
	if err != nil {
		return err
	}
	if err := errors.Join(h.Deaf(DeafArgs{fd, true}, nil), unix.SetNonblock(fd, true)); err != nil {
		return err
	}
	if err := unix.Connect(fd, toSockaddr(args.To)); err != unix.EINPROGRESS {
		return fmt.Errorf("connect to %s: %w", args.To, err)
	}
	return h.keep(fd, reply)
}

// LossyArgs say how many segments a socket misses.
type LossyArgs struct {
	Socket int
	OneIn  uint32
}

// Lossy makes the kernel drop one in so many segments that arrive for a socket, by
// chance.
func (h *Holder) Lossy(args LossyArgs, _ *struct{}) error {
	const random = 1<<32 - 0x1000 + 56 // SKF_AD_OFF + SKF_AD_RANDOM of <linux/filter.h>
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: random},
		{Code: unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, K: ^uint32(0) / args.OneIn, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: ^uint32(0)},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
	return unix.SetsockoptSockFprog(args.Socket, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
}

// Late makes a socket acknowledge what comes next as late as the kernel ever does:
// some 40 ms.
func (h *Holder) Late(socket int, _ *struct{}) error {
	return unix.SetsockoptInt(socket, unix.IPPROTO_TCP, unix.TCP_QUICKACK, 0)
}

// Fill writes until the kernel takes no more.
func (h *Holder) Fill(socket int, reply *int64) error {
	buf := make([]byte, 64<<10)
	for idle := 0; idle < 10; {
		n, err := unix.SendmsgN(socket, buf, nil, nil, unix.MSG_DONTWAIT)
		switch {
		case err == unix.EAGAIN:
			idle++
			time.Sleep(10 * time.Millisecond)
		case err != nil && err != unix.EINTR:
			return err
		case n > 0:
			*reply += int64(n)
			idle = 0
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.traffic[socket].written += *reply
	return nil
}

// Numbers are what the kernel tells the owner of a socket, and what the owner did.
type Numbers struct {
	Written, Read                        int64   // payload, by the owner
	Sent, Received                       float64 // payload, by the kernel
	Retransmits, Segments                float64 // sent
	RTT                                  time.Duration
	Busy, LimitedByPeer, LimitedByBuffer time.Duration
}

// Numbers asks the kernel about one socket.
func (h *Holder) Numbers(socket int, reply *Numbers) error {
	info, err := unix.GetsockoptTCPInfo(socket, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return fmt.Errorf("TCP_INFO: %w", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	micros := func(n uint64) time.Duration { return time.Duration(n) * time.Microsecond }
	*reply = Numbers{
		Written: h.traffic[socket].written, Read: h.traffic[socket].read,
		Sent: float64(info.Bytes_sent), Received: float64(info.Bytes_received),
		Retransmits: float64(info.Total_retrans), Segments: float64(info.Segs_out),
		RTT: micros(uint64(info.Rtt)), Busy: micros(info.Busy_time),
		LimitedByPeer: micros(info.Rwnd_limited), LimitedByBuffer: micros(info.Sndbuf_limited),
	}
	return nil
}

// Numbers is what the socket's owner knows.
func (h *Held) Numbers(t *testing.T) Numbers {
	t.Helper()
	return call[Numbers](t, h.Process, "Numbers", h.Socket)
}

// echoLate sends one byte, which the peer acknowledges late.
func (p Pair) echoLate(t *testing.T) {
	t.Helper()
	call[struct{}](t, p.Server.Process, "Late", p.Server.Socket)
	p.Client.Send(t, 1)
	p.Server.Receive(t, 1)
}

// comeAndGo opens a connection and closes it, the client first unless the server
// does, and leaves nothing but time_wait.
func comeAndGo(t *testing.T, client *Process, to *Held, serverFirst bool) {
	t.Helper()
	p := connect(t, client, to, ConnectArgs{})
	first, second := p.Client, p.Server
	if serverFirst {
		first, second = second, first
	}
	first.ShutdownWrite(t)
	second.ReceiveEnd(t)
	second.Close(t)
	first.ReceiveEnd(t)
	first.Close(t)
}

// LetGo leaves a socket open which no process holds: it is on its way in a message
// that nobody takes.
func (h *Holder) LetGo(socket int, _ *struct{}) error {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.Sendmsg(ends[0], []byte{0}, unix.UnixRights(socket), nil, 0); err != nil {
		return err
	}
	return unix.Close(socket)
}
