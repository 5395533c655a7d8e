// SPDX-License-Identifier: Apache-2.0

package sockdiag

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

func open(t testing.TB) *Source {
	t.Helper()
	s, err := Open(context.Background())
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		t.Skipf("sock_diag is not to be had here: %v", err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s
}

// sockets dumps until the kernel does not say that it was interrupted.
func sockets(t testing.TB, s *Source) map[[2]netip.AddrPort]tcp.Socket {
	t.Helper()
	for {
		all := make(map[[2]netip.AddrPort]tcp.Socket)
		err := s.Sockets(context.Background(), func(sock *tcp.Socket) error {
			all[[2]netip.AddrPort{sock.Local, sock.Peer}] = *sock
			return nil
		})
		if !errors.Is(err, source.ErrInterrupted) {
			require.NoError(t, err)
			return all
		}
	}
}

// connect returns both ends of a connection.
func connect(t testing.TB, network, listen, dial string) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen(network, listen)
	if err != nil {
		t.Skipf("no %s here: %v", listen, err)
	}
	defer func() { assert.NoError(t, l.Close()) }()
	client, err = net.Dial("tcp", net.JoinHostPort(dial, strconv.Itoa(l.Addr().(*net.TCPAddr).Port)))
	require.NoError(t, err)
	server, err = l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() {
		// The test may have closed them.
		_, _ = client.Close(), server.Close()
	})
	return client, server
}

func endpoints(c net.Conn) [2]netip.AddrPort {
	unmap := func(a net.Addr) netip.AddrPort {
		ap := a.(*net.TCPAddr).AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return [2]netip.AddrPort{unmap(c.LocalAddr()), unmap(c.RemoteAddr())}
}

func TestLive(t *testing.T) {
	s := open(t)
	assert.Equal(t, "sock_diag", s.Name())
	assert.True(t, s.Capabilities().Missing(source.RTT|source.Processes) == 0)
	for name, addr := range map[string][2]string{"ipv4": {"127.0.0.1:0", "127.0.0.1"}, "ipv6": {"[::1]:0", "::1"}, "mapped": {"[::]:0", "127.0.0.1"}} {
		t.Run(name, func(t *testing.T) {
			client, server := connect(t, "tcp", addr[0], addr[1])
			_, err := client.Write(make([]byte, 1000))
			require.NoError(t, err)
			_, err = io.ReadFull(server, make([]byte, 600))
			require.NoError(t, err)

			all := sockets(t, s)
			c, s := all[endpoints(client)], all[endpoints(server)]
			assert.Equal(t, tcp.Established, c.State)
			assert.Equal(t, tcp.Established, s.State)
			assert.Equal(t, name != "ipv6", c.IsIPv4())
			assert.Equal(t, uint64(1000), c.BytesSent)
			assert.Equal(t, uint64(1000), s.BytesReceived)
			assert.Equal(t, uint32(400), s.ReceiveBufferUsage)
			assert.NotEqual(t, c.ID, s.ID)

			require.NoError(t, client.(*net.TCPConn).CloseWrite())
			_, err = io.ReadFull(server, make([]byte, 400))
			require.NoError(t, err)
			_, err = server.Read(make([]byte, 1))
			require.ErrorIs(t, err, io.EOF)
			// The FIN may be acknowledged up to 200 ms late.
			for range 100 {
				all = sockets(t, open(t))
				if all[endpoints(client)].State != tcp.FinWait1 {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
			assert.Equal(t, tcp.FinWait2, all[endpoints(client)].State)
			assert.Equal(t, tcp.CloseWait, all[endpoints(server)].State)
			assert.Equal(t, uint64(1000), all[endpoints(server)].BytesReceived, "the FIN is no byte")
			assert.Equal(t, c.ID, all[endpoints(client)].ID, "the identity outlives the reader")
		})
	}
}

func TestCounters(t *testing.T) {
	counters, err := open(t).Counters(context.Background())
	require.NoError(t, err)
	_, ok := counters.Get(tcp.SegmentsReceived)
	assert.True(t, ok)
}

// A dump that was left in the middle must not leak into the next one.
func TestDumpAfterAnUnfinishedOne(t *testing.T) {
	s := open(t)
	client, _ := connect(t, "tcp", "127.0.0.1:0", "127.0.0.1")
	stop := errors.New("stop")
	for range 3 {
		require.Equal(t, stop, s.Sockets(context.Background(), func(*tcp.Socket) error { return stop }))
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		require.ErrorIs(t, s.Sockets(ctx, func(*tcp.Socket) error { return nil }), context.Canceled)
		assert.Contains(t, sockets(t, s), endpoints(client))
	}
}

func TestDumpingAllocatesNothing(t *testing.T) {
	s := open(t)
	connect(t, "tcp", "127.0.0.1:0", "127.0.0.1")
	n := 0
	visit := func(*tcp.Socket) error { n++; return nil }
	allocs := testing.AllocsPerRun(20, func() {
		if err := s.Sockets(context.Background(), visit); err != nil && !errors.Is(err, source.ErrInterrupted) {
			t.Fatal(err)
		}
	})
	assert.Zero(t, allocs)
	assert.Positive(t, n)
}

func TestZoneOfAnInterfaceThatIsGone(t *testing.T) {
	s := open(t)
	assert.Equal(t, "lo", s.zones.Name(1))
	assert.Equal(t, "4000000000", s.zones.Name(4000000000))
}
