// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"slices"
)

// Service is an entry of a list of services.
type Service struct {
	// Prefix is the network that the service is in.
	Prefix netip.Prefix
	// Port is where it listens, 0 for any port.
	Port uint16
	Name string
}

// String is the entry as people write it.
func (s Service) String() string {
	if s.Port == 0 {
		return fmt.Sprintf("%s (%s)", s.Name, s.Prefix)
	}
	return fmt.Sprintf("%s (%s, port %d)", s.Name, s.Prefix, s.Port)
}

// Services finds entries of a list by address and port: the first that matches, in
// the order of the list. It does not change, so any goroutine may use it.
type Services struct {
	list       []Service
	ipv4, ipv6 ranges
	networks   []network
	ports      []portEntry // of each network together, by port
}

// network is a prefix that the list has, with all entries of that prefix.
type network struct {
	prefix netip.Prefix
	// parent is the smallest network that has this one in it, none if there is none.
	parent int32
	// any is the first entry for any port, first the first entry at all of this
	// network and those around it.
	any, first int32
	// The entries for one port are from ports[from] to ports[to].
	from, to int32
}

// portEntry is the first entry of a network for a port.
type portEntry struct {
	network int32
	port    uint16
	entry   int32
}

type portKey struct {
	network int32
	port    uint16
}

// Where there is no network, or no entry.
const (
	noNetwork = -1
	noService = math.MaxInt32
)

// ranges cuts the addresses of a family into ranges, each of which begins where a
// network begins or ends: the smallest network of each is known beforehand.
type ranges struct {
	starts   []bits128
	networks []int32
	// top narrows the search by the address's first 16 bits: the ranges that may have
	// it are from top[n] to top[n+1].
	top []int32
}

// bits128 is an address as a number. IPv4 is in the upper bits.
type bits128 struct{ high, low uint64 }

