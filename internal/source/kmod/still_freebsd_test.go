// SPDX-License-Identifier: Apache-2.0

package kmod

import (
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// The module writes every connection at each walk. The times of the last segment
// that came and of the last new data that was sent cannot say which it might leave
// out: numbers change without them (docs/performance.md). A kernel that fails this
// test is one to look at again.
func TestTimesDoNotSayWhatChanged(t *testing.T) {
	module(t)
	s, err := Open(t.Context(), Device, anyHost{})
	require.NoError(t, err)
	defer s.Close()
	client, server := pair(t, "tcp", "127.0.0.1:0", nil)
	const n = 5000
	_, err = client.Write(make([]byte, n))
	require.NoError(t, err)
	// When each walk was made is known to a few milliseconds, and so are the times.
	look := func() (sock tcp.Socket, received, sent time.Time) {
		now := time.Now()
		require.NoError(t, s.Sockets(t.Context(), func(k *tcp.Socket) error {
			if k.Local == addrPort(server.LocalAddr()) && k.Peer == addrPort(server.RemoteAddr()) {
				sock = *k
			}
			return nil
		}))
		require.NotZero(t, sock.ID)
		return sock, now.Add(-sock.SinceDataReceived), now.Add(-sock.SinceDataSent)
	}
	require.Eventually(t, func() bool {
		sock, _, _ := look()
		return sock.ReceiveBufferUsage == n
	}, 10*time.Second, 10*time.Millisecond)
	time.Sleep(2 * time.Second) // for delayed acknowledgements, and much more than a walk takes
	before, received, sent := look()
	_, err = io.ReadFull(server, make([]byte, n))
	require.NoError(t, err)
	after, receivedAfter, sentAfter := look()
	assert.Equal(t, before.ID, after.ID)
	assert.Equal(t, [2]uint32{n, 0}, [2]uint32{before.ReceiveBufferUsage, after.ReceiveBufferUsage}, "the process has read")
	assert.WithinDuration(t, received, receivedAfter, time.Second, "and no segment came")
	assert.WithinDuration(t, sent, sentAfter, time.Second, "and no data was sent")
	assert.Equal(t, tcp.Established, after.State)
}
