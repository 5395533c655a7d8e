// SPDX-License-Identifier: Apache-2.0

// Package route reads which gateway leads to an address. It knows the main table of
// the network namespace alone: no rules, no other tables, no multipath.
package route

import (
	"cmp"
	"net/netip"
	"slices"
)

// maxRoutes is how many routes a table may have to be searched for each network of
// peers. Hosts that have more are routers.
const maxRoutes = 256

// Table has the routes of a host. The zero Table has none.
type Table struct {
	routes []entry // the longest prefix first, among those of one length the best
}

// entry is one route.
type entry struct {
	prefix  netip.Prefix
	gateway netip.Addr // invalid: the destination is on the link
	metric  uint32
}

func newTable(routes []entry) Table {
	slices.SortStableFunc(routes, func(a, b entry) int {
		return cmp.Or(cmp.Compare(b.prefix.Bits(), a.prefix.Bits()), cmp.Compare(a.metric, b.metric))
	})
	return Table{routes}
}

// Len is the number of routes.
func (t Table) Len() int { return len(t.routes) }

// Gateway returns the gateway that leads to an address. It is invalid, with ok, if the
// address is on a link of this host. Without ok there is no route.
func (t Table) Gateway(to netip.Addr) (gateway netip.Addr, ok bool) {
	to = to.Unmap().WithZone("")
	for i := range t.routes {
		if t.routes[i].prefix.Contains(to) {
			return t.routes[i].gateway, true
		}
	}
	return netip.Addr{}, false
}
