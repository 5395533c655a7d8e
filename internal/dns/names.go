// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/lru"
)

// DefaultNames is how many addresses [Names] remembers by default.
const DefaultNames = 100_000

const (
	// minLife is how long a name is remembered at least: programs keep addresses
	// for longer than the TTL allows.
	minLife = 30 * time.Minute
	// maxLife caps TTLs, as RFC 8767 §4 recommends.
	maxLife = 7 * 24 * time.Hour
	// maxNamesOfOne is how many names one address may have. Front ends of content
	// networks have thousands; the latest are what matters.
	maxNamesOfOne = 8
	// rowsPerAddress and bytesPerAddress bound the memory: addresses have that many
	// names, and bytes of names, on average. A name that several of them have counts
	// its bytes once. With DefaultNames that is 16 MiB at most.
	rowsPerAddress  = 1.5
	bytesPerAddress = 48
	// tolerance is how much later than a connection's opening its name may have been
	// given: openings are known to some clock ticks, and captured packets are stamped
	// a little late.
	tolerance = 50 * time.Millisecond
	// maxHeldTries is how many addresses in use are passed over in search of one
	// that can be given up.
	maxHeldTries = 16
)

// none ends a list of indices.
const none = -1

// Names are the names that addresses were given for. All methods may be called by
// any goroutine.
//
// There are many of them, so they have no pointers but those to large pieces of
// memory: addresses, the rows of their names, and the names themselves are numbers.
type Names struct {
	mu     sync.Mutex
	limit  int // addresses
	seed   maphash.Seed
	index  index // of addrs, by address
	addrs  pages[named]
	rows   pages[row]
	texts  arena     // the names
	order  lru.Order // of addrs
	empty  int32     // list of rows, by next
	used   int       // rows
	clock  clock
	counts NamesCounts
}

// NamesCounts are counters since the start, but for Addresses.
type NamesCounts struct {
	// Addresses is how many addresses have a name now.
	Addresses int
	// Evicted is how many addresses lost their names because there were too many.
	Evicted uint64
	// Refused is how many names were not stored because all addresses were in use.
	Refused uint64
}

// named is an address with names. Those in use are not given up.
type named struct {
	addr [16]byte
	rows int32
	held int32
}

// row is a name of an address, asked for under a key.
type row struct {
	name int32 // text of the arena
	key  uint32
	// When the name was given first, last and the time before, and until when it is
	// remembered, by the clock of the names. A name that is asked for again after a
	// connection has opened may also be the one that was asked for before.
	first, before, last, until uint32
	// next is the row that was given next after this one.
	next int32
}

// NewNames returns names for at most so many addresses.
func NewNames(limit int) *Names {
	return &Names{limit: limit, seed: maphash.MakeSeed(), texts: newArena(), order: lru.NewOrder(), empty: none}
}

// short makes 32 bits of a key: the inodes of namespaces have no more.
func short(key uint64) uint32 { return uint32(key) ^ uint32(key>>32) }

// Add notes that a name was given addresses at a time. key identifies
// the process or network namespace that asked, 0 if it is not known. name is copied.
func (n *Names) Add(name []byte, addresses []Address, key uint64, at time.Time) {
	if len(name) == 0 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.now(at)
	fresh := row{name: noText, key: short(key), first: now, before: now, last: now}
	for _, a := range addresses {
		if unnamed(a.Addr) {
			continue
		}
		fresh.until = now + uint32(min(max(a.TTL, minLife), maxLife).Milliseconds())
		n.add(name, a.Addr.As16(), &fresh)
	}
	if fresh.name != noText {
		n.texts.drop(fresh.name)
	}
	n.tidy()
}

// now returns a time by the clock of the names, which it winds when that is due.
func (n *Names) now(at time.Time) uint32 {
	now, back := n.clock.at(at)
	if back == 0 {
		return now
	}
	for i := range n.rows.n {
		r := n.rows.at(i)
		for _, t := range []*uint32{&r.first, &r.before, &r.last, &r.until} {
			*t -= min(*t, back)
		}
	}
	return now
}

// tidy moves the texts together when there are gaps between them.
func (n *Names) tidy() {
	if !n.texts.gappy() {
		return
	}
	move := n.texts.compact()
	for i := n.order.Oldest(); i != lru.None; i = n.order.Newer(i) {
		for j := n.addrs.at(i).rows; j != none; j = n.rows.at(j).next {
			n.rows.at(j).name = move(n.rows.at(j).name)
		}
	}
}

// add adds a row to an address. The row gets its name when it first needs one, and is
// one of its users from then on: what is known already costs nothing.
func (n *Names) add(name []byte, addr [16]byte, fresh *row) {
	i, ok := n.find(addr)
	if !ok {
		if i, ok = n.take(addr); !ok {
			n.counts.Refused++
			return
		}
	} else {
		n.order.Renew(i)
	}
	n.note(n.addrs.at(i), name, fresh)
	for (n.used > int(rowsPerAddress*float64(n.limit)) || n.texts.bytes > bytesPerAddress*n.limit) && n.evict() {
	}
}

// find returns the place of an address.
func (n *Names) find(addr [16]byte) (place int32, ok bool) {
	return n.index.find(n.hash(addr), func(i int32) bool { return n.addrs.at(i).addr == addr })
}

func (n *Names) hash(addr [16]byte) uint64 { return maphash.Bytes(n.seed, addr[:]) }

func (n *Names) hashOf(place int32) uint64 { return n.hash(n.addrs.at(place).addr) }

