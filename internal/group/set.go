// Package group sums connections up: a bounded number of groups whose counters
// never fall, however connections come and go.
package group

import (
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/table"
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
	Value  func(*table.Connection) float64
	Bounds []float64 // of the buckets, rising; none: exponential
	// Detailed: Value looks at the connection's Details.
	Detailed bool
}

// Group is the sum of the connections that have one key.
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
	// sample of each live connection for each collection.
	Histograms []Histogram

	// Live is the number of connections in each state, in the last collection
	// and in the one before.
	Live, Before tcp.States

	used    time.Time // when it last counted a connection
	members int       // connections that know its place
	free    bool      // a place that was given up
}

// Set is all groups. It is used by one goroutine at a time.
type Set struct {
	cfg   Config
	by    attributes
	index map[Key]int32 // places in groups
	// groups begins with the overflow group. Connections know their group by its
	// place, so a place stays until nobody is left in it.
	groups []*Group
	// listening has the ports with a listener, and the period, of an Expiry each, in
	// which it was last seen: a connection may be seen first when its listener is
	// gone.
	listening map[port]int
	period    int
	since     time.Time // when the period began

	now, before time.Time // of this collection and the one before

	opened  uint64 // connections, in all groups that ever were
	waiting uint64 // for their owner, in this collection
}

// overflow is the overflow group's place.
const overflow = 0

// NewSet returns a set without groups. Everything counts from now on.
func NewSet(cfg Config, now time.Time) *Set {
	s := &Set{cfg: cfg, index: make(map[Key]int32), listening: make(map[port]int), now: now, before: now, since: now}
	for _, a := range cfg.By {
		s.by |= 1 << a
	}
	s.groups = []*Group{s.newGroup(Key{})}
	s.groups[overflow].Overflow = true
	return s
}

// port is a local port of a network namespace.
type port struct {
	namespace uint64
	number    uint16
}

// Listening notes that a port of a network namespace has a listener: connections
// of that local port were accepted, the others were opened from here.
func (s *Set) Listening(namespace uint64, number uint16) {
	s.listening[port{namespace, number}] = s.period
}

// Accepted tells whether connections of a local port were accepted by a
// listener there.
func (s *Set) Accepted(namespace uint64, number uint16) bool {
	_, ok := s.listening[port{namespace, number}]
	return ok
}

// Begin starts a collection: what is live is counted anew.
func (s *Set) Begin(now time.Time) {
	s.before, s.now, s.waiting = s.now, now, 0
	if now.Sub(s.since) >= s.cfg.Expiry {
		s.since = now
		maps.DeleteFunc(s.listening, func(_ port, period int) bool { return period < s.period })
		s.period++
	}
	for _, g := range s.groups {
		g.Before, g.Live = g.Live, tcp.States{}
	}
}

// Add counts a live connection: what it did since it was last counted, and a
// sample. One whose owner is still being looked for waits, if the owner is part
// of the key.
func (s *Set) Add(c *table.Connection) {
	if c.Group == 0 && c.Reason == process.ReasonPending && s.by&ofProcess != 0 {
		if c.IsNew && !c.Opened {
			s.waiting++
		}
		return
	}
	g := s.groupOf(c)
	if c.State == tcp.Closed && !c.Opened {
		// A socket whose connecting failed: FreeBSD lists it until it is closed.
		c.Opened, c.Closed = true, true
	}
	s.count(g, c)
	g.Live[c.State]++
	if c.State == tcp.TimeWait || c.State == tcp.Closed {
		// Nobody has it any more; it only keeps its ports for a while.
		s.ended(g, c)
	}
	for i := range s.cfg.Distributions {
		if d := &s.cfg.Distributions[i]; c.Has(d.Field) {
			g.Histograms[i].add(d.Value(c), d.Bounds)
		}
	}
}

// Close counts the end of a connection that the table gives up, and what it did
// until then as far as that was seen. A connection that never came further than
// the handshake was none.
func (s *Set) Close(c *table.Connection) {
	g := s.groupOf(c)
	s.count(g, c)
	s.ended(g, c)
	g.members--
}

// ended counts the end of a connection once.
func (s *Set) ended(g *Group, c *table.Connection) {
	if c.Opened && !c.Closed {
		c.Closed = true
		g.Closes++
	}
}

// Forget is called when the table was reset: no connection knows its group any
// more. Nothing is closed by that.
func (s *Set) Forget() {
	for _, g := range s.groups {
		g.members = 0
	}
}

// End ends a collection: groups that had no connection for long are forgotten.
// When they come back, they count from 0 with a new start.
func (s *Set) End() {
	for place, g := range s.groups {
		if place == overflow || g.free || g.members > 0 || s.now.Sub(g.used) < s.cfg.Expiry {
			continue
		}
		delete(s.index, g.Key)
		*g = Group{free: true}
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

// Opened returns how many connections have been opened, those included that wait
// for their owner.
func (s *Set) Opened() uint64 { return s.opened + s.waiting }

// Overflowed returns the number of live connections in the overflow group.
func (s *Set) Overflowed() (n int64) {
	for _, live := range s.groups[overflow].Live {
		n += live
	}
	return n
}

// count moves into the group what the connection did since it was last counted.
func (s *Set) count(g *Group, c *table.Connection) {
	g.used = s.now
	d := c.Uncounted
	c.Uncounted = table.Delta{}
	g.BytesSent += d.BytesSent
	g.BytesReceived += d.BytesReceived
	g.Retransmits += d.Retransmits
	g.Known |= c.Fields
	if !c.Opened && c.State != tcp.SynSent && c.State != tcp.SynReceived {
		c.Opened = true
		if c.IsNew {
			g.Opens++
			s.opened++
		}
	}
}

// groupOf returns the group of a connection, and finds it one at first.
func (s *Set) groupOf(c *table.Connection) *Group {
	if c.Group != 0 {
		return s.groups[c.Group-1]
	}
	key := s.keyOf(c, s.role(c))
	place, ok := s.index[key]
	if !ok {
		place = s.place(key)
	}
	c.Group = place + 1
	s.groups[place].members++
	return s.groups[place]
}

// place finds a place for a new group.
func (s *Set) place(key Key) int32 {
	if len(s.index) >= s.cfg.Limit {
		return overflow
	}
	place := int32(len(s.groups))
	// Places are given up by End, hours apart: a search is cheap enough.
	if len(s.index)+1 < len(s.groups) {
		place = int32(slices.IndexFunc(s.groups, func(g *Group) bool { return g.free }))
		s.groups[place] = s.newGroup(key)
	} else {
		s.groups = append(s.groups, s.newGroup(key))
	}
	s.index[key] = place
	return place
}

func (s *Set) newGroup(key Key) *Group {
	g := &Group{Key: key, Start: s.before, Histograms: make([]Histogram, len(s.cfg.Distributions))}
	for i, d := range s.cfg.Distributions {
		g.Histograms[i] = *newHistogram(d.Bounds)
	}
	return g
}

func (s *Set) role(c *table.Connection) ConnectionRole {
	if c.State == tcp.SynReceived || s.Accepted(c.ID.Namespace, c.Local.Port()) {
		return Server
	}
	return Client
}
