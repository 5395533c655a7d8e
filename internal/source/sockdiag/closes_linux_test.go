// SPDX-License-Identifier: Apache-2.0

package sockdiag

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/netns"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/source/sourcetest"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// openCloses returns a stream of notices that the test's end closes.
func openCloses(t testing.TB, s *Source) *closes {
	t.Helper()
	if s.Capabilities().Missing(source.Closes) != 0 {
		t.Skip("this kernel has no close notices")
	}
	stream, err := s.Closes()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, stream.Close()) })
	return stream.(*closes)
}

// openIn opens a source in another namespace, and its notices.
func openIn(t testing.TB, ns *netns.Namespace) (s *Source, stream *closes) {
	t.Helper()
	require.NoError(t, ns.Do(func() (err error) {
		if s, err = Open(context.Background()); err != nil {
			return err
		}
		opened, err := s.Closes()
		if err == nil {
			stream = opened.(*closes)
		}
		return err
	}))
	t.Cleanup(func() { assert.NoError(t, errors.Join(stream.Close(), s.Close())) })
	// The kernel sends notices from a queue of work: that of the socket that Open has
	// tried may come late.
	time.Sleep(50 * time.Millisecond)
	_, err := stream.Drain(func(*tcp.Notice) error { return nil })
	require.NoError(t, err)
	return s, stream
}

// connections makes connections, one after another, that leave no TIME_WAIT, with one
// listener.
func connections(n int) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	for range n {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			return err
		}
		a, err := l.Accept()
		if err != nil {
			return err
		}
		if err := errors.Join(c.(*net.TCPConn).SetLinger(0), c.Close(), a.Close()); err != nil {
			return err
		}
	}
	return l.Close()
}

// await drains until found has seen what it looks for, at most for some seconds.
func await(t testing.TB, c *closes, found func(*tcp.Notice) bool) {
	t.Helper()
	is := false
	require.Eventually(t, func() bool {
		lost, err := c.Drain(func(n *tcp.Notice) error {
			is = is || found(n)
			return nil
		})
		require.NoError(t, err)
		require.Zero(t, lost)
		return is
	}, 10*time.Second, time.Millisecond)
}

func TestCloses(t *testing.T) {
	s := open(t)
	closes := openCloses(t, s)
	for name, addr := range map[string][2]string{"ipv4": {"127.0.0.1:0", "127.0.0.1"}, "ipv6": {"[::1]:0", "::1"}} {
		t.Run(name, func(t *testing.T) {
			client, server := connect(t, "tcp", addr[0], addr[1])
			_, err := client.Write(make([]byte, 777))
			require.NoError(t, err)
			_, err = io.ReadFull(server, make([]byte, 777))
			require.NoError(t, err)
			key := endpoints(client)
			id := sockets(t, s)[key].ID
			require.NoError(t, client.(*net.TCPConn).CloseWrite())
			require.NoError(t, server.Close())
			_, err = io.Copy(io.Discard, client)
			require.NoError(t, err)
			require.NoError(t, client.Close())

			var got tcp.Notice
			await(t, closes, func(n *tcp.Notice) bool { // others close sockets, too
				if n.ID == id {
					got = *n
				}
				return n.ID == id
			})
			assert.Equal(t, tcp.Closed, got.State)
			assert.Equal(t, tcp.Closed, got.Left, "not in the notice")
			assert.Equal(t, key, [2]netip.AddrPort{got.Local, got.Peer})
			assert.Equal(t, uint64(777), got.BytesSent)
			assert.Equal(t, uint64(1), got.BytesReceived, "the FIN: the notice does not say that it came")
			assert.Zero(t, got.Inode)
			assert.Nil(t, got.Holder)
			assert.Equal(t, tcp.NoRole, got.Role)
		})
	}
}

