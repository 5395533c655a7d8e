// SPDX-License-Identifier: Apache-2.0

//go:build unix

package kmod

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// gather is how long Wait leaves ends to gather after the first. The module's
// ring has room for some thousand, which is more than a host ends meanwhile.
const gather = 20 * time.Millisecond

// Closes implements source.CloseNotifier.
func (s *Source) Closes() (source.CloseStream, error) {
	c, err := openCloses(s.file.Name() + endsSuffix)
	if err != nil {
		return nil, err
	}
	if s.spans {
		if err := span(c.file); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	return c, nil
}

// closes are the ends that /dev/tcpstats.ends gives.
type closes struct {
	file *os.File
	conn syscall.RawConn

	// Each made once, so that a read costs no allocation.
	poll   func(fd uintptr) (done bool)
	read   func(fd uintptr)
	events int16 // that poll found
	n      int   // bytes, and
	err    error // error of read

	dec *EndDecoder
	buf []byte

	mu      sync.Mutex // held by Drain
	once    sync.Once
	stopped chan struct{}
}

func openCloses(path string) (*closes, error) {
	// Go's own poller has the file if the device can be polled: then it does not
	// block, and Close wakes who waits.
	file, err := os.Open(path)
	if err != nil {
		return nil, advice(err)
	}
	return newCloses(file)
}

func newCloses(file *os.File) (*closes, error) {
	c := &closes{file: file, dec: NewEndDecoder(), buf: make([]byte, bufferLen), stopped: make(chan struct{})}
	c.dec.Zone = source.NewZones().Name
	var err error
	if c.conn, err = file.SyscallConn(); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	c.poll = func(fd uintptr) bool {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(fds, 0); n == 0 && err == nil || errors.Is(err, unix.EINTR) {
			return false
		}
		c.events = fds[0].Revents
		return true
	}
	c.read = func(fd uintptr) {
		for {
			if c.n, c.err = unix.Read(int(fd), c.buf); !errors.Is(c.err, unix.EINTR) {
				return
			}
		}
	}
	return c, nil
}

// Wait implements source.CloseStream: it waits for one end, and a moment longer
// for those that come with it.
func (c *closes) Wait() error {
	err := c.conn.Read(c.poll)
	select {
	case <-c.stopped:
		return os.ErrClosed
	default:
	}
	if err != nil {
		return fmt.Errorf("wait for ends of connections: %w", err)
	}
	if c.events&unix.POLLIN == 0 {
		return advice(fmt.Errorf("wait for ends of connections: %w", syscall.ENXIO))
	}
	select {
	case <-c.stopped:
		return os.ErrClosed
	case <-time.After(gather):
		return nil
	}
}

// Drain implements source.CloseStream.
func (c *closes) Drain(visit func(*tcp.Notice) error) (lost uint64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dec.losses.Reset()
	for {
		select {
		case <-c.stopped:
			return lost, os.ErrClosed
		default:
		}
		if err := c.dec.next(visit); err != nil {
			return lost, err
		}
		// Not by RawConn.Read, which a Wait that waits would keep out.
		if err := c.conn.Control(c.read); err != nil {
			select {
			case <-c.stopped:
				return lost, os.ErrClosed
			default:
			}
			return lost, fmt.Errorf("read ends of connections: %w", err)
		}
		switch {
		case errors.Is(c.err, unix.EAGAIN):
			return lost, c.dec.losses.Err()
		case c.err != nil:
			return lost, advice(fmt.Errorf("read ends of connections: %w", c.err))
		}
		more, err := c.dec.begin(c.buf[:c.n])
		lost += more
		if err != nil {
			return lost, fmt.Errorf("read %s: %w", c.file.Name(), err)
		}
	}
}

// Close implements source.CloseStream.
func (c *closes) Close() (err error) {
	c.once.Do(func() {
		close(c.stopped)
		if err = c.file.Close(); gone(err) {
			err = nil
		}
	})
	if err != nil {
		return fmt.Errorf("close ends of connections: %w", err)
	}
	return nil
}
