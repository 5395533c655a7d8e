// SPDX-License-Identifier: Apache-2.0

package procfs

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

func TestPorts(t *testing.T) {
	for text, want := range map[string][2]uint16{"32768\t60999\n": {32768, 60999}, "1 65535": {1, 65535}, "5 5": {5, 5}} {
		first, last, err := parsePorts([]byte(text))
		require.NoError(t, err, text)
		assert.Equal(t, want, [2]uint16{first, last})
	}
	for _, text := range []string{"", "1", "1 2 3", "2 1", "-1 5", "1 65536", "a b"} {
		_, _, err := parsePorts([]byte(text))
		assert.Error(t, err, text)
	}
}

func TestPortsAreCounters(t *testing.T) {
	r := NewCounters("testdata/states")
	r.ports = filepath.Join(t.TempDir(), "range")
	require.NoError(t, os.WriteFile(r.ports, []byte("32768\t60999\n"), 0o600))
	counters, err := r.Read(context.Background())
	require.NoError(t, err)
	for c, want := range map[tcp.Counter]uint64{tcp.EphemeralPortFirst: 32768, tcp.EphemeralPortLimit: 28232} {
		got, ok := counters.Get(c)
		assert.True(t, ok)
		assert.Equal(t, want, got)
	}
	r.ports += "gone"
	counters, err = r.Read(context.Background())
	assert.ErrorContains(t, err, "range of ephemeral ports")
	_, ok := counters.Get(tcp.OpensClient)
	assert.True(t, ok, "the rest is there")
}

func FuzzPorts(f *testing.F) {
	f.Add([]byte("32768\t60999\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		first, last, err := parsePorts(text)
		if err == nil && first > last {
			t.Errorf("%d to %d", first, last)
		}
	})
}