// A buffer that is too small loses notices, and each is counted, also those that
// the kernel dropped after it had reported the first.
func TestClosesThatAreLost(t *testing.T) {
	const count = 20
	ns := sourcetest.NewNamespace(t) // where nothing else ends
	_, stream := openIn(t, ns)
	require.NoError(t, ns.Do(func() error {
		kernel := stream.conn.(*notices)
		var err error
		if err := kernel.rawSocket.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 1)
		}); err != nil {
			return err
		}
		return errors.Join(err, connections(count))
	}))
	const want = 2*count + 1 // and the listener
	came, lost := 0, uint64(0)
	require.Eventually(t, func() bool {
		if !stream.conn.ready() {
			return false // and the Wait would be long
		}
		require.NoError(t, stream.Wait(), "what was dropped is worth a Drain")
		n, err := stream.Drain(func(*tcp.Notice) error { came++; return nil })
		require.NoError(t, err)
		lost += n
		return true
	}, 5*time.Second, time.Millisecond)
	if _, known := stream.conn.dropped(); !known {
		assert.Positive(t, lost)
		return
	}
	// Sockets are destroyed a moment after their last descriptor is closed.
	assert.Eventually(t, func() bool {
		n, err := stream.Drain(func(*tcp.Notice) error { came++; return nil })
		lost += n
		return err == nil && came+int(lost) == want
	}, 5*time.Second, time.Millisecond, "came %d, lost %d", came, lost)
	assert.Positive(t, lost)
}

// One goroutine waits, another drains, and connections end as fast as they can:
// every end is delivered once, or counted as lost.
func TestEveryCloseIsDeliveredOrCounted(t *testing.T) {
	const count, dialers = 20_000, 4
	ns := sourcetest.NewNamespace(t) // where nothing else ends
	_, stream := openIn(t, ns)

	waited := make(chan struct{})
	cookies := make(map[uint64]bool)
	var waits int
	var delivered, lost, twice atomic.Int64
	var ends sync.WaitGroup
	ends.Add(2)
	go func() {
		defer ends.Done()
		defer close(waited)
		for stream.Wait() == nil {
			waits++
			waited <- struct{}{}
		}
	}()
	go func() {
		defer ends.Done()
		for range waited {
			n, err := stream.Drain(func(n *tcp.Notice) error {
				if cookies[n.ID.Cookie] {
					twice.Add(1)
				}
				cookies[n.ID.Cookie] = true
				delivered.Add(1)
				return nil
			})
			assert.NoError(t, err)
			lost.Add(int64(n))
		}
	}()

	var dialing sync.WaitGroup
	for range dialers {
		dialing.Add(1)
		go func() {
			defer dialing.Done()
			assert.NoError(t, ns.Do(func() error { return connections(count / dialers) }))
		}()
	}
	dialing.Wait()
	const want = 2*count + dialers // and the listeners
	assert.Eventually(t, func() bool { return delivered.Load()+lost.Load() == want }, 10*time.Second, 10*time.Millisecond)
	require.NoError(t, stream.Close())
	ends.Wait()
	t.Logf("%d notices delivered, %d lost, %d waits", delivered.Load(), lost.Load(), waits)
	assert.Zero(t, twice.Load(), "delivered twice")
	assert.Less(t, waits, count/20, "read in batches")
}

