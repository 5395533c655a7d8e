// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/source/bpf"
	"github.com/netpulse/tcpstatsreceiver/internal/source/sockdiag"
)

// onLinux runs a test with each source that has notices of closes. Connections are
// grouped by role and the server's port.
func onLinux(t *testing.T, test func(t *testing.T, s *steps, next *refusing)) {
	for _, factory := range []source.Factory{sockdiag.Factory(), bpf.Factory()} {
		t.Run(factory.Name, func(t *testing.T) {
			cfg := createDefaultConfig()
			cfg.Process.Attribution = false
			cfg.System.Enabled = false
			cfg.Require = []string{"closes", "bytes"}
			cfg.Groups.By = []string{"tcp.role", "server.port"}
			next := &refusing{}
			s, err := newSteps(cfg, receivertest.NewNopSettings(metadata.Type), next, factory)
			if err != nil {
				t.Skipf("%s with notices of closes is not to be had here: %v", factory.Name, err)
			}
			defer func() { require.NoError(t, s.close()) }()
			require.NoError(t, s.scrape())
			test(t, s, next)
		})
	}
}

// settled scrapes until the groups of a port are what is wanted, and once more.
func settled(t *testing.T, s *steps, next *refusing, port int, want map[string]totals) {
	t.Helper()
	byRole := func(attrs map[string]any) string { return fmt.Sprint(attrs["tcp.role"]) }
	for range 100 {
		next.Reset()
		require.NoError(t, s.scrape())
		if assert.ObjectsAreEqual(want, ofPort(next, port, byRole)) {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	next.Reset()
	require.NoError(t, s.scrape())
	assert.Equal(t, want, ofPort(next, port, byRole))
}

// 200 connects that do not block, to a port where nobody listens, open nothing.
func TestRefusedConnectsOpenNothing(t *testing.T) {
	onLinux(t, func(t *testing.T, s *steps, next *refusing) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		port := l.Addr().(*net.TCPAddr).Port
		require.NoError(t, l.Close())
		for range 200 {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
			require.NoError(t, err)
			err = unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
			if err != nil && !errors.Is(err, unix.EINPROGRESS) {
				require.ErrorIs(t, err, unix.ECONNREFUSED)
			}
			require.NoError(t, unix.Close(fd))
		}
		time.Sleep(50 * time.Millisecond) // notices come from a work queue
		next.Reset()
		require.NoError(t, s.scrape())
		for _, of := range ofPort(next, port, func(attrs map[string]any) string { return fmt.Sprint(attrs) }) {
			assert.Zero(t, of.opens)
			assert.Zero(t, of.closes)
		}
	})
}

// The peer resets, and the owner keeps its descriptor for longer than a notice is
// waited for: one connection, which opened and closed once, with its bytes. It takes 13 s for each source.
func TestAResetConnectionThatIsClosedLate(t *testing.T) {
	onLinux(t, func(t *testing.T, s *steps, next *refusing) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close()
		port := l.Addr().(*net.TCPAddr).Port
		require.NoError(t, s.scrape())
		client, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		server, err := l.Accept()
		require.NoError(t, err)
		_, err = client.Write(make([]byte, 777))
		require.NoError(t, err)
		_, err = io.ReadFull(server, make([]byte, 777))
		require.NoError(t, err)
		_, err = server.Write(make([]byte, 100))
		require.NoError(t, err)
		_, err = io.ReadFull(client, make([]byte, 100))
		require.NoError(t, err)
		require.NoError(t, s.scrape())

		require.NoError(t, server.(*net.TCPConn).SetLinger(0))
		require.NoError(t, server.Close())
		for range 13 {
			require.NoError(t, s.scrape())
			time.Sleep(time.Second)
		}
		_, err = client.Read(make([]byte, 1))
		require.ErrorIs(t, err, unix.ECONNRESET)
		require.NoError(t, client.Close())
		settled(t, s, next, port, map[string]totals{
			"client": {opens: 1, closes: 1, sent: 777, received: 100},
			"server": {opens: 1, closes: 1, sent: 100, received: 777},
		})
	})
}

// Listeners that come and go between two dumps, as those of FTP do, accept
// connections all the same: what the kernel counted shows who did.
func TestListenersThatNoDumpSees(t *testing.T) {
	onLinux(t, func(t *testing.T, s *steps, next *refusing) {
		const n = 50
		ports := make(map[int]int64) // how often the kernel gave each
		for range n {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			ports[l.Addr().(*net.TCPAddr).Port]++
			client, err := net.Dial("tcp", l.Addr().String())
			require.NoError(t, err)
			server, err := l.Accept()
			require.NoError(t, err)
			_, err = client.Write([]byte("12345"))
			require.NoError(t, err)
			_, err = io.ReadFull(server, make([]byte, 5))
			require.NoError(t, err)
			require.NoError(t, client.Close())
			_, err = server.Read(make([]byte, 1))
			require.ErrorIs(t, err, io.EOF)
			require.NoError(t, server.Close())
			require.NoError(t, l.Close())
		}
		time.Sleep(50 * time.Millisecond)
		for port, times := range ports {
			settled(t, s, next, port, map[string]totals{
				"client": {opens: times, closes: times, sent: 5 * times},
				"server": {opens: times, closes: times, received: 5 * times},
			})
		}
	})
}
