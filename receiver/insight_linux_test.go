// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/source/bpf"
	"github.com/netpulse/tcpstatsreceiver/internal/source/sockdiag"
)

// kernel is a receiver of groups by role and server port on a real source.
type kernel struct {
	*steps
	next *refusing
}

func onKernel(t *testing.T, factory source.Factory) *kernel {
	t.Helper()
	cfg := createDefaultConfig()
	cfg.Process.Attribution = false
	cfg.Groups.By = []string{"tcp.role", "server.port"}
	cfg.Metrics.TCPRetransmitEvents.Enabled = true
	cfg.Metrics.TCPDuration.Enabled = true
	cfg.Require = []string{"closes", "bytes"}
	k := &kernel{next: &refusing{}}
	var err error
	if k.steps, err = newSteps(cfg, receivertest.NewNopSettings(metadata.Type), k.next, factory); err != nil {
		t.Skipf("%s with notices of closes is not to be had here: %v", factory.Name, err)
	}
	t.Cleanup(func() { require.NoError(t, k.close()) })
	require.NoError(t, k.scrape())
	return k
}

// value is the last value of a series of groups: of a histogram the sum of its
// samples. Attributes come in pairs, beside role and port.
func (k *kernel) value(name, role string, port int, pairs ...string) (value float64) {
	matches := func(attrs pcommon.Map) bool {
		raw := attrs.AsRaw()
		ok := raw["tcp.role"] == role && raw["server.port"] == int64(port)
		for i := 0; i < len(pairs); i += 2 {
			ok = ok && raw[pairs[i]] == pairs[i+1]
		}
		return ok
	}
	for _, md := range k.next.AllMetrics() {
		for _, rm := range md.ResourceMetrics().All() {
			for _, m := range rm.ScopeMetrics().At(0).Metrics().All() {
				switch {
				case m.Name() != name:
				case m.Type() == pmetric.MetricTypeHistogram:
					for _, dp := range m.Histogram().DataPoints().All() {
						if matches(dp.Attributes()) {
							value = dp.Sum()
						}
					}
				default:
					for _, dp := range m.Sum().DataPoints().All() {
						if matches(dp.Attributes()) {
							value = dp.DoubleValue() + float64(dp.IntValue())
						}
					}
				}
			}
		}
	}
	return value
}

// reaches scrapes until a series has a value: the last notices may be on their way.
func (k *kernel) reaches(t *testing.T, want float64, name, role string, port int, pairs ...string) {
	t.Helper()
	got := -1.0
	for range 300 {
		k.next.Reset()
		require.NoError(t, k.scrape())
		if got = k.value(name, role, port, pairs...); got == want {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	assert.Equal(t, want, got, "%s %s %v", name, role, pairs)
}

func option(t *testing.T, of syscall.Conn, set func(fd int) error) {
	t.Helper()
	raw, err := of.SyscallConn()
	require.NoError(t, err)
	var failed error
	require.NoError(t, raw.Control(func(fd uintptr) { failed = set(int(fd)) }))
	require.NoError(t, failed)
}

func listenTCP(t *testing.T) (l *net.TCPListener, port int) {
	t.Helper()
	var lc net.ListenConfig
	lc.SetMultipathTCP(false) // whose listeners take no filter
	listener, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	return listener.(*net.TCPListener), listener.Addr().(*net.TCPAddr).Port
}

func pair(t *testing.T, l *net.TCPListener) (client, server *net.TCPConn) {
	t.Helper()
	c, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	s, err := l.AcceptTCP()
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = c.Close(), s.Close() })
	return c.(*net.TCPConn), s
}

// Who is refused, by whom.
func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		factory source.Factory
		reason  string
	}{{bpf.Factory(), "connection_refused"}, {sockdiag.Factory(), "_OTHER"}} {
		t.Run(tt.factory.Name, func(t *testing.T) {
			k := onKernel(t, tt.factory)
			l, port := listenTCP(t)
			address := l.Addr().String()
			require.NoError(t, l.Close())
			for range 7 {
				_, err := net.Dial("tcp", address)
				require.ErrorIs(t, err, syscall.ECONNREFUSED)
			}
			k.reaches(t, 7, "tcp.failures", "client", port, "error.type", tt.reason)
			assert.Zero(t, k.value("tcp.opens", "client", port))
			assert.Zero(t, k.value("tcp.aborts", "client", port))
		})
	}
}

// Who resets whom.
func TestResetsEachWay(t *testing.T) {
	k := onKernel(t, bpf.Factory())
	l, port := listenTCP(t)
	reset := func(from, at *net.TCPConn) {
		require.NoError(t, from.SetLinger(0))
		require.NoError(t, from.Close())
		_, err := io.Copy(io.Discard, at)
		require.ErrorIs(t, err, syscall.ECONNRESET)
		require.NoError(t, at.Close())
	}
	for range 3 {
		client, server := pair(t, l)
		reset(client, server)
	}
	for range 2 {
		client, server := pair(t, l)
		reset(server, client)
	}
	client, server := pair(t, l)
	require.NoError(t, client.Close())
	_, err := io.Copy(io.Discard, server)
	require.NoError(t, err)
	require.NoError(t, server.Close())

	k.reaches(t, 6, "tcp.closes", "client", port)
	k.reaches(t, 6, "tcp.closes", "server", port)
	for _, want := range []struct {
		role, cause string
		n           float64
	}{{"client", "local_reset", 3}, {"server", "peer_reset", 3}, {"server", "local_reset", 2}, {"client", "peer_reset", 2}, {"client", "timed_out", 0}, {"server", "aborted", 0}} {
		assert.Equal(t, want.n, k.value("tcp.aborts", want.role, port, "tcp.end.cause", want.cause), "%v", want)
	}
	assert.Positive(t, k.value("tcp.segments", "client", port, "network.io.direction", "transmit"))
	assert.Positive(t, k.value("tcp.segments", "server", port, "network.io.direction", "transmit"))
}

