// SPDX-License-Identifier: Apache-2.0

package table

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"
)

// Mirrors finds the other ends of connections that have both ends on this host:
// the connection with the same endpoints in reverse. Tables that share it, those of
// the network namespaces of a host, are searched together.
type Mirrors struct {
	seed  maphash.Seed
	index map[uint64]uint32 // the first of those with one hash of the endpoints: its slot, from 1
	ends  []end             // by slot
}

// end is a connection in the index.
type end struct {
	connection *Connection // nil: none
	table      *Table
	hash       uint64
	next       uint32 // the next with the same hash: its slot, from 1; 0: none
}

// NewMirrors returns an index without connections.
func NewMirrors() *Mirrors {
	return &Mirrors{seed: maphash.MakeSeed(), index: make(map[uint64]uint32)}
}

// hash is one of a connection's endpoints. Zones do not count: the two ends of one
// link have different names for it.
func (m *Mirrors) hash(local, peer netip.AddrPort) uint64 {
	var key [16 + 2 + 16 + 2]byte
	from, to := local.Addr().As16(), peer.Addr().As16()
	copy(key[0:], from[:])
	binary.NativeEndian.PutUint16(key[16:], local.Port())
	copy(key[18:], to[:])
	binary.NativeEndian.PutUint16(key[34:], peer.Port())
	return maphash.Bytes(m.seed, key[:])
}

// add takes a connection into the index; listeners are not taken.
func (m *Mirrors) add(t *Table, c *Connection) {
	if m == nil || c.Peer.Port() == 0 {
		return
	}
	for int(c.Slot) >= len(m.ends) {
		m.ends = append(m.ends, end{})
	}
	hash := m.hash(c.Local, c.Peer)
	m.ends[c.Slot] = end{c, t, hash, m.index[hash]}
	m.index[hash] = c.Slot + 1
}

// remove takes a connection out of the index, if it is there.
func (m *Mirrors) remove(c *Connection) {
	if m == nil || int(c.Slot) >= len(m.ends) || m.ends[c.Slot].connection != c {
		return
	}
	gone := &m.ends[c.Slot]
	if first := m.index[gone.hash]; first != c.Slot+1 {
		before := &m.ends[first-1]
		for before.next != c.Slot+1 {
			before = &m.ends[before.next-1]
		}
		before.next = gone.next
	} else if gone.next != 0 {
		m.index[gone.hash] = gone.next
	} else {
		delete(m.index, gone.hash)
	}
	*gone = end{}
}

// Find returns the other end of a connection that has the given endpoints in a
// table, and the table which that is in. One in the same table comes first. Of
// several in others nobody can say which it is, and loopback addresses are each
// namespace's own: it returns nil then.
func (m *Mirrors) Find(t *Table, local, peer netip.AddrPort) (*Connection, *Table) {
	if m == nil {
		return nil, nil
	}
	var other end
	several := false
	for slot := m.index[m.hash(peer, local)]; slot != 0; slot = m.ends[slot-1].next {
		e := m.ends[slot-1]
		switch c := e.connection; {
		case !sameEnd(c.Local, peer) || !sameEnd(c.Peer, local):
		case e.table == t:
			return c, t
		default:
			several = several || other.table != nil && other.table != e.table
			if other.table == nil {
				other = e // the latest one
			}
		}
	}
	if several || peer.Addr().IsLoopback() {
		return nil, nil
	}
	return other.connection, other.table
}

func sameEnd(a, b netip.AddrPort) bool {
	return a.Port() == b.Port() && a.Addr().WithZone("") == b.Addr().WithZone("")
}
