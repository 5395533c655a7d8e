// SPDX-License-Identifier: Apache-2.0

package procfs

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// readProc returns a file of this host's /proc/net.
func readProc(t testing.TB, name string) []byte {
	text, err := os.ReadFile(filepath.Join(DefaultDir, name))
	if err != nil {
		t.Skipf("needs Linux's /proc: %v", err)
	}
	return text
}

func listenTCP(t testing.TB, addr string) net.Listener {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Skipf("no such address on this host: %v", err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func dial(t testing.TB, addr string) *net.TCPConn {
	c, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

func accept(t testing.TB, l net.Listener) *net.TCPConn {
	c, err := l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

func port(a net.Addr) uint16 { return a.(*net.TCPAddr).AddrPort().Port() }

// inodeOf is what /proc/self/fd says of a socket.
func inodeOf(t *testing.T, c syscall.Conn) (inode uint64) {
	raw, err := c.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) {
		link, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		require.NoError(t, err)
		_, err = fmt.Sscanf(link, "socket:[%d]", &inode)
		require.NoError(t, err)
	}))
	return inode
}

// queuesInProc looks a socket up by its inode, with none of this package's code.
func queuesInProc(t *testing.T, inode uint64) string {
	for _, name := range []string{"tcp", "tcp6"} {
		for _, line := range strings.Split(string(readProc(t, name)), "\n") {
			if words := strings.Fields(line); len(words) > 9 && words[9] == fmt.Sprint(inode) {
				return words[4]
			}
		}
	}
	return ""
}

func TestLive(t *testing.T) {
	readProc(t, "tcp")
	src, err := Factory().Open(context.Background())
	require.NoError(t, err)
	// await returns a socket once it is as wanted: the kernel takes its time, and
	// other sockets that come and go may hide it from one dump.
	await := func(t *testing.T, local, peer netip.AddrPort, wanted func(*tcp.Socket) bool) (found tcp.Socket) {
		require.Eventually(t, func() bool {
			ok := false
			require.NoError(t, src.Sockets(context.Background(), func(s *tcp.Socket) error {
				if s.Local == local && s.Peer == peer {
					found, ok = *s, wanted(s)
				}
				return nil
			}))
			return ok
		}, 5*time.Second, time.Millisecond)
		return found
	}

	for _, test := range []struct {
		name, listen, local, anyPeer string // what the listener says
		dial                         string // how it is reached, which is what is on the wire
	}{
		{"IPv4", "127.0.0.1:0", "127.0.0.1", "0.0.0.0", "127.0.0.1"},
		{"IPv6", "[::1]:0", "::1", "::", "::1"},
		{"IPv4 to a listener of both", "[::]:0", "::", "::", "127.0.0.1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := listenTCP(t, test.listen).(*net.TCPListener)
			server := netip.AddrPortFrom(netip.MustParseAddr(test.dial), port(l.Addr()))

			// Three wait to be accepted.
			clients := []*net.TCPConn{dial(t, server.String()), dial(t, server.String()), dial(t, server.String())}
			client := netip.AddrPortFrom(server.Addr(), port(clients[0].LocalAddr()))
			s := await(t, netip.AddrPortFrom(netip.MustParseAddr(test.local), server.Port()), netip.AddrPortFrom(netip.MustParseAddr(test.anyPeer), 0),
				func(s *tcp.Socket) bool { return s.QueueLength == 3 })
			require.Equal(t, tcp.Listen, s.State)
			require.True(t, s.Has(tcp.FieldQueueLength))
			require.False(t, s.Has(tcp.FieldQueueLimit) || s.Has(tcp.FieldReceiveBufferUsage))
			require.Equal(t, inodeOf(t, l), s.Inode)
			require.EqualValues(t, os.Getuid(), s.UID)
			require.Equal(t, "00000000:00000003", queuesInProc(t, s.Inode))
			require.Equal(t, Namespace(DefaultDir), s.ID.Namespace)

			// One not accepted yet is nobody's.
			embryo := await(t, server, client, func(s *tcp.Socket) bool { return s.State == tcp.Established })
			require.Zero(t, embryo.Inode)
			conn := accept(t, l)
			s = await(t, server, client, func(s *tcp.Socket) bool { return s.Inode != 0 })
			require.Equal(t, inodeOf(t, conn), s.Inode)

			// Five bytes and a FIN that nobody reads.
			_, err := clients[0].Write([]byte("hello"))
			require.NoError(t, err)
			require.NoError(t, clients[0].CloseWrite())
			s = await(t, server, client, func(s *tcp.Socket) bool { return s.State == tcp.CloseWait })
			require.EqualValues(t, 5, s.ReceiveBufferUsage)
			require.Equal(t, "00000000:00000006", queuesInProc(t, s.Inode))
			half := await(t, client, server, func(s *tcp.Socket) bool { return s.State == tcp.FinWait2 })
			require.Zero(t, half.SendBufferUsage)
			require.True(t, half.Has(tcp.FieldSendBufferUsage))
			require.Equal(t, inodeOf(t, clients[0]), half.Inode)

			// TIME_WAIT is still the same connection.
			_, err = conn.Read(make([]byte, 8))
			require.NoError(t, err)
			require.NoError(t, conn.Close())
			s = await(t, client, server, func(s *tcp.Socket) bool { return s.State == tcp.TimeWait })
			require.Zero(t, s.Inode)
			require.Zero(t, s.Fields)
		})
	}
}

func TestLiveCounters(t *testing.T) {
	readProc(t, "snmp")
	r := NewCounters(DefaultDir)
	before, err := r.Read(context.Background())
	require.NoError(t, err)
	require.Greater(t, before.Len(), 25)

	l := listenTCP(t, "127.0.0.1:0")
	dial(t, l.Addr().String())
	accept(t, l)
	after, err := r.Read(context.Background())
	require.NoError(t, err)
	for _, c := range []tcp.Counter{tcp.OpensClient, tcp.OpensServer, tcp.SegmentsSent, tcp.SegmentsReceived} {
		require.Greater(t, get(t, after, c), get(t, before, c), "counter %d", c)
	}
	for c := range tcp.Orphans {
		v, _ := before.Get(c)
		w, _ := after.Get(c)
		require.GreaterOrEqual(t, w, v, "counter %d", c)
	}
}

// BenchmarkLive compares reading the sockets of this host with reading the
// files and throwing them away.
func BenchmarkLive(b *testing.B) {
	readProc(b, "tcp")
	l := listenTCP(b, "127.0.0.1:0")
	for range 2000 {
		dial(b, l.Addr().String())
		accept(b, l)
	}
	src, err := Open(context.Background(), DefaultDir)
	require.NoError(b, err)
	n := 0
	count := func(*tcp.Socket) error {
		n++
		return nil
	}
	b.Run("sockets", func(b *testing.B) {
		b.ReportAllocs()
		n = 0
		for b.Loop() {
			if err := src.Sockets(context.Background(), count); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/socket")
	})
	b.Run("thrown away", func(b *testing.B) {
		buf := make([]byte, bufferSize)
		n = 0
		for b.Loop() {
			for _, name := range []string{"tcp", "tcp6"} {
				f, err := os.Open(filepath.Join(DefaultDir, name))
				if err != nil {
					b.Fatal(err)
				}
				for {
					got, err := f.Read(buf)
					n += bytes.Count(buf[:got], []byte{'\n'})
					if err != nil {
						break
					}
				}
				f.Close()
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/socket")
	})
}
