// SPDX-License-Identifier: Apache-2.0

//go:build unix

package kmod

import (
	"encoding/binary"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// stream reads what is written to the other end: a datagram socket gives whole
// reads, as the device does.
func stream(t *testing.T) (*closes, *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	require.NoError(t, err)
	for _, fd := range fds {
		require.NoError(t, unix.SetNonblock(fd, true)) // so that Go's poller takes it
	}
	c, err := newCloses(os.NewFile(uintptr(fds[0]), "ends"))
	require.NoError(t, err)
	w := os.NewFile(uintptr(fds[1]), "device")
	t.Cleanup(func() { _ = c.Close(); _ = w.Close() })
	return c, w
}

// oneRead is a read by a reader that has lost nothing.
func oneRead(t *testing.T) []byte {
	t.Helper()
	b := endsFixture(t, 1501000)
	binary.NativeEndian.PutUint64(b[atEndsLost:], 0)
	return b
}

func drain(t *testing.T, c *closes) (n int) {
	t.Helper()
	lost, err := c.Drain(func(*tcp.Notice) error { n++; return nil })
	require.NoError(t, err)
	require.Zero(t, lost)
	return n
}

func TestDrain(t *testing.T) {
	c, w := stream(t)
	assert.Zero(t, drain(t, c), "there is nothing yet, which is no error")
	for range 3 {
		_, err := w.Write(oneRead(t))
		require.NoError(t, err)
	}
	require.NoError(t, c.Wait())
	assert.Equal(t, 6, drain(t, c))
	assert.Zero(t, drain(t, c))

	broken := oneRead(t)
	broken[endsHeaderLenV1+atState] = 11
	for _, b := range [][]byte{broken, oneRead(t)} {
		_, err := w.Write(b)
		require.NoError(t, err)
	}
	n := 0
	_, err := c.Drain(func(*tcp.Notice) error { n++; return nil })
	assert.True(t, isPartial(err), "%v", err)
	assert.Equal(t, 3, n, "one that cannot be read costs no other")

	// Who has had enough gets the rest the next time.
	_, err = w.Write(oneRead(t))
	require.NoError(t, err)
	stop := errors.New("stop")
	_, err = c.Drain(func(*tcp.Notice) error { return stop })
	assert.Equal(t, stop, err)
	assert.Equal(t, 1, drain(t, c))

	_, err = w.Write([]byte("text"))
	require.NoError(t, err)
	_, err = c.Drain(func(*tcp.Notice) error { return nil })
	assert.ErrorContains(t, err, "read ends: header of 4 bytes")
}

func TestWaitWaits(t *testing.T) {
	c, w := stream(t)
	done := make(chan error, 1)
	go func() { done <- c.Wait() }()
	select {
	case err := <-done:
		t.Fatalf("there was nothing: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	assert.Zero(t, drain(t, c), "and does not keep out who does not wait")
	_, err := w.Write(oneRead(t))
	require.NoError(t, err)
	require.NoError(t, <-done)
	assert.Equal(t, 2, drain(t, c))
}

func TestCloseEndsWaiting(t *testing.T) {
	c, _ := stream(t)
	done := make(chan error, 1)
	go func() { done <- c.Wait() }()
	time.Sleep(20 * time.Millisecond)
	require.NoError(t, c.Close())
	require.NoError(t, c.Close(), "more calls than one do nothing")
	require.ErrorIs(t, <-done, os.ErrClosed)
	require.ErrorIs(t, c.Wait(), os.ErrClosed)
	_, err := c.Drain(func(*tcp.Notice) error { return nil })
	assert.True(t, errors.Is(err, os.ErrClosed))
}

// The capability is there if the device is.
func TestClosesNeedTheirDevice(t *testing.T) {
	path := device(t, fixture(t))
	require.NoError(t, os.WriteFile(path+endsSuffix, nil, 0o600))
	s := open(t, path)
	assert.Equal(t, "rtt, bytes, closes, processes", s.Capabilities().String())
	require.NoError(t, os.Remove(path+endsSuffix))
	_, err := s.Closes()
	require.ErrorIs(t, err, os.ErrNotExist)
}
