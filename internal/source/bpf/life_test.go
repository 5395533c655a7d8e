// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

func sampleOf(cookie uint64) *tcp.Socket { return &tcp.Socket{ID: tcp.Identity{Cookie: cookie}} }

func TestLives(t *testing.T) {
	ls := lives{of: make(map[uint64]*life)}
	ls.begin()
	assert.False(t, ls.show(sampleOf(1)))

	kept := make([]byte, lifeLen)
	kept[lifeRole], kept[lifeRetransmits+4] = flagServer, 7
	s := sampleOf(1)
	ls.kept(kept, s)
	require.True(t, ls.show(s))
	assert.Equal(t, tcp.Server, s.Role)
	assert.False(t, s.Has(tcp.FieldRetransmitsBy), "nobody has counted them")

	change := make([]byte, changeLen)
	binary.LittleEndian.PutUint64(change, 1)
	change[changeRole], change[changeCounted], change[changeRetransmits+4] = flagClient, 1, 8
	require.NoError(t, ls.changed(change))
	s = sampleOf(1)
	require.True(t, ls.show(s))
	assert.Equal(t, tcp.Client, s.Role)
	assert.True(t, s.Has(tcp.FieldRetransmitsBy))
	assert.Equal(t, uint64(8), s.RetransmitsBy[tcp.TimeoutRetransmit])

	assert.Error(t, ls.changed(change[:changeLen-1]))
	ls.kept(kept[:lifeLen-1], sampleOf(2))
	assert.False(t, ls.show(sampleOf(2)))
}

// What dumps do not have any more is forgotten, before it is much.
func TestLivesAreForgotten(t *testing.T) {
	ls := lives{of: make(map[uint64]*life)}
	change := make([]byte, changeLen)
	for dump := range uint64(100) {
		ls.begin()
		require.True(t, dump == 0 || ls.show(sampleOf(0)), "it lives on")
		for i := range uint64(100) {
			binary.LittleEndian.PutUint64(change, dump*100+i)
			require.NoError(t, ls.changed(change))
		}
		ls.end(1)
		assert.Less(t, len(ls.of), 500)
	}
	assert.True(t, ls.show(sampleOf(9999)), "of this dump: the next will have it")
}

func FuzzLives(f *testing.F) {
	f.Add(make([]byte, changeLen), make([]byte, lifeLen))
	f.Fuzz(func(t *testing.T, change, kept []byte) {
		ls := lives{of: make(map[uint64]*life)}
		s := sampleOf(3)
		ls.kept(kept, s)
		if (ls.changed(change) == nil) != (len(change) >= changeLen) {
			t.Fatal("a record is as long as it is")
		}
		ls.show(s)
		if s.Role > tcp.Server {
			t.Fatalf("role %d", s.Role)
		}
	})
}