// fill writes until nothing more is taken.
func fill(c *net.TCPConn) error {
	if err := c.SetWriteDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
		return err
	}
	b := make([]byte, 64<<10)
	for {
		if _, err := c.Write(b); err != nil {
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				return nil
			}
			return err
		}
	}
}

// A reader that sleeps holds its sender back, which is the receiver's doing.
func TestLimitedByTheReceiver(t *testing.T) {
	for _, factory := range []source.Factory{bpf.Factory(), sockdiag.Factory()} {
		t.Run(factory.Name, func(t *testing.T) {
			k := onKernel(t, factory)
			l, port := listenTCP(t)
			client, _ := pair(t, l)
			require.NoError(t, fill(client))
			time.Sleep(time.Second)
			k.next.Reset()
			require.NoError(t, k.scrape())
			receiver := k.value("tcp.time", "client", port, "tcp.limited_by", "receiver")
			network := k.value("tcp.time", "client", port, "tcp.limited_by", "network")
			t.Logf("receiver %.3f s, network %.3f s", receiver, network)
			assert.Greater(t, receiver, 0.7)
			assert.Less(t, network, 0.5)
			assert.Zero(t, k.value("tcp.time", "server", port, "tcp.limited_by", "receiver"))
		})
	}
}

// A send buffer that holds less than what is under way is what limits its sender.
func TestLimitedByTheSendBuffer(t *testing.T) {
	k := onKernel(t, bpf.Factory())
	l, port := listenTCP(t)
	client, server := pair(t, l)
	require.NoError(t, client.SetWriteBuffer(20_000))
	done := make(chan error, 1)
	go func() {
		b := make([]byte, 32<<10)
		for {
			// Acknowledgements come late.
			raw, err := server.SyscallConn()
			if err == nil {
				err = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 0) })
			}
			time.Sleep(30 * time.Millisecond)
			if err == nil {
				_, err = server.Read(b)
			}
			if err != nil {
				done <- err
				return
			}
		}
	}()
	deadline := time.Now().Add(2 * time.Second)
	for time.Now().Before(deadline) {
		_, err := client.Write(make([]byte, 256<<10))
		require.NoError(t, err)
	}
	k.next.Reset()
	require.NoError(t, k.scrape())
	buffer := k.value("tcp.time", "client", port, "tcp.limited_by", "send_buffer")
	t.Logf("send_buffer %.3f s, receiver %.3f s, network %.3f s", buffer,
		k.value("tcp.time", "client", port, "tcp.limited_by", "receiver"), k.value("tcp.time", "client", port, "tcp.limited_by", "network"))
	assert.Greater(t, buffer, 0.2)
	require.NoError(t, client.Close())
	require.ErrorIs(t, <-done, io.EOF)
}

// A listener that does not hear the first SYN answers the second one, a second
// later.
func TestHandshakesThatTakeLong(t *testing.T) {
	k := onKernel(t, bpf.Factory())
	l, port := listenTCP(t)
	option(t, l, func(fd int) error {
		nothing := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &nothing})
	})
	time.AfterFunc(300*time.Millisecond, func() {
		option(t, l, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0) })
	})
	client, server := pair(t, l)
	require.NoError(t, client.Close())
	_, err := io.Copy(io.Discard, server)
	require.NoError(t, err)
	require.NoError(t, server.Close())
	k.reaches(t, 1, "tcp.closes", "client", port)
	k.reaches(t, 1, "tcp.closes", "server", port)
	took := k.value("tcp.handshake.duration", "client", port)
	assert.InDelta(t, 1.05, took, 0.3)
	assert.Less(t, k.value("tcp.handshake.duration", "server", port), 0.3, "it did not hear the first one")
	assert.Less(t, k.value("tcp.duration", "client", port), 0.5, "not counted from the first SYN")
	k.reaches(t, 1, "tcp.retransmit.events", "client", port, "network.tcp.retransmit.type", "syn")
}

// A listener whose accept queue is full drops handshakes, and says how many.
func TestDropsOfAListener(t *testing.T) {
	for _, factory := range []source.Factory{bpf.Factory(), sockdiag.Factory()} {
		t.Run(factory.Name, func(t *testing.T) { testDropsOfAListener(t, onKernel(t, factory)) })
	}
}

func testDropsOfAListener(t *testing.T, k *kernel) {
	l, port := listenTCP(t)
	option(t, l, func(fd int) error { return unix.Listen(fd, 0) }) // room for one
	drops := func() (value int64) {
		k.next.Reset()
		require.NoError(t, k.scrape())
		for _, md := range k.next.AllMetrics() {
			for _, rm := range md.ResourceMetrics().All() {
				for _, m := range rm.ScopeMetrics().At(0).Metrics().All() {
					if m.Name() != "tcp.listener.drops" {
						continue
					}
					for _, dp := range m.Sum().DataPoints().All() {
						if at, _ := dp.Attributes().Get("network.local.port"); at.Int() == int64(port) {
							value = dp.IntValue()
						}
					}
				}
			}
		}
		return value
	}
	assert.Zero(t, drops())
	for range 4 {
		if c, err := net.DialTimeout("tcp", l.Addr().String(), 100*time.Millisecond); err == nil {
			defer c.Close()
		}
	}
	assert.Positive(t, drops())
}
