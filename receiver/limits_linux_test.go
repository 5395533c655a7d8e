// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/route"
)

func TestLimits(t *testing.T) {
	dir := t.TempDir()
	assert.Zero(t, limitsFrom(dir, dir), "nothing can be read")
	for name, text := range map[string]string{
		"ipv4/ip_local_port_range": "32768\t60999\n", "netfilter/nf_conntrack_count": "17\n", "netfilter/nf_conntrack_max": "262144\n",
		"route": "eth0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0\n",
	} {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	all := limitsFrom(dir, dir)
	assert.Equal(t, 1, all.routes.Len())
	all.routes = route.Table{}
	assert.Equal(t, limits{firstPort: 32768, lastPort: 60999, tracked: 17, trackedLimit: 262144}, all)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "ipv4/ip_local_port_range"), []byte("32768 x"), 0o600))
	assert.Zero(t, limitsFrom(dir, dir).firstPort)
	live := readLimits()
	assert.Less(t, live.firstPort, live.lastPort)
}
