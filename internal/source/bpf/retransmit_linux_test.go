// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64 || loong64 || ppc64le || riscv64)

package bpf

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// lost makes a socket drop segments whose payload begins with a byte, and those
// without payload.
func lost(t testing.TB, of *net.TCPConn, first byte) {
	t.Helper()
	filter(t, of, []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 12}, // length of the TCP header
		{Code: unix.BPF_ALU | unix.BPF_RSH | unix.BPF_K, K: 4},
		{Code: unix.BPF_ALU | unix.BPF_LSH | unix.BPF_K, K: 2},
		{Code: unix.BPF_MISC | unix.BPF_TAX},
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_IND, K: 0},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(first), Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
		{Code: unix.BPF_RET | unix.BPF_K, K: 1 << 18},
	})
}

// A segment that was lost among others is retransmitted at once, one after which
// nothing came as a probe first, and what stays lost after timeouts.
func TestRetransmitsByType(t *testing.T) {
	s := opened(t)
	early, earlyServer := dial(t, listenPlain(t)) // before anybody counts
	c := closesOf(t, s)
	client, server := dial(t, listenPlain(t))
	of := func(c net.Conn) *tcp.Socket {
		sock := sockets(t, s)[endpoints(c)]
		return &sock
	}
	write := func(c *net.TCPConn, bytes ...byte) {
		for _, b := range bytes {
			_, err := c.Write([]byte{b})
			require.NoError(t, err)
		}
	}
	by := func(c net.Conn) (got [tcp.NumRetransmitTypes]uint64) { return of(c).RetransmitsBy }
	await := func(c net.Conn, why tcp.RetransmitType) {
		t.Helper()
		require.Eventually(t, func() bool { return by(c)[why] > 0 }, 5*time.Second, 5*time.Millisecond, why.String())
	}
	first := of(client)
	assert.True(t, first.Has(tcp.FieldRetransmitsBy))
	assert.Zero(t, first.RetransmitsBy)
	assert.False(t, of(early).Has(tcp.FieldRetransmitsBy))

	const doomed = 7
	write(client, 1, 1, 1)
	_, err := io.ReadFull(server, make([]byte, 3))
	require.NoError(t, err)
	lost(t, server, doomed)
	write(client, 1, doomed, 1, 1, 1, 1, 1, 1)
	await(client, tcp.FastRetransmit)
	assert.Zero(t, by(client)[tcp.TimeoutRetransmit], "it is early for that")
	await(client, tcp.TimeoutRetransmit)
	hearing(t, server)
	_, err = io.ReadFull(server, make([]byte, 8))
	require.NoError(t, err)

	deaf(t, earlyServer, 0)
	write(early, 1)
	await(early, tcp.ProbeRetransmit)
	assert.Zero(t, by(early)[tcp.FastRetransmit])
	await(early, tcp.TimeoutRetransmit)
	hearing(t, earlyServer)
	_, err = io.ReadFull(earlyServer, make([]byte, 1))
	require.NoError(t, err)

	require.NoError(t, client.Close())
	require.NoError(t, server.Close())
	n := noticesOf(t, c, endpoints(client))[endpoints(client)]
	var sum uint64
	for _, segments := range n.RetransmitsBy {
		sum += segments
	}
	assert.Equal(t, n.Retransmits, sum, n.RetransmitsBy)
	assert.Zero(t, n.RetransmitsBy[tcp.SYNRetransmit])
}
