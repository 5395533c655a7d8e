// SPDX-License-Identifier: Apache-2.0

package beneath

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The files are of a real host, with numbers changed where they were 0.
func TestRead(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"nf_conntrack_count": "12\n", "nf_conntrack_max": "262144\n"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	n, err := ReadProcfs("testdata", dir, AllParts)
	require.NoError(t, err)
	for _, family := range []Family{IPv4, IPv6} {
		for number := range NumNumbers {
			_, ok := n.Get(family, number)
			assert.True(t, ok, "family %d, number %d", family, number)
		}
	}
	get := func(family Family, number Number) uint64 {
		v, _ := n.Get(family, number)
		return v
	}
	assert.Equal(t, uint64(31), get(IPv4, UDPReceiveBuffer))
	assert.Equal(t, uint64(32), get(IPv4, IPNoRoutes))
	assert.Equal(t, uint64(33), get(IPv4, ICMPUnreachablesReceived))
	assert.Equal(t, uint64(61), get(IPv6, UDPNoPort))
	assert.Equal(t, uint64(62), get(IPv6, ICMPSendErrors))
	assert.Equal(t, &Softnet{Drops: 0x12, Squeezes: 0x34, HasSqueezes: true}, n.Softnet)
	assert.Equal(t, &Conntrack{Usage: 12, Limit: 262144}, n.Conntrack)
	require.NotEmpty(t, n.Interfaces)
	assert.Contains(t, n.Interfaces, Interface{Name: "eth0:1", Errors: [2]uint64{3, 11}, Drops: [2]uint64{4, 12}})
}

// What the host does not have has no number, and is no error.
func TestReadOfAHostWithoutThem(t *testing.T) {
	n, err := ReadProcfs(t.TempDir(), t.TempDir(), AllParts)
	require.NoError(t, err)
	assert.Equal(t, Numbers{}, n)
}

// What makes no sense costs its own file only.
func TestReadOfNonsense(t *testing.T) {
	for name, text := range map[string]string{
		"snmp": "Udp: InDatagrams\nUdp: many\n", "snmp6": "one\n", "softnet_stat": "00 xx 00\n", "dev": "eth0: 1 2 3\n",
	} {
		dir := t.TempDir()
		for _, other := range []string{"snmp", "snmp6", "softnet_stat", "dev"} {
			of, err := os.ReadFile(filepath.Join("testdata", other))
			require.NoError(t, err)
			if other == name {
				of = []byte(text)
			}
			require.NoError(t, os.WriteFile(filepath.Join(dir, other), of, 0o600))
		}
		n, err := ReadProcfs(dir, dir, AllParts)
		assert.ErrorContains(t, err, filepath.Join(dir, name))
		_, ok := n.Get(IPv6, UDPReceived)
		assert.Equal(t, name != "snmp6", ok)
		assert.Equal(t, name == "softnet_stat", n.Softnet == nil)
	}
}

func TestReadLive(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there is no procfs")
	}
	n, err := ReadProcfs(Dir, ConntrackDir, AllParts)
	require.NoError(t, err)
	_, ok := n.Get(IPv4, IPReceived)
	assert.True(t, ok)
	assert.NotNil(t, n.Softnet)
}

func FuzzParse(f *testing.F) {
	for _, name := range []string{"snmp", "snmp6", "softnet_stat", "dev"} {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		require.NoError(f, err)
		f.Add(text)
	}
	f.Fuzz(func(_ *testing.T, text []byte) {
		var n Numbers
		for _, parse := range []func([]byte, *Numbers) error{parseSNMP, parseSNMP6, parseSoftnet, parseInterfaces} {
			_ = parse(text, &n)
		}
	})
}
