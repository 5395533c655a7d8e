// SPDX-License-Identifier: Apache-2.0

package group

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/dns"
)

// LookupBounds are the buckets of how long DNS lookups took, in seconds.
var LookupBounds = []float64{0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5}

// Lookups counts DNS lookups and how long they took. Any goroutine may call its
// methods: lookups come from those that read packets.
type Lookups struct {
	config LookupsConfig

	mu        sync.Mutex
	queries   map[LookupKey]*LookupCount
	durations map[LookupKey]*LookupCount
	visited   time.Time // the last time, or when the counts were made
}

// LookupsConfig says what is counted of DNS lookups.
type LookupsConfig struct {
	// Limit is how many series there are at most, of queries and of durations; what
	// comes after is one series more.
	Limit int
	// Names distinguishes lookups by the name that was asked for.
	Names bool
	// Exponential makes the histograms exponential. Without it, they have LookupBounds.
	Exponential bool
	// Expiry is after how long a series without lookups ends.
	Expiry time.Duration
}

// LookupKey is what lookups that are counted together have in common. Of queries,
// Server is not valid, and of durations, Type is 0.
type LookupKey struct {
	// Namespace is the network namespace, 0 for the collector's own.
	Namespace uint64
	Server    netip.Addr
	Type      uint16
	// RCode is the response code; there was none if TimedOut.
	RCode    uint16
	TimedOut bool
	Name     string // "" where names are not distinguished
	// Overflow: lookups beyond the limit. Nothing else is set.
	Overflow bool
}

// LookupCount is how many lookups there were and, of durations, how long they took.
type LookupCount struct {
	Queries  uint64
	Duration *Histogram // nil: this counts queries
	// Start is when it was 0. New: it is visited for the first time, Ending: for the
	// last.
	Start       time.Time
	New, Ending bool

	used     bool // since the last visit
	lastUsed time.Time
}

// NewLookups returns counts of nothing.
func NewLookups(config LookupsConfig, now time.Time) *Lookups {
	return &Lookups{config: config, queries: make(map[LookupKey]*LookupCount), durations: make(map[LookupKey]*LookupCount), visited: now}
}

// Lookup is a [dns.Observer].
func (l *Lookups) Lookup(one *dns.Lookup) {
	key := LookupKey{Namespace: one.Namespace, RCode: one.RCode, TimedOut: one.TimedOut}
	if l.config.Names {
		key.Name = string(one.Name)
	}
	query, duration := key, key
	query.Type = one.Type
	duration.Server = one.Server.Addr().Unmap().WithZone("")
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count(l.queries, query).Queries++
	count := l.count(l.durations, duration)
	if count.Duration == nil {
		count.Duration = newHistogram(l.Bounds())
	}
	count.Duration.add(one.Duration.Seconds(), l.Bounds())
}

// count returns what counts the lookups with a key.
func (l *Lookups) count(all map[LookupKey]*LookupCount, key LookupKey) *LookupCount {
	count := all[key]
	if count == nil {
		overflow := LookupKey{Overflow: true}
		series := len(all)
		if count = all[overflow]; count != nil {
			series--
		}
		if series < l.config.Limit {
			count = nil
		} else {
			key = overflow
		}
		if count == nil {
			count = &LookupCount{Start: l.visited, New: true}
			all[key] = count
		}
	}
	count.used = true
	return count
}

// Bounds are the buckets of durations; none: exponential.
func (l *Lookups) Bounds() []float64 {
	if l.config.Exponential {
		return nil
	}
	return LookupBounds
}

// Visit visits what was counted until now, ordered by namespace. What it visits must
// not be kept.
func (l *Lookups) Visit(now time.Time, visit func(key *LookupKey, count *LookupCount)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, all := range []map[LookupKey]*LookupCount{l.queries, l.durations} {
		keys := make([]LookupKey, 0, len(all))
		for key := range all {
			keys = append(keys, key)
		}
		slices.SortFunc(keys, LookupKey.compare)
		for i := range keys {
			count := all[keys[i]]
			if count.used || now.Before(count.lastUsed) {
				count.used, count.lastUsed = false, now
			}
			count.Ending = now.Sub(count.lastUsed) >= l.config.Expiry
			visit(&keys[i], count)
			count.New = false
			if count.Ending {
				delete(all, keys[i])
			}
		}
	}
	l.visited = now
}

func (k LookupKey) compare(other LookupKey) int {
	return cmp.Or(
		cmp.Compare(k.Namespace, other.Namespace), k.Server.Compare(other.Server), cmp.Compare(k.Type, other.Type),
		cmp.Compare(k.RCode, other.RCode), cmp.Compare(k.Name, other.Name),
	)
}
