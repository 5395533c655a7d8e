// SPDX-License-Identifier: Apache-2.0

package table

import (
	"cmp"
	"container/heap"
	"fmt"
	"iter"
	"strings"
)

// Order says which connections a limit keeps. Ties are broken by their
// totals, then by age (the older first), then by identity, so that the choice
// does not flicker.
type Order uint8

// The orders.
const (
	ByIO          Order = iota // most bytes both ways since the last dump, then in all
	ByRetransmits              // most retransmitted segments since the last dump, then in all
	ByRTT                      // longest smoothed round-trip time
	ByAge                      // oldest
)

var orderNames = []string{"io", "retransmits", "rtt", "age"}

// String returns the order's name in the configuration.
func (o Order) String() string {
	if int(o) < len(orderNames) {
		return orderNames[o]
	}
	return fmt.Sprintf("order(%d)", uint8(o))
}

// ParseOrder is the reverse of [Order.String].
func ParseOrder(name string) (Order, error) {
	for o, n := range orderNames {
		if n == name {
			return Order(o), nil
		}
	}
	return 0, fmt.Errorf("got %q, takes one of %s", name, strings.Join(orderNames, ", "))
}

// compare is positive where a comes before b.
func (o Order) compare(a, b *Connection) int {
	var c int
	switch o {
	case ByIO:
		c = cmp.Or(
			cmp.Compare(a.Delta.BytesSent+a.Delta.BytesReceived, b.Delta.BytesSent+b.Delta.BytesReceived),
			cmp.Compare(a.BytesSent+a.BytesReceived, b.BytesSent+b.BytesReceived))
	case ByRetransmits:
		c = cmp.Or(
			cmp.Compare(a.Delta.Retransmits, b.Delta.Retransmits),
			cmp.Compare(a.Retransmits, b.Retransmits))
	case ByRTT:
		c = cmp.Compare(a.SmoothedRTT, b.SmoothedRTT)
	}
	if c != 0 {
		return c
	}
	return cmp.Or(b.FirstSeen.Compare(a.FirstSeen), cmp.Compare(b.ID.Cookie, a.ID.Cookie), cmp.Compare(b.ID.Namespace, a.ID.Namespace))
}

// Top appends to dst those of the connections that want accepts, at most limit
// of them (0: all), and returns how many the limit left out. The order only says
// which are kept: they come in none. They have Details.
func Top(dst []*Connection, connections iter.Seq[*Connection], order Order, limit int, want func(*Connection) bool) (kept []*Connection, left int) {
	if limit == 0 {
		for c := range connections {
			if want(c) {
				dst = append(dst, c)
			}
		}
		return dst, 0
	}
	best := worstFirst{order: order, connections: dst}
	base := len(dst)
	for c := range connections {
		switch {
		case !want(c):
		case len(best.connections)-base < limit:
			best.connections = append(best.connections, c)
			if len(best.connections)-base == limit {
				best.connections = best.connections[base:]
				heap.Init(&best)
				base = 0
			}
		default:
			left++
			if order.compare(c, best.connections[0]) > 0 {
				best.connections[0] = c
				heap.Fix(&best, 0)
			}
		}
	}
	return best.connections, left
}

// worstFirst is a heap of the best connections so far.
type worstFirst struct {
	order       Order
	connections []*Connection
}

func (w *worstFirst) Len() int { return len(w.connections) }
func (w *worstFirst) Less(i, j int) bool {
	return w.order.compare(w.connections[i], w.connections[j]) < 0
}
func (w *worstFirst) Swap(i, j int) {
	w.connections[i], w.connections[j] = w.connections[j], w.connections[i]
}
func (w *worstFirst) Push(any) { panic("unused: the heap has a fixed size") }
func (w *worstFirst) Pop() any { panic("unused: the heap has a fixed size") }
