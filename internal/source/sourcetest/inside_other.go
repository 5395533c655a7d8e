// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package sourcetest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// testNamespaces tests that what claims to read other network stacks does so in one
// dump: here is none that could be entered.
func (c *conformance) testNamespaces(t *testing.T) {
	if c.capabilities.Missing(source.Namespaces) != 0 {
		t.Skip("the source reads no other network stacks")
	}
	src := c.open(t)
	spanning, ok := src.(source.Spanning)
	require.True(t, ok)
	require.NoError(t, spanning.Span())
	require.NoError(t, spanning.Span(), "twice is fine")
	stacks, err := spanning.Stacks(t.Context())
	require.NoError(t, err)
	known := map[uint64]bool{0: true}
	for _, s := range stacks {
		require.NotZero(t, s.Namespace)
		require.False(t, known[s.Namespace], "twice")
		known[s.Namespace] = true
	}
	require.NoError(t, src.Sockets(t.Context(), func(s *tcp.Socket) error {
		require.True(t, known[s.ID.Namespace], "a socket in a network stack that is not listed")
		return nil
	}))
}
