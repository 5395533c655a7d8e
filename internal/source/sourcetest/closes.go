// SPDX-License-Identifier: Apache-2.0

package sourcetest

import (
	"io"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// soon is within what takes no time: a call that would block takes much longer.
const soon = 2 * time.Second

// testCloses tests the notices: none is lost of a small burst, Drain never blocks,
// Close ends a Wait, and all that outlives the source.
func (c *conformance) testCloses(t *testing.T) {
	src := c.open(t)
	if c.capabilities.Missing(source.Closes) != 0 {
		t.Skip("gives no notices")
	}
	stream, err := src.(source.CloseNotifier).Closes()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, stream.Close(), "closing twice is fine") })

	// One end of each connection is closed first, so that both leave in order.
	const connections = 50
	l, _ := listen(t)
	var conns []connection
	var wants []endpoints
	for range connections {
		conn, err := connect(l)
		require.NoError(t, err)
		conns = append(conns, conn)
		wants = append(wants, conn.ends, conn.ends.reverse())
	}
	before := dump(t, src, wants...)
	require.NoError(t, src.Close(), "the notices outlive the source")

	waited := make(chan error)
	wait := func() { go func() { waited <- stream.Wait() }() }
	wait()
	for _, conn := range conns {
		_, err := conn.client.Write([]byte("five!"))
		require.NoError(t, err)
		_, err = io.ReadFull(conn.server, make([]byte, 5))
		require.NoError(t, err)
		require.NoError(t, conn.client.CloseWrite())
		require.NoError(t, conn.server.Close())
		_, err = io.Copy(io.Discard, conn.client)
		require.NoError(t, err)
		require.NoError(t, conn.client.Close())
	}
	// A stream may wait for more than these before it says that it is worth a look.
	waiting := true
	select {
	case err := <-waited:
		require.NoError(t, err)
		waiting = false
	case <-time.After(soon):
	}

	byID := make(map[tcp.Identity]endpoints)
	for _, want := range wants {
		byID[before[want].ID] = want
	}
	sent := map[bool]uint64{true: 5, false: 0} // by whether it is a client
	got := make(map[endpoints]int)
	var lost uint64
	rubbish := &tcp.Holder{Started: -1}
	drain := func() error {
		n, err := stream.Drain(func(n *tcp.Notice) error {
			want, ours := byID[n.ID]
			if n.ID.Cookie == 0 {
				want = of(&n.Socket)
				_, ours = before[want]
			}
			if !ours {
				return nil // others' connections end, too
			}
			got[want]++
			assert.NotEqual(t, rubbish.Started, holder(n).Started, "what a visit left in the notice before")
			defer func() { *n = tcp.Notice{Holder: rubbish} }()
			assert.Equal(t, want, of(&n.Socket))
			assert.Equal(t, tcp.Closed, n.State)
			if n.Has(tcp.FieldBytesSent) {
				assert.Equal(t, sent[n.Peer == conns[0].ends[1]], n.BytesSent, "%v", want)
			}
			return nil
		})
		lost += n
		return err
	}
	require.Eventually(t, func() bool {
		require.NoError(t, drain())
		return len(got)+int(lost) >= len(wants)
	}, patience, time.Millisecond, "of %d notices came %d, and %d are said to be lost", len(wants), len(got), lost)
	assert.Zero(t, lost, "of a burst of %d", len(wants))
	for end, times := range got {
		assert.Equal(t, 1, times, "notices of %v", end)
	}

	// Nothing is there, somebody waits, and Drain returns all the same.
	if !waiting {
		wait()
	}
	time.Sleep(soon / 20) // until it does
	for range 3 {
		drained := make(chan error, 1)
		go func() { drained <- drain() }()
		select {
		case err := <-drained:
			require.NoError(t, err)
		case <-time.After(soon):
			t.Fatal("Drain waits for a notice, or for a Wait")
		}
	}

	require.NoError(t, stream.Close())
	for range 2 {
		select {
		case err := <-waited:
			if err == nil { // another's notice
				wait()
				continue
			}
			assert.ErrorIs(t, err, os.ErrClosed)
		case <-time.After(soon):
			t.Error("Close does not end a Wait")
		}
		break
	}
	assert.ErrorIs(t, drain(), os.ErrClosed)
	assert.ErrorIs(t, stream.Wait(), os.ErrClosed)
}

func holder(n *tcp.Notice) tcp.Holder {
	if n.Holder == nil {
		return tcp.Holder{}
	}
	return *n.Holder
}
