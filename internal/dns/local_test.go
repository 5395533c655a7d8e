// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"errors"
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLocal(t *testing.T) {
	var err error
	listed := 0
	addrs := []net.Addr{&net.IPNet{IP: net.ParseIP("192.0.2.1")}, &net.IPNet{IP: net.ParseIP("fe80::1")}}
	l := &Local{list: func() ([]net.Addr, error) { listed++; return addrs, err }}
	has := func(addr string, second int) bool { return l.Has(netip.MustParseAddr(addr), at(second)) }
	assert.True(t, has("127.0.0.1", 0))
	assert.True(t, has("::1", 0))
	assert.Zero(t, listed)
	assert.True(t, has("192.0.2.1", 0))
	assert.True(t, has("::ffff:192.0.2.1", 0))
	assert.True(t, has("fe80::1%eth0", 0))
	assert.False(t, has("192.0.2.2", 1))
	assert.Equal(t, 1, listed)

	addrs = append(addrs, &net.IPNet{IP: net.ParseIP("192.0.2.2")})
	assert.False(t, has("192.0.2.2", 9), "listed a short while ago")
	assert.True(t, has("192.0.2.2", 10))
	err = errors.New("too many open files")
	assert.False(t, has("192.0.2.3", 30))
	assert.True(t, has("192.0.2.2", 60), "of the last list")
	assert.Equal(t, 3, listed)
}

func TestLocalHere(t *testing.T) {
	inside := 0
	l := NewLocal(func(f func() error) error { inside++; return f() })
	all, err := net.InterfaceAddrs()
	require.NoError(t, err)
	for _, one := range all {
		if a, ok := netip.AddrFromSlice(one.(*net.IPNet).IP); ok {
			assert.True(t, l.Has(a, start), a)
		}
	}
	assert.False(t, l.Has(netip.MustParseAddr("203.0.113.77"), start))
	assert.LessOrEqual(t, inside, 1)
	assert.True(t, NewLocal(nil).Has(netip.MustParseAddr("127.0.0.1"), start))
}
