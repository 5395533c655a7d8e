// SPDX-License-Identifier: Apache-2.0

//go:build linux || freebsd

package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/rpc"
	"net/rpc/jsonrpc"
	"os"
	"os/exec"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Holder is what a helper process does with sockets, by remote procedure call
// over its standard input and output. A socket is named by its descriptor.
//
// System calls are made by hand: package net takes no backlog and sets options of
// its own.
type Holder struct {
	mu      sync.Mutex
	traffic map[int]*traffic
	asking  net.Conn // to a resolver
}

// traffic is the payload that a process handed to the kernel and got from it.
type traffic struct{ written, read int64 }

// hold serves until the input ends, which it does when the test does.
func hold(in io.Reader, out io.Writer) {
	server := rpc.NewServer()
	if err := server.Register(&Holder{traffic: make(map[int]*traffic)}); err != nil {
		panic(err)
	}
	server.ServeCodec(jsonrpc.NewServerCodec(stdio{in, out}))
}

// inherit does nothing with what the process was given.
func inherit(in io.Reader) { _, _ = io.Copy(io.Discard, in) }

type stdio struct {
	io.Reader
	io.Writer
}

func (stdio) Close() error { return nil }

// Endpoints are a socket as its process sees it.
type Endpoints struct {
	Socket      int
	Local, Peer netip.AddrPort // as of the socket's own address family
}

// ListenArgs say how to listen.
type ListenArgs struct {
	At      netip.AddrPort // port 0: a free one
	Backlog int
	Dual    bool // an IPv6 socket takes IPv4 connections, too
	Shared  bool // SO_REUSEPORT
	Defer   bool // a handshake is complete only when data comes (TCP_DEFER_ACCEPT)
}

// Listen opens a listener.
func (h *Holder) Listen(args ListenArgs, reply *Endpoints) error {
	fd, err := newSocket(args.At.Addr())
	if err != nil {
		return err
	}
	set := func(level, option, value int) {
		if err == nil {
			err = unix.SetsockoptInt(fd, level, option, value)
		}
	}
	if args.At.Addr().Is6() {
		set(unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, number(!args.Dual))
	}
	set(unix.SOL_SOCKET, unix.SO_REUSEPORT, number(args.Shared))
	if args.Defer {
		err = errors.Join(err, deferAccept(fd))
	}
	if err != nil {
		return fmt.Errorf("set options: %w", err)
	}
	if err := unix.Bind(fd, toSockaddr(args.At)); err != nil {
		return fmt.Errorf("bind to %s: %w", args.At, err)
	}
	if err := unix.Listen(fd, args.Backlog); err != nil {
		return fmt.Errorf("listen on %s: %w", args.At, err)
	}
	return h.keep(fd, reply)
}

// ConnectArgs say how to connect.
type ConnectArgs struct {
	From   netip.AddrPort // where to connect from; zero: anywhere
	To     netip.AddrPort
	NoWait bool // do not wait for the handshake
}

// Connect opens a connection.
func (h *Holder) Connect(args ConnectArgs, reply *Endpoints) error {
	fd, err := newSocket(args.To.Addr())
	if err != nil {
		return err
	}
	if args.From.IsValid() {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return fmt.Errorf("reuse %s: %w", args.From, err)
		}
		if err := unix.Bind(fd, toSockaddr(args.From)); err != nil {
			return fmt.Errorf("bind to %s: %w", args.From, err)
		}
	}
	if args.To.Addr().Is4In6() {
		// Not the default everywhere.
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0); err != nil {
			return err
		}
	}
	if err := unix.SetNonblock(fd, args.NoWait); err != nil {
		return err
	}
	// Interrupted, it goes on by itself: then the second call says so.
	err = unix.Connect(fd, toSockaddr(args.To))
	for err == unix.EINTR || err == unix.EALREADY {
		time.Sleep(time.Millisecond)
		err = unix.Connect(fd, toSockaddr(args.To))
	}
	if err != nil && err != unix.EISCONN && (err != unix.EINPROGRESS || !args.NoWait) {
		return fmt.Errorf("connect to %s: %w", args.To, err)
	}
	if err := h.keep(fd, reply); err != nil {
		return err
	}
	reply.Peer = args.To
	return nil
}