func bitsOf(a netip.Addr) bits128 {
	if a.Is4() {
		b := a.As4()
		return bits128{high: uint64(binary.BigEndian.Uint32(b[:])) << 32}
	}
	b := a.As16()
	return bits128{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

// NewServices makes the list searchable. It returns a warning for each entry that
// is never found, since an earlier one matches all that it does.
func NewServices(list []Service) (services *Services, warnings []string) {
	s := &Services{list: slices.Clone(list)}
	byPort := make(map[portKey]int32)
	byPrefix := make(map[netip.Prefix]int32)
	for i, entry := range s.list {
		prefix := entry.Prefix.Masked()
		n, ok := byPrefix[prefix]
		if !ok {
			n = int32(len(s.networks))
			byPrefix[prefix] = n
			s.networks = append(s.networks, network{prefix: prefix, parent: noNetwork, any: noService})
		}
		key := portKey{n, entry.Port}
		if by := s.hides(prefix, entry.Port, byPrefix, byPort); by != noService {
			warnings = append(warnings, fmt.Sprintf("%s is never found: %s comes before it and matches all that it does", entry, s.list[by]))
		}
		switch {
		case entry.Port == 0:
			s.networks[n].any = min(s.networks[n].any, int32(i))
		case !hasKey(byPort, key):
			byPort[key] = int32(i)
		}
	}
	s.sortPorts(byPort)
	s.ipv4, s.ipv6 = s.build(byPrefix, 32), s.build(byPrefix, 128)
	return s, warnings
}

func hasKey(m map[portKey]int32, key portKey) bool {
	_, ok := m[key]
	return ok
}

// hides returns the first entry so far that matches the whole prefix at a port.
func (s *Services) hides(prefix netip.Prefix, port uint16, byPrefix map[netip.Prefix]int32, byPort map[portKey]int32) int32 {
	by := int32(noService)
	for bits := prefix.Bits(); bits >= 0; bits-- {
		around := netip.PrefixFrom(prefix.Addr(), bits).Masked()
		if n, ok := byPrefix[around]; ok {
			by = min(by, s.networks[n].any)
			if i, ok := byPort[portKey{n, port}]; ok && port != 0 {
				by = min(by, i)
			}
		}
	}
	return by
}

// build cuts the addresses of one family into ranges.
func (s *Services) build(byPrefix map[netip.Prefix]int32, bits int) ranges {
	var order []int32
	for prefix, n := range byPrefix {
		if prefix.Addr().BitLen() == bits {
			order = append(order, n)
		}
	}
	// Those around others come first.
	slices.SortFunc(order, func(a, b int32) int {
		p, q := s.networks[a].prefix, s.networks[b].prefix
		return cmp.Or(p.Addr().Compare(q.Addr()), cmp.Compare(p.Bits(), q.Bits()))
	})
	var r ranges
	start := func(addr netip.Addr, n int32) {
		at := bitsOf(addr)
		if last := len(r.starts) - 1; last >= 0 && r.starts[last] == at {
			r.networks[last] = n
			return
		}
		r.starts, r.networks = append(r.starts, at), append(r.networks, n)
	}
	// inside are the networks that the scan is in, from the largest to the smallest.
	var inside []int32
	leave := func() {
		n := inside[len(inside)-1]
		inside = inside[:len(inside)-1]
		if after := lastOf(s.networks[n].prefix).Next(); after.IsValid() {
			start(after, s.networks[n].parent)
		}
	}
	for _, n := range order {
		w := &s.networks[n]
		for len(inside) > 0 && !s.networks[inside[len(inside)-1]].prefix.Contains(w.prefix.Addr()) {
			leave()
		}
		w.first = w.any
		for _, p := range s.ports[w.from:w.to] {
			w.first = min(w.first, p.entry)
		}
		if len(inside) > 0 {
			w.parent = inside[len(inside)-1]
			w.first = min(w.first, s.networks[w.parent].first)
		}
		inside = append(inside, n)
		start(w.prefix.Addr(), n)
	}
	for len(inside) > 0 {
		leave()
	}
	r.index()
	return r
}

// sortPorts puts the entries for one port where Lookup finds them.
func (s *Services) sortPorts(byPort map[portKey]int32) {
	for key, i := range byPort {
		s.ports = append(s.ports, portEntry{key.network, key.port, i})
	}
	slices.SortFunc(s.ports, func(a, b portEntry) int {
		return cmp.Or(cmp.Compare(a.network, b.network), cmp.Compare(a.port, b.port))
	})
	for i, p := range s.ports {
		n := &s.networks[p.network]
		if n.to == 0 {
			n.from = int32(i)
		}
		n.to = int32(i + 1)
	}
}

func lastOf(p netip.Prefix) netip.Addr {
	if p.Addr().Is4() {
		b := p.Addr().As4()
		fill(b[:], p.Bits())
		return netip.AddrFrom4(b)
	}
	b := p.Addr().As16()
	fill(b[:], p.Bits())
	return netip.AddrFrom16(b)
}

// fill sets all bits behind the first ones.
func fill(b []byte, bits int) {
	for i := bits; i < 8*len(b); i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
}

// index fills top.
func (r *ranges) index() {
	if len(r.starts) == 0 {
		return
	}
	r.top = make([]int32, 1<<16+1)
	next := 0
	for i := range 1 << 16 {
		for next < len(r.starts) && int(r.starts[next].high>>48) < i {
			next++
		}
		r.top[i] = int32(next)
	}
	r.top[1<<16] = int32(len(r.starts))
}

// network returns the smallest network that an address is in.
func (r *ranges) network(a netip.Addr) int32 {
	if len(r.starts) == 0 {
		return noNetwork
	}
	at := bitsOf(a)
	top := at.high >> 48
	low, high := int(r.top[top]), int(r.top[top+1])
	// The last range that begins at the address or before it.
	for low < high {
		middle := int(uint(low+high) >> 1)
		if start := r.starts[middle]; start.high < at.high || start.high == at.high && start.low <= at.low {
			low = middle + 1
		} else {
			high = middle
		}
	}
	if low == 0 {
		return noNetwork
	}
	return r.networks[low-1]
}

// Lookup returns the name of the first entry that matches, "" if none does.
func (s *Services) Lookup(peer netip.AddrPort) string {
	addr := peer.Addr().Unmap().WithZone("")
	r := &s.ipv6
	if addr.Is4() {
		r = &s.ipv4
	}
	best := int32(noService)
	for n := r.network(addr); n != noNetwork; {
		w := &s.networks[n]
		if w.first >= best {
			break // nothing further out comes earlier
		}
		best = min(best, w.any)
		best = min(best, atPort(s.ports[w.from:w.to], peer.Port()))
		n = w.parent
	}
	if best == noService {
		return ""
	}
	return s.list[best].Name
}

// atPort returns the entry for a port.
func atPort(sorted []portEntry, port uint16) int32 {
	for len(sorted) > 8 {
		if half := len(sorted) / 2; sorted[half].port <= port {
			sorted = sorted[half:]
		} else {
			sorted = sorted[:half]
		}
	}
	for _, p := range sorted {
		if p.port == port {
			return p.entry
		}
	}
	return noService
}
