// SPDX-License-Identifier: Apache-2.0

package table

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// withMirrors are tables that share an index.
func withMirrors(n int) (m *Mirrors, tables []*Table) {
	m = NewMirrors()
	slots := &Slots{}
	for range n {
		tables = append(tables, New(Options{Boot: boot, Events: &recorder{}, Slots: slots, Mirrors: m}))
	}
	return m, tables
}

func between(cookie uint64, local, peer string) *tcp.Socket {
	return socket(cookie, func(s *tcp.Socket) {
		s.Local, s.Peer = netip.MustParseAddrPort(local), netip.MustParseAddrPort(peer)
	})
}

func scrapeAll(tables []*Table, second int, sockets ...[]*tcp.Socket) {
	for i, t := range tables {
		dump(t, at(second), sockets[i]...)
	}
	for _, t := range tables {
		t.Report()
	}
}

func TestMirrors(t *testing.T) {
	const (
		client, server = "10.0.0.1:40000", "10.0.0.2:443"
		near, far      = "127.0.0.1:40000", "127.0.0.1:443"
	)
	m, tables := withMirrors(3)
	find := func(in int, local, peer string) uint64 {
		c, _ := m.Find(tables[in], netip.MustParseAddrPort(local), netip.MustParseAddrPort(peer))
		if c == nil {
			return 0
		}
		return c.ID.Cookie
	}
	scrapeAll(tables, 0,
		[]*tcp.Socket{between(1, client, server), between(3, near, far), between(4, far, near)},
		[]*tcp.Socket{between(2, server, client), between(5, far, near)}, nil)
	assert.Equal(t, uint64(2), find(0, client, server), "in another namespace")
	assert.Equal(t, uint64(1), find(1, server, client))
	assert.Equal(t, uint64(4), find(0, near, far), "in the same namespace")
	assert.Equal(t, uint64(3), find(0, far, near))
	assert.Zero(t, find(1, far, near), "the loopback interface of another namespace")
	assert.Zero(t, find(0, server, server))

	scrapeAll(tables, 10,
		[]*tcp.Socket{between(1, client, server)},
		[]*tcp.Socket{between(2, server, client)},
		[]*tcp.Socket{between(6, server, client)})
	assert.Zero(t, find(0, client, server), "two namespaces have the same address")
	assert.Equal(t, uint64(1), find(1, server, client))

	scrapeAll(tables, 20, []*tcp.Socket{between(1, client, server)}, nil, []*tcp.Socket{between(6, server, client)})
	assert.Equal(t, uint64(6), find(0, client, server), "the other one is gone")

	scrapeAll(tables, 30, nil, nil, nil)
	assert.Empty(t, m.index)
	for _, e := range m.ends {
		assert.Zero(t, e)
	}
}

// Whatever comes and goes, the index has exactly the live connections.
func TestMirrorsUnderChange(t *testing.T) {
	m, tables := withMirrors(2)
	r := rand.New(rand.NewPCG(1, 2))
	ports := func(port uint16) string { return netip.AddrPortFrom(netip.MustParseAddr("192.0.2.9"), port).String() }
	for second := range 200 {
		sockets := make([][]*tcp.Socket, 2)
		want := 0
		for i := range sockets {
			for cookie := range uint64(20) {
				if r.IntN(2) == 0 {
					// Several of them have the same endpoints.
					sockets[i] = append(sockets[i], between(1+cookie, ports(uint16(1+cookie%5)), ports(uint16(100+cookie%2))))
					want++
				}
			}
		}
		scrapeAll(tables, second, sockets...)
		got := 0
		for _, slot := range m.index {
			for ; slot != 0; slot = m.ends[slot-1].next {
				got++
			}
		}
		assert.Equal(t, want, got)
	}
	tables[0].Reset()
	tables[1].Reset()
	assert.Empty(t, m.index)
}
