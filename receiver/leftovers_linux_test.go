// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/source/bpf"
)

// What connections leave in TIME_WAIT is their group's, also that of clients of whose
// connections no scrape saw anything else.
func TestTimeWaitOfClients(t *testing.T) {
	k := onKernel(t, bpf.Factory())
	l, port := listenTCP(t)
	for range 5 {
		client, server := pair(t, l)
		require.NoError(t, client.CloseWrite())
		_, err := io.Copy(io.Discard, server)
		require.NoError(t, err)
		require.NoError(t, server.Close())
		_, err = io.Copy(io.Discard, client)
		require.NoError(t, err)
		require.NoError(t, client.Close())
	}
	k.reaches(t, 5, "tcp.closes", "client", port)
	k.reaches(t, 5, "tcp.count", "client", port, "network.connection.state", "time_wait")
}

// SYNs that are sent again are counted while nobody answers, not when the attempt is
// over.
func TestSYNsThatGetNoAnswer(t *testing.T) {
	k := onKernel(t, bpf.Factory())
	l, port := listenTCP(t)
	option(t, l, func(fd int) error {
		nothing := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &nothing})
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		dialer := net.Dialer{Timeout: 5 * time.Second}
		if c, err := dialer.Dial("tcp", l.Addr().String()); err == nil {
			_ = c.Close()
		}
	}()
	k.reaches(t, 1, "tcp.retransmit.events", "client", port, "network.tcp.retransmit.type", "syn")
	select {
	case <-done:
		require.Fail(t, "the attempt was over by then")
	default:
	}
	option(t, l, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0) })
	<-done
}
