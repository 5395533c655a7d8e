// SPDX-License-Identifier: Apache-2.0

package sysctl

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

func open(t testing.TB) *Source {
	t.Helper()
	s, err := Open(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// look lists the sockets by both ends. Sockets of others may come and go.
func look(t testing.TB, s *Source) map[pair]tcp.Socket {
	t.Helper()
	sockets := make(map[pair]tcp.Socket)
	err := s.Sockets(context.Background(), func(s *tcp.Socket) error {
		sockets[pair{s.Local, s.Peer}] = *s
		return nil
	})
	require.True(t, source.Whole(err), "%v", err)
	return sockets
}

// connect makes a listener, and a connection to it. accepted is nil if the
// listener is not to accept it.
func connect(t *testing.T, network, address string, accept bool) (l *net.TCPListener, client, accepted *net.TCPConn) {
	t.Helper()
	listener, err := net.Listen(network, address)
	if errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT) {
		t.Skipf("skipped: no %s on %s here: %v", network, address, err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	to := listener.Addr().(*net.TCPAddr)
	if to.IP.IsUnspecified() {
		to = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: to.Port}
	}
	conn, err := net.Dial("tcp", to.String())
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	if accept {
		other, err := listener.Accept()
		require.NoError(t, err)
		t.Cleanup(func() { other.Close() })
		accepted = other.(*net.TCPConn)
	}
	return listener.(*net.TCPListener), conn.(*net.TCPConn), accepted
}

// ends are the two ends of a connection as the list has them.
func ends(c net.Conn) pair {
	return expected(c.LocalAddr().(*net.TCPAddr).AddrPort(), c.RemoteAddr().(*net.TCPAddr).AddrPort())
}

func TestOpensHere(t *testing.T) {
	f := Factory()
	src, err := f.Open(t.Context())
	require.NoError(t, err)
	defer src.Close()
	assert.Equal(t, f.Name, src.Name())
	assert.Equal(t, source.Processes, src.Capabilities())
	cs, err := src.Counters(t.Context())
	require.NoError(t, err)
	assert.GreaterOrEqual(t, cs.Len(), 35)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.ErrorIs(t, src.Sockets(ctx, nil), context.Canceled)
	stop := errors.New("stop")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	assert.ErrorIs(t, src.Sockets(t.Context(), func(*tcp.Socket) error { return stop }), stop)
}

func TestSeesConnections(t *testing.T) {
	for _, tt := range []struct{ name, network, address string }{
		{"IPv4", "tcp4", "127.0.0.1:0"},
		{"IPv6", "tcp6", "[::1]:0"},
		{"IPv4 in IPv6", "tcp", "[::]:0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := open(t)
			l, client, accepted := connect(t, tt.network, tt.address, true)
			const unread = 777
			_, err := client.Write(make([]byte, unread))
			require.NoError(t, err)
			require.NoError(t, accepted.SetReadDeadline(time.Now().Add(10*time.Second)))
			_, err = io.ReadFull(accepted, make([]byte, 1))
			require.NoError(t, err)

			sockets := look(t, s)
			listening := sockets[expected(l.Addr().(*net.TCPAddr).AddrPort(), netip.AddrPort{})]
			assert.Equal(t, tcp.Listen, listening.State)
			assert.NotZero(t, listening.QueueLimit)
			assert.Zero(t, listening.QueueLength)

			for _, conn := range []net.Conn{client, accepted} {
				got, ok := sockets[ends(conn)]
				require.True(t, ok, "%v", ends(conn))
				assert.Equal(t, tcp.Established, got.State)
				assert.Equal(t, tt.network != "tcp6", got.IsIPv4())
				assert.NotZero(t, got.Inode)
				assert.NotZero(t, got.ID.Cookie)
				assert.NotEmpty(t, got.CongestionControl)
				assert.NotEmpty(t, got.Stack)
				assert.True(t, got.Has(tcp.FieldCongestionWindow) && got.CongestionWindow > 0)
				assert.True(t, got.Has(tcp.FieldSendMSS) && got.SendMSS > 0)
				assert.False(t, got.Has(tcp.FieldSmoothedRTT))
				assert.Less(t, got.SinceDataReceived, time.Minute)
			}
			assert.Equal(t, uint32(unread-1), sockets[ends(accepted)].ReceiveBufferUsage)

			// The same connection keeps its identity; one that is closed is gone.
			again := look(t, s)
			assert.Equal(t, sockets[ends(client)].ID, again[ends(client)].ID)
		})
	}
}

func TestSeesWhatIsNotAccepted(t *testing.T) {
	s := open(t)
	l, client, _ := connect(t, "tcp4", "127.0.0.1:0", false)
	sockets := look(t, s)
	at := ends(client)
	waiting, ok := sockets[pair{at.peer, at.local}]
	require.True(t, ok)
	assert.Equal(t, tcp.Established, waiting.State)
	assert.Zero(t, waiting.Inode, "nobody has it yet")
	assert.Equal(t, uint32(1), sockets[expected(l.Addr().(*net.TCPAddr).AddrPort(), netip.AddrPort{})].QueueLength)

	accepted, err := l.Accept()
	require.NoError(t, err)
	defer accepted.Close()
	after := look(t, s)[ends(accepted)]
	assert.Equal(t, waiting.ID, after.ID)
	assert.NotZero(t, after.Inode)
}

func TestSeesCloses(t *testing.T) {
	s := open(t)
	_, client, accepted := connect(t, "tcp4", "127.0.0.1:0", true)
	require.NoError(t, client.CloseWrite())
	var sockets map[pair]tcp.Socket
	require.Eventually(t, func() bool {
		sockets = look(t, s)
		return sockets[ends(accepted)].State == tcp.CloseWait && sockets[ends(client)].State == tcp.FinWait2
	}, 10*time.Second, 10*time.Millisecond)
	require.NoError(t, accepted.Close())
	require.Eventually(t, func() bool {
		_, there := look(t, s)[ends(accepted)]
		return !there
	}, 10*time.Second, 10*time.Millisecond)
}

func TestCountsWhatHappens(t *testing.T) {
	s := open(t)
	before, err := s.Counters(t.Context())
	require.NoError(t, err)
	const n = 5
	for range n {
		connect(t, "tcp4", "127.0.0.1:0", true)
	}
	after, err := s.Counters(t.Context())
	require.NoError(t, err)
	for c := range tcp.NumCounters {
		was, had := before.Get(c)
		is, has := after.Get(c)
		assert.Equal(t, had, has)
		assert.GreaterOrEqual(t, is, was, "counter %d", c)
	}
	for _, c := range []tcp.Counter{tcp.OpensClient, tcp.OpensServer, tcp.SegmentsSent, tcp.SegmentsReceived} {
		was, _ := before.Get(c)
		is, _ := after.Get(c)
		assert.GreaterOrEqual(t, is-was, uint64(n), "counter %d", c)
	}
	first, _ := after.Get(tcp.EphemeralPortFirst)
	limit, _ := after.Get(tcp.EphemeralPortLimit)
	_, client, _ := connect(t, "tcp4", "127.0.0.1:0", true)
	port := uint64(client.LocalAddr().(*net.TCPAddr).Port)
	assert.True(t, first <= port && port < first+limit, "%d is not one of the %d from %d", port, limit, first)
	states, err := s.States(t.Context())
	require.NoError(t, err)
	assert.GreaterOrEqual(t, states[tcp.Established], int64(2*n))
	assert.GreaterOrEqual(t, states[tcp.Listen], int64(n))
}

// What changes all the while is listed nevertheless, and whole.
func TestListsUnderChurn(t *testing.T) {
	s := open(t)
	_, client, accepted := connect(t, "tcp4", "127.0.0.1:0", true)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	done := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-done:
				return
			default:
			}
			if c, err := net.Dial("tcp4", l.Addr().String()); err == nil {
				c.(*net.TCPConn).SetLinger(0)
				c.Close()
			}
		}
	}()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	interrupted := 0
	for range 200 {
		seen := 0
		err := s.Sockets(t.Context(), func(socket *tcp.Socket) error {
			if at := (pair{socket.Local, socket.Peer}); at == ends(client) || at == ends(accepted) {
				seen++
			}
			return nil
		})
		if err != nil {
			interrupted++
		}
		assert.True(t, source.Whole(err), "%v", err)
		assert.Equal(t, 2, seen, "both ends, once each")
	}
	close(done)
	<-stopped
	t.Logf("%d of 200 lists changed while they were made", interrupted)
}

func TestReadsAllocateNothing(t *testing.T) {
	s := open(t)
	for range 20 {
		connect(t, "tcp4", "127.0.0.1:0", true)
	}
	n := 0
	visit := func(*tcp.Socket) error { n++; return nil }
	ctx := context.Background()
	allocs := testing.AllocsPerRun(50, func() {
		if err := s.Sockets(ctx, visit); !source.Whole(err) {
			t.Error(err)
		}
	})
	assert.Less(t, allocs, 10.0, "for some %d sockets", n/50)
}

func BenchmarkSockets(b *testing.B) {
	s, err := Open(context.Background())
	require.NoError(b, err)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(b, err)
	defer l.Close()
	for range 500 {
		c, err := net.Dial("tcp4", l.Addr().String())
		require.NoError(b, err)
		defer c.Close()
		a, err := l.Accept()
		require.NoError(b, err)
		defer a.Close()
	}
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Sockets(context.Background(), func(*tcp.Socket) error { n++; return nil }); !source.Whole(err) {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/socket")
}