// Accept takes the next connection of a listener.
func (h *Holder) Accept(listener int, reply *Endpoints) error {
	var fd int
	err := uninterrupted(func() (err error) {
		fd, _, err = unix.Accept4(listener, unix.SOCK_CLOEXEC)
		return err
	})
	if err != nil {
		return fmt.Errorf("accept: %w", err)
	}
	return h.keep(fd, reply)
}

// Amount is some bytes of one socket.
type Amount struct{ Socket, Bytes int }

// Send writes so many bytes.
func (h *Holder) Send(args Amount, _ *struct{}) error {
	return h.move(args, unix.Write, func(t *traffic) *int64 { return &t.written })
}

// Receive reads so many bytes.
func (h *Holder) Receive(args Amount, _ *struct{}) error {
	return h.move(args, unix.Read, func(t *traffic) *int64 { return &t.read })
}

func (h *Holder) move(args Amount, call func(int, []byte) (int, error), count func(*traffic) *int64) error {
	buf := make([]byte, args.Bytes)
	for len(buf) > 0 {
		var n int
		err := uninterrupted(func() (err error) {
			n, err = call(args.Socket, buf)
			return err
		})
		if err == nil && n == 0 {
			err = io.EOF
		}
		if err != nil {
			return fmt.Errorf("%d of %d bytes are left: %w", len(buf), args.Bytes, err)
		}
		h.mu.Lock()
		*count(h.traffic[args.Socket]) += int64(n)
		h.mu.Unlock()
		buf = buf[n:]
	}
	return nil
}

// ReceiveEnd reads the end of the stream, which must be next.
func (h *Holder) ReceiveEnd(socket int, _ *struct{}) error {
	var n int
	err := uninterrupted(func() (err error) {
		n, err = unix.Read(socket, make([]byte, 1))
		return err
	})
	if err == nil && n > 0 {
		err = errors.New("there is data before the end")
	}
	return err
}

// ShutdownWrite ends the stream to the peer with a FIN.
func (h *Holder) ShutdownWrite(socket int, _ *struct{}) error {
	return unix.Shutdown(socket, unix.SHUT_WR)
}

// CloseArgs say how to close.
type CloseArgs struct {
	Socket int
	Reset  bool // with a RST: nothing is left of the connection on either side
}

// Close closes a socket.
func (h *Holder) Close(args CloseArgs, _ *struct{}) error {
	if args.Reset {
		if err := unix.SetsockoptLinger(args.Socket, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
			return err
		}
	}
	h.mu.Lock()
	delete(h.traffic, args.Socket)
	h.mu.Unlock()
	return unix.Close(args.Socket)
}

// Bequeath starts a process that holds the socket, too, and returns its pid.
func (h *Holder) Bequeath(socket int, pid *int) error {
	fd, err := unix.FcntlInt(uintptr(socket), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	file := os.NewFile(uintptr(fd), "socket")
	defer file.Close()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), roleVariable+"="+roleHeir)
	cmd.ExtraFiles = []*os.File{file}
	// Not closed: it is, when this process ends, and then the heir does.
	if _, err := cmd.StdinPipe(); err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	*pid = cmd.Process.Pid
	return nil
}

// Report is what a process knows of a socket of its own.
type Report struct {
	State         string // as in network.connection.state
	Written, Read int64  // payload, by the process
	Unread        int64  // payload that waits for it
	Unacked       int64  // of what it wrote; on Linux its FIN, too
	Retransmits   int64  // segments
	RTT           time.Duration

	// More is what else the kernel tells it, by the names of metrics.
	More map[string]float64
}

func newSocket(of netip.Addr) (int, error) {
	family := unix.AF_INET6
	if of.Is4() {
		family = unix.AF_INET
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	timeout := unix.NsecToTimeval(int64(patience))
	return fd, errors.Join(
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &timeout),
		setCongestionControl(fd))
}

// keep takes a socket among those held and tells where it is.
func (h *Holder) keep(fd int, reply *Endpoints) error {
	local, err := unix.Getsockname(fd)
	if err != nil {
		return err
	}
	reply.Socket, reply.Local = fd, fromSockaddr(local)
	if peer, err := unix.Getpeername(fd); err == nil {
		reply.Peer = fromSockaddr(peer)
	}
	h.mu.Lock()
	h.traffic[fd] = &traffic{}
	h.mu.Unlock()
	return nil
}

// uninterrupted repeats a system call that a signal cut off: calls on sockets
// with a timeout are not restarted by the kernel, signal(7).
func uninterrupted(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}
