// SPDX-License-Identifier: Apache-2.0

package kmod

import (
	"encoding/binary"
	"errors"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/netns"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// vnet is a struct tcpstats_vnet with counters of so many bytes.
func vnet(jail uint32, name string, stats uint32) []byte {
	b := make([]byte, vnetLen)
	binary.NativeEndian.PutUint32(b[atVnetJail:], jail)
	binary.NativeEndian.PutUint32(b[atVnetStatsLen:], stats)
	binary.NativeEndian.PutUint64(b[atVnetBorn:], 5e9)
	copy(b[atVnetName:atVnetStates], name)
	return b
}

func TestVnets(t *testing.T) {
	stack, err := parseVnet(vnet(7, "web.shop", 904), fakeHost{})
	require.NoError(t, err)
	want := source.Stack{Place: netns.Place{Namespace: 7, Name: "web.shop"}, Cookie: 5e9, States: tcp.States{tcp.Listen: 3}}
	want.Counters.Set(tcp.OpensClient, 904) // as many bytes as the host was given
	assert.Equal(t, want, stack)

	stack, err = parseVnet(vnet(7, "", vnetLen-atVnetStats), fakeHost{})
	require.NoError(t, err)
	assert.Empty(t, stack.Name)

	for want, b := range map[string][]byte{
		"network stack of 1935 bytes, wants 1936: cut off":                     vnet(7, "", 904)[:vnetLen-1],
		"counters of 1537 bytes in a network stack of 1936: unknown layout":    vnet(7, "", vnetLen-atVnetStats+1),
		"counters of 4294967295 bytes in a network stack of 1936: unknown lay": vnet(7, "", 1<<32-1),
	} {
		_, err := parseVnet(b, fakeHost{})
		assert.ErrorContains(t, err, want)
	}

	stack, err = parseVnet(vnet(7, "web", 904), otherHost{})
	require.NoError(t, err, "the network stack is there")
	assert.ErrorIs(t, stack.Err, errOther)
}

// otherHost does not know the layout of counters.
type otherHost struct{ fakeHost }

var errOther = errors.New("another layout")

func (otherHost) CountersOf([]byte, []byte) (tcp.Counters, tcp.States, error) {
	return tcp.Counters{}, tcp.States{}, errOther
}

// A link-local address in another vnet has that one's interface, whose name is not
// known here.
func TestZonesOfOtherVnets(t *testing.T) {
	for vnet, want := range map[uint32]string{0: "fe80::1%em0", 7: "fe80::1%3"} {
		b := append([]byte(nil), fixture(t)[headerLenV1:headerLenV1+recordLenV1]...)
		b[atIPVersion] = 6
		copy(b[atLocal:], []byte{0xfe, 0x80, 15: 1})
		binary.NativeEndian.PutUint32(b[atZone:], 3)
		binary.NativeEndian.PutUint32(b[atVnet:], vnet)
		d := NewDecoder()
		d.Zone = func(uint32) string { return "em0" }
		require.NoError(t, d.record(b))
		assert.Equal(t, want, d.socket.Local.Addr().String())
		assert.Equal(t, uint64(vnet), d.socket.ID.Namespace)
	}
}

func FuzzVnet(f *testing.F) {
	f.Add(vnet(7, "web", 904))
	f.Add(vnet(1<<32-1, string(make([]byte, 256)), 1<<32-1))
	f.Fuzz(func(t *testing.T, b []byte) {
		stack, err := parseVnet(b, fakeHost{})
		if err != nil {
			return
		}
		if n, _ := stack.Counters.Get(tcp.OpensClient); n > uint64(len(b)) {
			t.Fatalf("%d bytes of counters in %d", n, len(b))
		}
		if !utf8.ValidString(stack.Name) {
			t.Fatalf("name %q", stack.Name)
		}
	})
}
