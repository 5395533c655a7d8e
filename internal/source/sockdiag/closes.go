// SPDX-License-Identifier: Apache-2.0

package sockdiag

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

const (
	// closesBuffer is room for some fifty thousand notices, of which each takes
	// 1.3 kB of what the kernel makes twice as large. Without CAP_NET_ADMIN it
	// takes no more than net.core.rmem_max.
	closesBuffer = 32 << 20
	// fullRest is how long notices collect in a buffer of that size before they are
	// worth a Drain: half a million closes per second would fill it meanwhile. A
	// smaller buffer gets a shorter rest.
	fullRest = 100 * time.Millisecond
	// minRest is not worth a timer.
	minRest = time.Millisecond
)

// noticeConn is a netlink socket that is subscribed to notices: the kernel's, or
// one of the tests. Its methods may be called at the same time.
type noticeConn interface {
	// wait blocks until ready, or until close.
	wait() error
	// ready reports whether there is a notice, or an error, to read.
	ready() bool
	// read is that of conn, but never blocks. EAGAIN: there is none. ENOBUFS:
	// notices were dropped.
	read(b []byte) (int, error)
	// dropped returns how many notices the kernel has ever dropped for want of room.
	// Linux before 4.12 does not say.
	dropped() (total uint32, known bool)
	close() error
}

// closes is a subscription to the notices of destroyed sockets.
type closes struct {
	conn noticeConn

	// Of Wait.
	rest  time.Duration
	timer *time.Timer

	// Of Drain. notify is made once, so that a notice costs no allocation.
	buf      []byte
	dec      decoder
	reported uint32 // of conn.dropped
	notify   func(*tcp.Socket) error
	visit    func(*tcp.Notice) error
	notice   tcp.Notice

	closing sync.Once
	closed  chan struct{}
}

// newCloses returns the notices that come through a socket with a buffer of the
// given size.
func newCloses(c noticeConn, buffer int, dec decoder) *closes {
	s := &closes{
		conn:   c,
		rest:   time.Duration(int64(fullRest) * int64(min(buffer, closesBuffer)) / closesBuffer),
		timer:  time.NewTimer(0),
		buf:    make([]byte, bufferLen),
		dec:    dec,
		closed: make(chan struct{}),
	}
	s.timer.Stop()
	s.notify = func(socket *tcp.Socket) error {
		s.notice = tcp.Notice{Socket: *socket, OwnFIN: s.dec.ownFIN}
		return s.visit(&s.notice)
	}
	return s
}

// Wait implements source.CloseStream. It returns a rest after the first notice:
// to be woken up by each costs more than to read it.
func (c *closes) Wait() error {
	for {
		if err := c.conn.wait(); err != nil {
			return c.failure("wait for", err)
		}
		if c.rest >= minRest {
			c.timer.Reset(c.rest)
			select {
			case <-c.closed:
				c.timer.Stop()
				return c.failure("wait for", nil)
			case <-c.timer.C:
			}
		}
		// Another goroutine may have drained meanwhile.
		if c.conn.ready() {
			return nil
		}
	}
}

// Drain implements source.CloseStream.
func (c *closes) Drain(visit func(*tcp.Notice) error) (lost uint64, err error) {
	c.dec.begin()
	c.visit = visit
	for {
		n, err := read(c.conn, c.buf)
		switch {
		case errors.Is(err, syscall.EAGAIN):
			return lost + c.dropped(), c.dec.losses.Err()
		case errors.Is(err, syscall.ENOBUFS):
			// The kernel says so once, however many it drops until the buffer is empty.
			if _, counted := c.conn.dropped(); !counted {
				lost++
			}
			continue
		case err != nil:
			return lost + c.dropped(), c.failure("read", err)
		case n > len(c.buf):
			lost++
			continue
		}
		// Notices are nobody's answers: their sequence number is 0.
		if _, err := c.dec.datagram(c.buf[:n], 0, c.notify); err != nil {
			return lost + c.dropped(), err
		}
	}
}

// failure returns what a call that failed returns: os.ErrClosed after Close, where
// the poller of the runtime has an error of its own.
func (c *closes) failure(doing string, err error) error {
	select {
	case <-c.closed:
		err = os.ErrClosed
	default:
	}
	return fmt.Errorf("%s close notices: %w", doing, err)
}

// dropped returns how many notices found the buffer full since the last call.
func (c *closes) dropped() uint64 {
	total, known := c.conn.dropped()
	if !known {
		return 0
	}
	lost := total - c.reported // may have wrapped around
	c.reported = total
	return uint64(lost)
}

// Close implements source.CloseStream. More calls than one do nothing.
func (c *closes) Close() (err error) {
	c.closing.Do(func() {
		close(c.closed)
		if err = c.conn.close(); err != nil {
			err = fmt.Errorf("close the netlink socket of close notices: %w", err)
		}
	})
	return err
}

var _ source.CloseStream = (*closes)(nil)
