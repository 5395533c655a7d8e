// Package group aggregates connections into a bounded number of groups whose
// counters never fall, however connections come and go.
package group

import (
	"iter"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// Config says how connections are grouped.
type Config struct {
	By                             []Attribute
	Limit                          int // groups; what comes after is one group more
	PeerPrefixIPv4, PeerPrefixIPv6 int // bits of a peer's address that count
	Expiry                         time.Duration
	Distributions                  []Distribution
}

// Distribution is a value of connections of which each group has a histogram.
type Distribution struct {
	Field  tcp.Field
	Value  func(*event.Connection) float64
	Bounds []float64 // of the buckets, rising; none: exponential
	// Detailed: Value looks at the connection's Details.
	Detailed bool
}

// Group is what the connections that have one key did and are.
type Group struct {
	Key Key
	// Overflow marks the group that has all connections beyond the limit.
	Overflow bool
	// Start is when its counters were 0.
	Start time.Time

	BytesSent, BytesReceived uint64
	Retransmits              uint64 // segments
	Opens, Closes            uint64 // connections
	// Known are the values that any of its connections had: a counter that none
	// had is not 0 but unknown.
	Known tcp.Fields
	// Histograms are those of Config.Distributions, in that order. Each has a
	// sample of a connection when it is first seen, and one for each scrape that
	// saw it exchange bytes since the one before, its end included: an idle
	// connection tells nothing new, and would outvote the busy ones.
	Histograms []Histogram

	// Live is the number of connections in each state, Before what it was when it
	// was last written.
	Live, Before tcp.States

	used    time.Time // when it last counted a connection
	members int       // connections that know its place
	free    bool      // a place that was given up
}

// Set is all groups. It hears of connections as an [event.Listener], and is used
// by one goroutine at a time.
type Set struct {
	cfg   Config
	masks masks
	index map[Key]int32 // places in groups
	// groups begins with the overflow group. Connections know their group by its
	// place, so a place stays until nobody is left in it.
	groups []*Group
	vacant []int32 // places that were given up
	bySlot []int32 // the place of each connection's group, by its slot; -1: none

	now time.Time // of the last collection
}

// overflow is the overflow group's place.
const overflow = 0

// NewSet returns a set without groups. Everything counts from now on.
func NewSet(cfg Config, now time.Time) *Set {
	s := &Set{cfg: cfg, masks: masks{cfg.PeerPrefixIPv4, cfg.PeerPrefixIPv6}, index: make(map[Key]int32), now: now}
	s.groups = []*Group{s.newGroup(Key{})}
	s.groups[overflow].Overflow = true
	return s
}

// Progress implements event.Listener.
func (s *Set) Progress(p *event.Progress) {
	g := s.groupOf(p.Connection)
	if p.Was != event.NoState {
		g.Live[p.Was]--
	}
	if p.Is != event.NoState {
		g.Live[p.Is]++
	}
	if p.Gone {
		g.members--
		s.bySlot[p.Slot] = -1
		return
	}
	g.used = s.now
	g.BytesSent += p.Delta.BytesSent
	g.BytesReceived += p.Delta.BytesReceived
	g.Retransmits += p.Delta.Retransmits
	g.Known |= p.Fields
	if p.First || p.Delta.BytesSent+p.Delta.BytesReceived > 0 {
		s.sample(g, p.Connection)
	}
}

// Opened implements event.Listener.
func (s *Set) Opened(o *event.Opened) { s.groupOf(o.Connection).Opens++ }

// Ended implements event.Listener. An attempt that came to nothing was no
// connection.
func (s *Set) Ended(e *event.Ended) {
	if e.Established {
		s.groupOf(e.Connection).Closes++
	}
}

func (s *Set) sample(g *Group, c *event.Connection) {
	for i := range s.cfg.Distributions {
		d := &s.cfg.Distributions[i]
		if c.Has(d.Field) && (!d.Detailed || c.Details != nil) {
			g.Histograms[i].add(d.Value(c), d.Bounds)
		}
	}
}

// Collect begins a collection: groups are then read by All, and it ends with End.
func (s *Set) Collect(now time.Time) { s.now = now }

// End ends a collection that was written, with live counts or without: groups
// that had no connection for long are forgotten. When they come back, they count
// from 0 with a new start.
func (s *Set) End(live bool) {
	for place, g := range s.groups {
		if live {
			g.Before = g.Live
		}
		if place == overflow || g.free || g.members > 0 || s.now.Sub(g.used) < s.cfg.Expiry {
			continue
		}
		delete(s.index, g.Key)
		*g = Group{free: true}
		s.vacant = append(s.vacant, int32(place))
	}
}

// All iterates over the groups, the overflow group last and only if it was ever
// used.
func (s *Set) All() iter.Seq[*Group] {
	return func(yield func(*Group) bool) {
		for place, g := range s.groups {
			if place != overflow && !g.free && !yield(g) {
				return
			}
		}
		if g := s.groups[overflow]; !g.used.IsZero() {
			yield(g)
		}
	}
}

// Len returns the number of groups without the overflow group.
func (s *Set) Len() int { return len(s.index) }

// Overflowed returns the number of live connections in the overflow group.
func (s *Set) Overflowed() (n int64) {
	for _, live := range s.groups[overflow].Live {
		n += live
	}
	return n
}

// groupOf returns the group of a connection, and finds it one at first.
func (s *Set) groupOf(c *event.Connection) *Group {
	for int(c.Slot) >= len(s.bySlot) {
		s.bySlot = append(s.bySlot, -1)
	}
	if place := s.bySlot[c.Slot]; place >= 0 {
		return s.groups[place]
	}
	var key Key
	for _, a := range s.cfg.By {
		attributes[a].take(&key, c, &s.masks)
	}
	place, ok := s.index[key]
	if !ok {
		place = s.place(key)
	}
	s.bySlot[c.Slot] = place
	s.groups[place].members++
	return s.groups[place]
}

// place finds a place for a new group.
func (s *Set) place(key Key) int32 {
	if len(s.index) >= s.cfg.Limit {
		return overflow
	}
	g := s.newGroup(key)
	place := int32(len(s.groups))
	if n := len(s.vacant); n > 0 {
		place, s.vacant = s.vacant[n-1], s.vacant[:n-1]
		s.groups[place] = g
	} else {
		s.groups = append(s.groups, g)
	}
	s.index[key] = place
	return place
}

// newGroup returns a group that counts since the last collection: one that had
// its key before wrote its last point then, at the latest.
func (s *Set) newGroup(key Key) *Group {
	g := &Group{Key: key, Start: s.now, Histograms: make([]Histogram, len(s.cfg.Distributions))}
	for i, d := range s.cfg.Distributions {
		g.Histograms[i] = *newHistogram(d.Bounds)
	}
	return g
}
