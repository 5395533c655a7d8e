// SPDX-License-Identifier: Apache-2.0

package sockdiag

import (
	"encoding/binary"
	"errors"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// subscription is a noticeConn whose notices the test makes.
type subscription struct {
	mu      sync.Mutex
	changed *sync.Cond
	reads   []step
	total   uint32
	silent  bool // as Linux before 4.12: it does not count what it dropped
	closed  bool
	closes  int
}

func newSubscription() *subscription {
	s := &subscription{}
	s.changed = sync.NewCond(&s.mu)
	return s
}

func (s *subscription) add(drops uint32, reads ...step) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total += drops
	s.reads = append(s.reads, reads...)
	s.changed.Broadcast()
}

func (s *subscription) wait() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.reads) == 0 && !s.closed {
		s.changed.Wait()
	}
	if s.closed {
		return errors.New("use of closed file")
	}
	return nil
}

func (s *subscription) ready() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.reads) > 0 || s.closed
}

func (s *subscription) read(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, errors.New("use of closed file")
	}
	if len(s.reads) == 0 {
		return 0, syscall.EAGAIN
	}
	r := s.reads[0]
	s.reads = s.reads[1:]
	if r.err != nil {
		return 0, r.err
	}
	whole := r.messages(0)
	copy(b, whole)
	if r.length != 0 {
		return r.length, nil
	}
	return len(whole), nil
}

func (s *subscription) dropped() (uint32, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total, !s.silent
}

func (s *subscription) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.closes++
	s.changed.Broadcast()
	return nil
}

// notice is a notice of the socket with the given cookie.
func notice(cookie uint32) step {
	return datagram(func(seq uint32) []byte {
		r := record(familyIPv4, 7)
		binary.NativeEndian.PutUint32(r[44:], cookie)
		binary.NativeEndian.PutUint32(r[48:], 0)
		return message(msgSockDiagByFamily, 0, seq, r)
	})
}

// drained is what one Drain has visited.
func drained(t *testing.T, c *closes) (cookies []uint64, lost uint64, err error) {
	t.Helper()
	lost, err = c.Drain(func(n *tcp.Notice) error {
		assert.Equal(t, tcp.Closed, n.State)
		cookies = append(cookies, n.ID.Cookie)
		return nil
	})
	return cookies, lost, err
}

func TestDrain(t *testing.T) {
	kernel := newSubscription()
	c := newCloses(kernel, 0, *newDecoder())
	cookies, lost, err := drained(t, c)
	require.NoError(t, err)
	assert.Empty(t, cookies)
	assert.Zero(t, lost)

	kernel.add(0, notice(1), step{err: syscall.EINTR}, notice(2))
	cookies, lost, err = drained(t, c)
	require.NoError(t, err)
	assert.Equal(t, []uint64{1, 2}, cookies, "whatever signals come")
	assert.Zero(t, lost)

	// The kernel says ENOBUFS once, and counts on.
	kernel.add(5, notice(3), step{err: syscall.ENOBUFS}, notice(4))
	cookies, lost, err = drained(t, c)
	require.NoError(t, err)
	assert.Equal(t, []uint64{3, 4}, cookies)
	assert.EqualValues(t, 5, lost)
	kernel.add(2, notice(5))
	_, lost, err = drained(t, c)
	require.NoError(t, err)
	assert.EqualValues(t, 2, lost, "without another ENOBUFS")

	kernel.add(^uint32(0), notice(6)) // the count is 32 bits wide
	_, lost, err = drained(t, c)
	require.NoError(t, err)
	assert.EqualValues(t, ^uint32(0), lost)

	kernel.silent = true
	kernel.add(3, step{err: syscall.ENOBUFS}, notice(7))
	cookies, lost, err = drained(t, c)
	require.NoError(t, err)
	assert.Equal(t, []uint64{7}, cookies)
	assert.EqualValues(t, 1, lost, "one at least")
	kernel.silent = false
	_, lost, err = drained(t, c)
	require.NoError(t, err)
	assert.EqualValues(t, 3, lost)

	tooLong := notice(8)
	tooLong.length = bufferLen + 1
	kernel.add(0, tooLong, notice(9))
	cookies, lost, err = drained(t, c)
	require.NoError(t, err)
	assert.Equal(t, []uint64{9}, cookies)
	assert.EqualValues(t, 1, lost)

	kernel.add(0, datagram(func(seq uint32) []byte { return message(msgSockDiagByFamily, 0, seq, nil) }), notice(10))
	cookies, _, err = drained(t, c)
	partials := source.Partials(err)
	require.Len(t, partials, 1)
	assert.Equal(t, source.ErrorDecode, partials[0].Type)
	assert.Equal(t, []uint64{10}, cookies)

	stop := errors.New("stop")
	kernel.add(1, notice(11), notice(12))
	lost, err = c.Drain(func(*tcp.Notice) error { return stop })
	require.Equal(t, stop, err, "as it is")
	assert.EqualValues(t, 1, lost)
	cookies, _, err = drained(t, c)
	require.NoError(t, err)
	assert.Equal(t, []uint64{12}, cookies, "the rest is there still")

	kernel.add(0, step{err: syscall.ENOMEM})
	_, _, err = drained(t, c)
	require.ErrorIs(t, err, syscall.ENOMEM)

	require.NoError(t, c.Close())
	require.NoError(t, c.Close(), "a second time")
	assert.Equal(t, 1, kernel.closes)
	_, _, err = drained(t, c)
	require.ErrorIs(t, err, os.ErrClosed)
	require.ErrorIs(t, c.Wait(), os.ErrClosed)
}

