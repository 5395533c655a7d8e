//go:build linux && (amd64 || arm64 || loong64 || ppc64le || riscv64)

package bpf

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

var bg = context.Background()

// opened returns an open source, or skips the test where there can be none.
func opened(t testing.TB) *Source {
	t.Helper()
	s, err := Factory().Open(bg)
	if unix.Geteuid() != 0 || errors.Is(err, unix.EPERM) {
		if err != nil {
			t.Skipf("BPF is not to be had here: %v", err)
		}
	}
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s.(*Source)
}

type pair = [2]netip.AddrPort

func sockets(t testing.TB, s source.Source) map[pair]tcp.Socket {
	t.Helper()
	for {
		all := make(map[pair]tcp.Socket)
		err := s.Sockets(bg, func(sock *tcp.Socket) error {
			all[pair{sock.Local, sock.Peer}] = *sock
			return nil
		})
		if !errors.Is(err, source.ErrInterrupted) {
			require.NoError(t, err)
			return all
		}
	}
}

// connect returns both ends of a connection by a listener of the address.
func connect(t testing.TB, listen string) (client, server *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", listen)
	if err != nil {
		t.Skipf("cannot listen on %s here: %v", listen, err)
	}
	defer func() { assert.NoError(t, l.Close()) }()
	return dial(t, l)
}

func dial(t testing.TB, l net.Listener) (client, server *net.TCPConn) {
	t.Helper()
	c, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	s, err := l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = c.Close(), s.Close() }) // a test may have closed them
	return c.(*net.TCPConn), s.(*net.TCPConn)
}

func endpoints(c net.Conn) pair {
	unmap := func(a net.Addr) netip.AddrPort {
		ap := a.(*net.TCPAddr).AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return pair{unmap(c.LocalAddr()), unmap(c.RemoteAddr())}
}

func TestLive(t *testing.T) {
	s := opened(t)
	assert.Equal(t, "bpf", s.Name())
	assert.Zero(t, s.Capabilities().Missing(source.RTT|source.Processes|source.Bytes))
	for name, listen := range map[string]string{"ipv4": "127.0.0.1:0", "ipv6": "[::1]:0"} {
		t.Run(name, func(t *testing.T) {
			client, server := connect(t, listen)
			_, err := client.Write(make([]byte, 1000))
			require.NoError(t, err)
			_, err = io.ReadFull(server, make([]byte, 600))
			require.NoError(t, err)

			all := sockets(t, s)
			c, srv := all[endpoints(client)], all[endpoints(server)]
			assert.Equal(t, tcp.Established, c.State)
			assert.Equal(t, tcp.Established, srv.State)
			assert.Equal(t, uint64(1000), c.BytesSent)
			assert.Equal(t, uint64(1000), srv.BytesReceived)
			assert.Equal(t, uint32(400), srv.ReceiveBufferUsage)
			assert.NotEqual(t, c.ID, srv.ID)

			require.NoError(t, client.CloseWrite())
			_, err = io.ReadFull(server, make([]byte, 400))
			require.NoError(t, err)
			_, err = server.Read(make([]byte, 1))
			require.ErrorIs(t, err, io.EOF)
			// The FIN may be acknowledged up to 200 ms late.
			for range 100 {
				all = sockets(t, opened(t))
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
