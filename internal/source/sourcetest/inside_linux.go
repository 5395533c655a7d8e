// SPDX-License-Identifier: Apache-2.0

package sourcetest

import (
	"context"
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/netns"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// testNamespaces opens, reads and closes the source in another network namespace:
// what it sees is there, and nothing of it is left here.
func (c *conformance) testNamespaces(t *testing.T) {
	if c.capabilities.Missing(source.Namespaces) != 0 {
		t.Skip("does not read other network namespaces")
	}
	ns := NewNamespace(t)
	here := pair(t)
	var there connection
	var src source.Source
	require.NoError(t, ns.Do(func() error {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return err
		}
		if there, err = connect(l); err != nil {
			return err
		}
		if err := l.Close(); err != nil {
			return err
		}
		src, err = c.factory.Open(context.Background())
		return err
	}))
	src = source.Inside(ns.Do, src)
	assert.Equal(t, c.factory.Name, src.Name())
	all := dump(t, src, there.ends, there.ends.reverse())
	assert.NotContains(t, all, here.ends)
	for _, s := range all {
		assert.Equal(t, ns.ID(), s.ID.Namespace)
	}
	counters, err := src.Counters(t.Context())
	require.NoError(t, err)
	opens, ok := counters.Get(tcp.OpensClient)
	assert.True(t, ok)
	assert.EqualValues(t, 1, opens, "counts what happens there")

	var stream source.CloseStream
	if c.capabilities.Missing(source.Closes) == 0 {
		stream, err = src.(source.CloseNotifier).Closes()
		require.NoError(t, err)
	}
	if n, ok := src.(source.Narrower); ok {
		require.NoError(t, n.Narrow(&source.Filter{States: []tcp.State{tcp.Listen}}, false))
		require.NoError(t, n.Narrow(nil, false))
		dump(t, src, there.ends)
	}
	// A dump that is left has its socket opened again, which has to be there, too.
	_ = src.Sockets(t.Context(), func(*tcp.Socket) error { return context.Canceled })
	assert.NotContains(t, dump(t, src, there.ends), here.ends)
	require.NoError(t, src.Close())
	require.NoError(t, src.Close(), "closing twice is fine")

	// Notices are read from here.
	require.NoError(t, there.client.SetLinger(0))
	require.NoError(t, there.close())
	if stream != nil {
		require.NoError(t, stream.Wait())
		id := all[there.ends.reverse()].ID
		assert.Eventually(t, func() (came bool) {
			_, err := stream.Drain(func(n *tcp.Notice) error {
				assert.Equal(t, ns.ID(), n.ID.Namespace)
				came = came || n.ID == id
				return nil
			})
			require.NoError(t, err)
			return came
		}, patience, soon/1000)
		require.NoError(t, stream.Close())
	}
	own, err := netns.Own()
	require.NoError(t, err)
	assert.NotEqual(t, ns.ID(), own)
}