// A Drain does not wait for a Wait under way, and takes what the Wait would have
// found.
func TestDrainWhileWaiting(t *testing.T) {
	ns := sourcetest.NewNamespace(t) // where nothing else ends
	_, stream := openIn(t, ns)
	waited := make(chan error, 1)
	go func() { waited <- stream.Wait() }()
	time.Sleep(50 * time.Millisecond) // until it does
	drain := func() (n int) {
		t.Helper()
		drained := make(chan error, 1)
		go func() {
			_, err := stream.Drain(func(*tcp.Notice) error { n++; return nil })
			drained <- err
		}()
		select {
		case err := <-drained:
			require.NoError(t, err)
		case <-time.After(5 * time.Second):
			t.Fatal("Drain waits for a notice, or for the Wait")
		}
		return n
	}
	for range 3 {
		assert.Zero(t, drain())
		require.NoError(t, ns.Do(func() error { return connections(1) }))
		came := 0
		for end := time.Now().Add(5 * time.Second); came < 3 && time.Now().Before(end); {
			came += drain()
		}
		assert.Equal(t, 3, came, "both ends and the listener")
	}
	// It may have found one between two drains, or have to be given one.
	require.NoError(t, ns.Do(func() error { return connections(1) }))
	require.NoError(t, <-waited, "a Wait wakes up although others drain")
	go func() { waited <- stream.Wait() }()
	time.Sleep(50 * time.Millisecond)
	drain()
	require.NoError(t, stream.Close())
	select {
	case err := <-waited:
		if err != nil { // else a late notice had ended it
			assert.ErrorIs(t, err, os.ErrClosed)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("Close does not end a Wait")
	}
	assert.ErrorIs(t, stream.Wait(), os.ErrClosed)
	_, err := stream.Drain(func(*tcp.Notice) error { return nil })
	assert.ErrorIs(t, err, os.ErrClosed)
}

// Notices do not wake the runtime's poller up, except for the first that is waited
// for.
func TestNoticesWakeUpOnce(t *testing.T) {
	ns := sourcetest.NewNamespace(t)
	_, stream := openIn(t, ns)
	kernel := stream.conn.(*notices)
	polled := func() (is bool) {
		require.NoError(t, kernel.rawPoll.Control(func(fd uintptr) { is = readable(fd) }))
		return is
	}
	end := func() {
		require.NoError(t, ns.Do(func() error { return connections(10) }))
		require.Eventually(t, kernel.ready, 5*time.Second, time.Millisecond)
	}
	end()
	assert.False(t, polled(), "nobody waits")
	for range 3 {
		require.NoError(t, kernel.wait(), "for what is there already")
		assert.False(t, polled(), "once")
		end()
		assert.False(t, polled(), "until somebody waits again")
	}
	_, err := stream.Drain(func(*tcp.Notice) error { return nil })
	require.NoError(t, err)
	waited := make(chan error, 1)
	go func() { waited <- kernel.wait() }()
	end()
	require.NoError(t, <-waited, "for what comes later")
}

// The process is left alone while nothing closes.
func TestQuietStreamCostsNothing(t *testing.T) {
	stream := openCloses(t, open(t))
	waited := make(chan error, 1)
	go func() { waited <- stream.Wait() }()
	time.Sleep(50 * time.Millisecond)
	switches := func() int64 {
		var usage unix.Rusage
		require.NoError(t, unix.Getrusage(unix.RUSAGE_SELF, &usage))
		return usage.Nvcsw + usage.Nivcsw
	}
	const rounds = 5
	least := int64(1 << 60)
	for range rounds { // other tests' sockets may end, and the collector run
		before := switches()
		time.Sleep(200 * time.Millisecond)
		least = min(least, switches()-before)
	}
	assert.LessOrEqual(t, least, int64(8), "the test's own timer takes some")
	require.NoError(t, stream.Close())
	for err := range waited {
		if err != nil {
			assert.ErrorIs(t, err, os.ErrClosed)
			break
		}
		go func() { waited <- stream.Wait() }()
	}
}

// BenchmarkDrain reads notices of connections that have ended.
func BenchmarkDrain(b *testing.B) {
	s := open(b)
	stream := openCloses(b, s)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	defer l.Close()
	const batch = 2000
	b.ReportAllocs()
	var n int
	visit := func(*tcp.Notice) error { n++; return nil }
	for b.Loop() {
		b.StopTimer()
		_, err := stream.Drain(visit)
		require.NoError(b, err)
		for range batch / 2 {
			c, err := net.Dial("tcp", l.Addr().String())
			require.NoError(b, err)
			a, err := l.Accept()
			require.NoError(b, err)
			_ = c.(*net.TCPConn).SetLinger(0)
			_ = c.Close()
			_ = a.Close()
		}
		n = 0
		b.StartTimer()
		_, err = stream.Drain(visit)
		require.NoError(b, err)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*max(n, 1)), "ns/notice")
	require.NoError(b, s.Sockets(context.Background(), func(*tcp.Socket) error { return nil }))
}