// unnamed reports whether a name for the address would mislead: resolvers with block
// lists answer 0.0.0.0 or 127.0.0.1 for blocked names.
func unnamed(a netip.Addr) bool {
	return !a.IsValid() || a.IsUnspecified() || a.IsLoopback() || a.IsMulticast()
}

// note adds the name to those of an address, as the latest, or makes it the latest.
func (n *Names) note(a *named, name []byte, fresh *row) {
	if fresh.name == noText {
		fresh.name = n.texts.use(name)
	}
	count, before, last := 0, int32(none), int32(none) // before: the row before the last
	for i := a.rows; i != none; i = n.rows.at(i).next {
		r := n.rows.at(i)
		if r.name == fresh.name && r.key == fresh.key {
			if fresh.last >= r.last && last != none {
				n.rows.at(last).next = r.next
				r.next, a.rows = a.rows, i
			}
			r.again(fresh)
			return
		}
		count, before, last = count+1, last, i
	}
	i := n.empty
	switch {
	case count >= maxNamesOfOne:
		n.rows.at(before).next = none
		i = last
		n.texts.drop(n.rows.at(i).name)
		n.used--
	case i != none:
		n.empty = n.rows.at(i).next
	default:
		i = n.rows.grow()
	}
	*n.rows.at(i) = *fresh
	n.texts.again(fresh.name)
	n.rows.at(i).next = a.rows
	a.rows = i
	n.used++
}

// again notes that the name was given once more.
func (r *row) again(fresh *row) {
	if fresh.last > r.last {
		r.before, r.last = r.last, fresh.last
	}
	r.until = max(r.until, fresh.until)
}

// Lookup returns the name that an address was given for: of several the one that
// was asked for last before the time, of those under the same key if there are any.
// A key of 0 prefers none. "" is returned if there is no name.
func (n *Names) Lookup(addr netip.Addr, at time.Time, key uint64) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	i, ok := n.find(addr.WithZone("").Unmap().As16())
	if !ok {
		return ""
	}
	now := n.now(at)
	held := n.addrs.at(i).held > 0
	best, bestKey, bestAsked := int32(noText), false, uint32(0)
	soon, soonest := int32(noText), uint32(tolerance.Milliseconds())
	// The latest come first: of those of one millisecond, that counts.
	for j := n.addrs.at(i).rows; j != none; j = n.rows.at(j).next {
		r := n.rows.at(j)
		asked := r.last
		if asked > now {
			asked = r.before
		}
		if asked > now {
			asked = r.first
		}
		if r.first > now && r.first-now <= soonest {
			soon, soonest = r.name, r.first-now
		}
		if asked > now || r.until < now && !held {
			continue
		}
		same := key != 0 && r.key == short(key)
		if best == noText || same && !bestKey || same == bestKey && asked > bestAsked {
			best, bestKey, bestAsked = r.name, same, asked
		}
	}
	if best == noText {
		best = soon
	}
	if best == noText {
		return ""
	}
	return n.texts.string(best)
}

// Hold keeps the names of an address as long as a connection uses it. It reports
// whether there are any; if so, Release must follow.
func (n *Names) Hold(addr netip.Addr) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	i, ok := n.find(addr.WithZone("").Unmap().As16())
	if ok {
		n.addrs.at(i).held++
	}
	return ok
}

// Release undoes a Hold that returned true.
func (n *Names) Release(addr netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if i, ok := n.find(addr.WithZone("").Unmap().As16()); ok && n.addrs.at(i).held > 0 {
		n.addrs.at(i).held--
	}
}

// Expire drops expired names, starting with those that were asked for longest ago.
// Calling it now and then keeps the memory in use small; results do not depend on it.
func (n *Names) Expire(at time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.now(at)
	for i := n.order.Oldest(); i != lru.None; {
		newer := n.order.Newer(i)
		switch {
		case n.addrs.at(i).held > 0:
		case n.expired(i, now):
			n.drop(i)
		default:
			return
		}
		i = newer
	}
	n.tidy()
}

func (n *Names) expired(i int32, now uint32) bool {
	for j := n.addrs.at(i).rows; j != none; j = n.rows.at(j).next {
		if n.rows.at(j).until >= now {
			return false
		}
	}
	return true
}

// Counts returns the counters.
func (n *Names) Counts() NamesCounts {
	n.mu.Lock()
	defer n.mu.Unlock()
	counts := n.counts
	counts.Addresses = n.index.used
	return counts
}

// take returns a place for a new address, another's if there is none left.
func (n *Names) take(addr [16]byte) (i int32, ok bool) {
	if n.index.used >= n.limit && !n.evict() {
		return 0, false
	}
	i = n.order.Add()
	if i == n.addrs.n {
		n.addrs.grow()
	}
	*n.addrs.at(i) = named{addr: addr, rows: none}
	n.index.add(n.hash(addr), i, n.hashOf)
	return i, true
}

// evict gives up the address whose names were asked for longest ago.
func (n *Names) evict() bool {
	for range maxHeldTries {
		i := n.order.Oldest()
		if i == lru.None {
			return false
		}
		if n.addrs.at(i).held == 0 {
			n.drop(i)
			n.counts.Evicted++
			return true
		}
		// The next search need not pass it over again.
		n.order.Renew(i)
	}
	return false
}

func (n *Names) drop(i int32) {
	a := n.addrs.at(i)
	n.order.Drop(i)
	n.index.remove(n.hashOf(i), i, n.hashOf)
	for j := a.rows; j != none; {
		r := n.rows.at(j)
		next := r.next
		n.texts.drop(r.name)
		*r = row{next: n.empty}
		n.empty = j
		n.used--
		j = next
	}
	*a = named{rows: none}
}
