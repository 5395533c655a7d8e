// SPDX-License-Identifier: Apache-2.0

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
	// Needs are the fields that Value looks at.
	Needs  tcp.Fields
	Value  func(*event.Connection) float64
	Bounds []float64 // of the buckets, rising; none: exponential
	// Detailed: Value looks at the connection's Details.
	Detailed bool
	// AtEnd is set instead of Value for what is known when a connection has ended. It
	// reports whether it is.
	AtEnd func(*event.Ended) (value float64, known bool)
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
	// Growth are the counters that were asked for.
	Growth [event.NumKinds]uint64
	// Failures are attempts that came to nothing, Aborts connections that did not end
	// in order, both by reason.
	Failures [tcp.NumFailures]uint64
	Aborts   [tcp.NumCauses]uint64
	// Known are the values that any of its connections had: a counter that none
	// had is not 0 but unknown.
	Known tcp.Fields
	// Histograms are those of Config.Distributions, in that order. Each has a
	// sample of a connection when it is first seen, at its handshake, and for each
	// scrape that saw it exchange bytes since the one before, its end included: an idle
	// connection has nothing new to say, and would outvote the busy ones.
	Histograms []Histogram

	// Live is the number of connections in each state, Before what it was when it
	// was last written.
	Live, Before tcp.States

	// Written is for whoever writes the groups: which series of the group were
	// written before, and which states.
	Written, WrittenStates uint64
	// Ending reports that this collection is the group's last: it has not had a
	// connection for long, and what it counted was written.
	Ending bool

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
	key    Key     // reused: a host's first scrape wants one for each connection

	now, before time.Time // of the last collection, and of the one before
}

// overflow is the overflow group's place.
const overflow = 0

// NewSet returns a set without groups. Everything counts from now on.
func NewSet(cfg Config, now time.Time) *Set {
	s := &Set{cfg: cfg, masks: masks{cfg.PeerPrefixIPv4, cfg.PeerPrefixIPv6}, index: make(map[Key]int32), now: now, before: now}
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
	if p.Growth != nil {
		for k, n := range p.Growth {
			g.Growth[k] += uint64(n)
		}
	}
	if p.First || p.Was == tcp.SynSent || p.Was == tcp.SynReceived || p.Delta.BytesSent+p.Delta.BytesReceived > 0 {
		s.sample(g, p.Connection)
	}
}

// Opened implements event.Listener.
func (s *Set) Opened(o *event.Opened) { s.groupOf(o.Connection).Opens++ }

// Ended implements event.Listener. An attempt that came to nothing was no
// connection.
func (s *Set) Ended(e *event.Ended) {
	g := s.groupOf(e.Connection)
	switch {
	case e.Established:
		g.Closes++
		if e.Cause != tcp.UnknownCause && !e.Cause.InOrder() {
			g.Aborts[e.Cause]++
		}
		s.sampleEnd(g, e)
	case e.Failure != tcp.NoFailure:
		g.Failures[e.Failure]++
	case e.Last != nil:
		g.Failures[tcp.OtherFailure]++ // the source does not say why
	}
}

func (s *Set) sample(g *Group, c *event.Connection) {
	for i := range s.cfg.Distributions {
		d := &s.cfg.Distributions[i]
		if d.Value != nil && c.Fields&d.Needs == d.Needs && (!d.Detailed || c.Details != nil) {
			g.Histograms[i].add(d.Value(c), d.Bounds)
		}
	}
}

func (s *Set) sampleEnd(g *Group, e *event.Ended) {
	for i := range s.cfg.Distributions {
		if d := &s.cfg.Distributions[i]; d.AtEnd != nil {
			if value, known := d.AtEnd(e); known {
				g.Histograms[i].add(value, d.Bounds)
			}
		}
	}
}

// Collect begins a collection: groups are then read by All, and it ends with End.
// Groups that had no connection for long end with it, once all that they counted was
// written.
func (s *Set) Collect(now time.Time) {
	s.before, s.now = s.now, now
	for place, g := range s.groups {
		if place != overflow && !g.free {
			g.Ending = g.members == 0 && g.used.Before(s.before) && now.Sub(g.used) >= s.cfg.Expiry
		}
	}
}

// Before returns when the collection before this one began: what has no value
// that was written was 0 then.
func (s *Set) Before() time.Time { return s.before }

// End ends a collection that was written, with live counts or without: groups
// that end with it are forgotten. When they come back, they count from 0 with a new
// start.
func (s *Set) End(live bool) {
	for place, g := range s.groups {
		if live {
			g.Before = g.Live
		}
		if !g.Ending {
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
	s.key = Key{}
	for _, a := range s.cfg.By {
		attributes[a].take(&s.key, c, &s.masks)
	}
	place, ok := s.index[s.key]
	if !ok {
		place = s.place(s.key)
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
