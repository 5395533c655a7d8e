// SPDX-License-Identifier: Apache-2.0

package detect

import order "github.com/netpulse/tcpstatsreceiver/internal/lru"

// lru is a table of a bounded number of entries, of which the least recently used
// is evicted. Keys are 64-bit hashes: among 100,000 entries, the chance that any two
// collide is below 1 in 10^9.
type lru[V any] struct {
	index   map[uint64]int32
	entries []lruEntry[V]
	order   order.Order // of entries
	limit   int
	evicted uint64
}

type lruEntry[V any] struct {
	value V
	key   uint64
}

func newLRU[V any](limit int) lru[V] {
	return lru[V]{index: make(map[uint64]int32), order: order.NewOrder(), limit: limit}
}

// find returns the value of a key and makes it the newest; nil if there is none.
func (l *lru[V]) find(key uint64) *V {
	at, ok := l.index[key]
	if !ok {
		return nil
	}
	l.order.Renew(at)
	return &l.entries[at].value
}

// get returns the value of a key, made if need be. A new value is what an evicted
// one was: whoever asks resets it, and so can use its memory again. The pointer is
// good until the next get.
func (l *lru[V]) get(key uint64) (value *V, isNew bool) {
	if v := l.find(key); v != nil {
		return v, false
	}
	var at int32
	if len(l.entries) >= l.limit {
		at = l.order.Oldest()
		l.order.Renew(at)
		delete(l.index, l.entries[at].key)
		l.evicted++
	} else {
		at = l.order.Add()
		l.entries = append(l.entries, lruEntry[V]{})
	}
	l.entries[at].key = key
	l.index[key] = at
	return &l.entries[at].value, true
}

// all calls f with each value, the oldest first.
func (l *lru[V]) all(f func(*V)) {
	for at := l.order.Oldest(); at != order.None; {
		newer := l.order.Newer(at) // f may not change the table, but reads it
		f(&l.entries[at].value)
		at = newer
	}
}
