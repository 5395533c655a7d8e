// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64 || riscv64

package bpfdev

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/capture"
	"github.com/netpulse/tcpstatsreceiver/internal/capture/packet"
)

// Factory makes bpf_device engines.
func Factory() capture.Factory {
	return capture.Factory{Name: name, Rank: rank, Capabilities: capabilities, Open: open}
}

// engine is the descriptors of all interfaces.
type engine struct {
	options capture.Options
	buf     []byte
	// route is a routing socket, which reports interfaces that come and go: route(4).
	route int
	// wake is a pipe that ends a wait.
	wake [2]int

	delivered, bytes atomic.Uint64

	mu      sync.Mutex
	devices map[string]*device
	dropped uint64 // of interfaces that have gone
}

func open(_ context.Context, options capture.Options) (capture.Engine, error) {
	e := &engine{options: options, route: -1, wake: [2]int{-1, -1}, devices: make(map[string]*device)}
	if err := e.open(); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

func (e *engine) open() (err error) {
	if err := unix.Pipe2(e.wake[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return fmt.Errorf("make a pipe: %w", err)
	}
	if e.route, err = unix.Socket(unix.AF_ROUTE, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.AF_UNSPEC); err != nil {
		return fmt.Errorf("follow interfaces: open a routing socket: %w", err)
	}
	if err := e.list(); err != nil {
		return err
	}
	if len(e.devices) == 0 {
		return errors.New("there is no interface whose packets can be read")
	}
	return nil
}

// list opens the interfaces that are new, and closes those that have gone.
func (e *engine) list() error {
	interfaces, err := net.Interfaces()
	if err != nil {
		return fmt.Errorf("list interfaces: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for name, d := range e.devices {
		if !slices.ContainsFunc(interfaces, func(i net.Interface) bool { return i.Name == name && i.Index == d.index }) {
			if err := e.forget(name); err != nil {
				return err
			}
		}
	}
	for _, i := range interfaces {
		if e.devices[i.Name] != nil {
			continue
		}
		d, length, err := openDevice(i.Name, i.Index, e.options.Filter)
		if errors.Is(err, errLink) || errors.Is(err, unix.ENXIO) {
			continue // not supported, or gone already
		}
		if err != nil {
			return err
		}
		e.devices[i.Name] = d
		// Reads must be as long as the kernel's buffer.
		if length > len(e.buf) {
			e.buf = make([]byte, length)
		}
	}
	return nil
}

// forget closes an interface's descriptor. The caller holds mu.
func (e *engine) forget(name string) error {
	d := e.devices[name]
	e.dropped += d.drops()
	delete(e.devices, name)
	return d.close()
}

// Name implements capture.Engine.
func (e *engine) Name() string { return name }

// Capabilities implements capture.Engine.
func (e *engine) Capabilities() capture.Capabilities { return capabilities }

// Run implements capture.Engine.
func (e *engine) Run(ctx context.Context, visit func(*packet.Packet)) error {
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(woken)
		_, _ = unix.Write(e.wake[1], []byte{0})
	})
	defer func() {
		if !stop() {
			<-woken
			_, _ = unix.Read(e.wake[0], make([]byte, 8))
		}
	}()
	count := func(p *packet.Packet) {
		e.delivered.Add(1)
		e.bytes.Add(uint64(p.Length))
		visit(p)
	}
	for ctx.Err() == nil {
		// Only this goroutine changes the map.
		names := slices.Sorted(maps.Keys(e.devices))
		fds := []unix.PollFd{{Fd: int32(e.wake[0]), Events: unix.POLLIN}, {Fd: int32(e.route), Events: unix.POLLIN}}
		for _, name := range names {
			fds = append(fds, unix.PollFd{Fd: int32(e.devices[name].fd), Events: unix.POLLIN})
		}
		if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for packets: %w", err)
		}
		if err := e.ready(names, fds, count); err != nil {
			return err
		}
	}
	return nil
}

// ready reads whatever poll(2) says is there.
func (e *engine) ready(names []string, fds []unix.PollFd, visit func(*packet.Packet)) error {
	for i, name := range names {
		if fds[2+i].Revents == 0 {
			continue
		}
		if err := e.read(name, visit); err != nil {
			return err
		}
	}
	if fds[1].Revents == 0 {
		return nil
	}
	if err := e.drain(); err != nil {
		return err
	}
	return e.options.In(e.list)
}

// read reads what an interface has.
func (e *engine) read(name string, visit func(*packet.Packet)) error {
	d := e.devices[name]
	n, err := unix.Read(d.fd, e.buf)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return nil
	case errors.Is(err, unix.ENXIO):
		e.mu.Lock()
		defer e.mu.Unlock()
		return e.forget(name)
	case err != nil:
		return fmt.Errorf("read packets of %s: %w", name, err)
	}
	if _, err := walk(e.buf[:n], &packet.Packet{Interface: uint32(d.index), Link: d.link}, visit); err != nil {
		return fmt.Errorf("read packets of %s: %w", name, err)
	}
	return nil
}

// drain throws the messages of the routing socket away: what has happened is seen
// in the list of interfaces.
func (e *engine) drain() error {
	var b [2048]byte
	for {
		_, err := unix.Read(e.route, b[:])
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case err != nil && !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.ENOBUFS):
			return fmt.Errorf("follow interfaces: %w", err)
		}
	}
}

// Stats implements capture.Engine. The kernel counts what comes to the filter, not
// what passes it.
func (e *engine) Stats() capture.Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	stats := capture.Stats{Delivered: e.delivered.Load(), Bytes: e.bytes.Load(), Dropped: e.dropped}
	for _, d := range e.devices {
		stats.Dropped += d.drops()
	}
	stats.Seen = stats.Delivered + stats.Dropped
	return stats
}

// Close implements capture.Engine.
func (e *engine) Close() error {
	var errs []error
	for _, d := range e.devices {
		errs = append(errs, d.close())
	}
	for _, fd := range []int{e.route, e.wake[0], e.wake[1]} {
		if fd >= 0 {
			errs = append(errs, unix.Close(fd))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close the descriptors of /dev/bpf: %w", err)
	}
	return nil
}
