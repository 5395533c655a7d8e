package dns

import (
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
	// names, and bytes of names, on average.
	rowsPerAddress  = 2
	bytesPerAddress = 64
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
type Names struct {
	mu     sync.Mutex
	limit  int // addresses
	index  map[[16]byte]int32
	addrs  []named
	rows   []row
	order  lru.Order // of addrs
	empty  int32     // list of rows, by next
	used   int       // rows
	bytes  int       // of the names in all rows
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
	name string
	key  uint64
	// When the name was given first, last and the time before, and until when it is
	// remembered: ns since 1970. A name that is asked for again after a connection
	// has opened may also be the one that was asked for before.
	first, before, last, until int64
	next                       int32
}

// NewNames returns names for at most so many addresses.
func NewNames(limit int) *Names {
	return &Names{limit: limit, index: make(map[[16]byte]int32), order: lru.NewOrder(), empty: none}
}

// Add notes that a name was given addresses at a time. key identifies
// the process or network namespace that asked, 0 if it is not known. name is copied.
func (n *Names) Add(name []byte, addresses []Address, key uint64, at time.Time) {
	if len(name) == 0 {
		return
	}
	fresh := row{key: key}
	fresh.first = at.UnixNano()
	fresh.before, fresh.last = fresh.first, fresh.first
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, a := range addresses {
		if unnamed(a.Addr) {
			continue
		}
		fresh.until = at.Add(min(max(a.TTL, minLife), maxLife)).UnixNano()
		n.add(name, a.Addr.As16(), &fresh)
	}
}

// add adds a row to an address. The row gets its name when it first needs one: the
// addresses of one answer share it, and what is known already costs nothing.
func (n *Names) add(name []byte, addr [16]byte, fresh *row) {
	i, ok := n.index[addr]
	if !ok {
		if i, ok = n.take(addr); !ok {
			n.counts.Refused++
			return
		}
	} else {
		n.order.Renew(i)
	}
	n.note(&n.addrs[i], name, fresh)
	for (n.used > rowsPerAddress*n.limit || n.bytes > bytesPerAddress*n.limit) && n.evict() {
	}
}

// unnamed reports whether a name for the address would mislead: resolvers with block
// lists answer 0.0.0.0 or 127.0.0.1 for blocked names.
func unnamed(a netip.Addr) bool {
	return !a.IsValid() || a.IsUnspecified() || a.IsLoopback() || a.IsMulticast()
}

// note adds the name to those of an address, or makes it the latest.
func (n *Names) note(a *named, name []byte, fresh *row) {
	count, oldest := 0, int32(none)
	for i := a.rows; i != none; i = n.rows[i].next {
		r := &n.rows[i]
		if r.name == string(name) {
			if r.key == fresh.key {
				r.again(fresh)
				return
			}
			fresh.name = r.name
		}
		count++
		if oldest == none || r.last < n.rows[oldest].last {
			oldest = i
		}
	}
	if fresh.name == "" {
		fresh.name = string(name)
	}
	n.bytes += len(name)
	if count >= maxNamesOfOne {
		n.bytes -= len(n.rows[oldest].name)
		fresh.next = n.rows[oldest].next
		n.rows[oldest] = *fresh
		return
	}
	fresh.next = a.rows
	i := n.empty
	if i != none {
		n.empty = n.rows[i].next
		n.rows[i] = *fresh
	} else {
		i = int32(len(n.rows))
		n.rows = append(n.rows, *fresh)
	}
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
	now := at.UnixNano()
	n.mu.Lock()
	defer n.mu.Unlock()
	i, ok := n.index[addr.WithZone("").Unmap().As16()]
	if !ok {
		return ""
	}
	held := n.addrs[i].held > 0
	best, bestKey, bestAsked := "", false, int64(0)
	soon, soonest := "", int64(tolerance)
	for j := n.addrs[i].rows; j != none; j = n.rows[j].next {
		r := &n.rows[j]
		asked := r.last
		if asked > now {
			asked = r.before
		}
		if asked > now {
			asked = r.first
		}
		if after := r.first - now; after > 0 && after <= soonest {
			soon, soonest = r.name, after
		}
		if asked > now || r.until < now && !held {
			continue
		}
		same := key != 0 && r.key == key
		if best == "" || same && !bestKey || same == bestKey && asked > bestAsked {
			best, bestKey, bestAsked = r.name, same, asked
		}
	}
	if best == "" {
		return soon
	}
	return best
}

// Hold keeps the names of an address as long as a connection uses it. It reports
// whether there are any; if so, Release must follow.
func (n *Names) Hold(addr netip.Addr) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	i, ok := n.index[addr.WithZone("").Unmap().As16()]
	if ok {
		n.addrs[i].held++
	}
	return ok
}

// Release undoes a Hold that returned true.
func (n *Names) Release(addr netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if i, ok := n.index[addr.WithZone("").Unmap().As16()]; ok && n.addrs[i].held > 0 {
		n.addrs[i].held--
	}
}

// Expire drops expired names, starting with those that were asked for longest ago.
// Calling it now and then keeps the memory in use small; results do not depend on it.
func (n *Names) Expire(at time.Time) {
	now := at.UnixNano()
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := n.order.Oldest(); i != lru.None; {
		newer := n.order.Newer(i)
		switch {
		case n.addrs[i].held > 0:
		case n.expired(i, now):
			n.drop(i)
		default:
			return
		}
		i = newer
	}
}

func (n *Names) expired(i int32, now int64) bool {
	for j := n.addrs[i].rows; j != none; j = n.rows[j].next {
		if n.rows[j].until >= now {
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
	counts.Addresses = len(n.index)
	return counts
}

// take returns a place for a new address, another's if there is none left.
func (n *Names) take(addr [16]byte) (i int32, ok bool) {
	if len(n.index) >= n.limit && !n.evict() {
		return 0, false
	}
	i = n.order.Add()
	if int(i) == len(n.addrs) {
		n.addrs = append(n.addrs, named{})
	}
	n.addrs[i] = named{addr: addr, rows: none}
	n.index[addr] = i
	return i, true
}

// evict gives up the address whose names were asked for longest ago.
func (n *Names) evict() bool {
	for range maxHeldTries {
		i := n.order.Oldest()
		if i == lru.None {
			return false
		}
		if n.addrs[i].held == 0 {
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
	a := &n.addrs[i]
	n.order.Drop(i)
	delete(n.index, a.addr)
	for j := a.rows; j != none; {
		next := n.rows[j].next
		n.bytes -= len(n.rows[j].name)
		n.rows[j] = row{next: n.empty}
		n.empty = j
		n.used--
		j = next
	}
	n.addrs[i] = named{rows: none}
}