func TestDrainAllocatesNothingPerNotice(t *testing.T) {
	kernel := newSubscription()
	c := newCloses(kernel, 0, *newDecoder())
	one := step{messages: func() func(uint32) []byte { b := notice(1).messages(0); return func(uint32) []byte { return b } }()}
	n := 0
	visit := func(*tcp.Notice) error { n++; return nil }
	reads := make([]step, 1000)
	for i := range reads {
		reads[i] = one
	}
	assert.Zero(t, testing.AllocsPerRun(10, func() {
		kernel.reads = reads
		if _, err := c.Drain(visit); err != nil {
			t.Fatal(err)
		}
	}))
	assert.Equal(t, 11*len(reads), n)
}

// A Wait blocks until there is something, lets it collect, and does not return if
// somebody else has drained meanwhile.
func TestWait(t *testing.T) {
	kernel := newSubscription()
	c := newCloses(kernel, closesBuffer, *newDecoder())
	assert.Equal(t, fullRest, c.rest)
	waited := make(chan error)
	wait := func() { go func() { waited <- c.Wait() }() }
	nothing := func(t *testing.T) {
		t.Helper()
		select {
		case err := <-waited:
			t.Fatalf("woken up for nothing: %v", err)
		case <-time.After(2 * fullRest):
		}
	}
	wait()
	nothing(t)
	began := time.Now()
	kernel.add(0, notice(1))
	require.NoError(t, <-waited)
	assert.GreaterOrEqual(t, time.Since(began), fullRest)

	cookies, _, err := drained(t, c)
	require.NoError(t, err)
	assert.Equal(t, []uint64{1}, cookies)
	wait()
	kernel.add(0, notice(2))
	_, _, err = drained(t, c)
	require.NoError(t, err)
	nothing(t)
	kernel.add(1, step{err: syscall.ENOBUFS})
	require.NoError(t, <-waited, "what was lost is worth a Drain, too")
	_, _, err = drained(t, c)
	require.NoError(t, err)

	wait()
	kernel.add(0, notice(3))
	time.Sleep(fullRest / 4) // during the rest
	began = time.Now()
	require.NoError(t, c.Close())
	require.ErrorIs(t, <-waited, os.ErrClosed)
	assert.Less(t, time.Since(began), fullRest/2)
}

func TestRestFitsTheBuffer(t *testing.T) {
	for buffer, want := range map[int]time.Duration{
		closesBuffer:      fullRest,
		10 * closesBuffer: fullRest,
		closesBuffer / 4:  fullRest / 4,
		212 << 10:         646972, // net.core.rmem_max as Linux comes: less than minRest
		0:                 0,
	} {
		assert.Equal(t, want, newCloses(newSubscription(), buffer, decoder{}).rest, "%d bytes", buffer)
	}
}
