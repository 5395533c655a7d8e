package detect

// lru is a table of a bounded number of entries, of which the least recently used
// is evicted. Keys are 64-bit hashes: among 100,000 entries, the chance that any two
// collide is below 1 in 10^9.
type lru[V any] struct {
	index   map[uint64]int32
	entries []lruEntry[V]
	// newest and oldest are ends of a list through entries; none if it is empty.
	newest, oldest int32
	limit          int
	evicted        uint64
}

type lruEntry[V any] struct {
	value        V
	key          uint64
	newer, older int32
}

const none int32 = -1

func newLRU[V any](limit int) lru[V] {
	return lru[V]{index: make(map[uint64]int32), newest: none, oldest: none, limit: limit}
}

// find returns the value of a key and makes it the newest; nil if there is none.
func (l *lru[V]) find(key uint64) *V {
	at, ok := l.index[key]
	if !ok {
		return nil
	}
	if at != l.newest {
		l.unlink(at)
		l.link(at)
	}
	return &l.entries[at].value
}

// get returns the value of a key, made if need be. A new value is what an evicted
// one was: whoever asks resets it, and so can use its memory again. The pointer is
// good until the next get.
func (l *lru[V]) get(key uint64) (value *V, isNew bool) {
	if v := l.find(key); v != nil {
		return v, false
	}
	at := int32(len(l.entries))
	if len(l.entries) >= l.limit {
		at = l.oldest
		l.unlink(at)
		delete(l.index, l.entries[at].key)
		l.evicted++
	} else {
		l.entries = append(l.entries, lruEntry[V]{})
	}
	l.entries[at].key = key
	l.index[key] = at
	l.link(at)
	return &l.entries[at].value, true
}

// all calls f with each value, the oldest first.
func (l *lru[V]) all(f func(*V)) {
	for at := l.oldest; at != none; {
		newer := l.entries[at].newer // f may not change the table, but reads it
		f(&l.entries[at].value)
		at = newer
	}
}

func (l *lru[V]) unlink(at int32) {
	e := &l.entries[at]
	if e.newer != none {
		l.entries[e.newer].older = e.older
	} else {
		l.newest = e.older
	}
	if e.older != none {
		l.entries[e.older].newer = e.newer
	} else {
		l.oldest = e.newer
	}
}

func (l *lru[V]) link(at int32) {
	e := &l.entries[at]
	e.newer, e.older = none, l.newest
	if l.newest != none {
		l.entries[l.newest].newer = at
	} else {
		l.oldest = at
	}
	l.newest = at
}
