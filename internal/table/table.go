// SPDX-License-Identifier: Apache-2.0

// Package table remembers every live connection between scrapes: what it was
// last seen to be, since when it exists, how much it did, and who owns it. It
// decides, once for everybody, which end of a connection this host has, whether
// it opened and how it ended, and reports that as events.
package table

import (
	"hash/maphash"
	"iter"
	"net/netip"
	"slices"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// Options say what a table is of.
type Options struct {
	// Boot is when the host was started.
	Boot time.Time
	// Since is when all that the first dump finds was known not to be there yet,
	// as in a network namespace that was created while the engine runs; zero if
	// that is not known.
	Since time.Time
	// Detailed keeps the Details of every connection, see [Table.KeepDetails].
	Detailed bool
	// Slots numbers the connections; tables whose events go to the same listeners
	// share it.
	Slots *Slots
	// Events hears what happens.
	Events event.Listener
	// Settle is called before a connection is first reported, to decide its
	// Process; holder is the process that the source saw with it at its end, if it
	// saw one. It returns what is to become of the report. nil: it is reported.
	Settle func(c *Connection, holder *tcp.Holder) Verdict
	// Identify is called once for each connection, right before it is first reported,
	// to find its PeerInfo. n is the notice of its end; nil if it lives. nil: nobody
	// asks.
	Identify func(c *Connection, n *tcp.Notice)
	// Mirrors has the connections of all tables that share it; nil: nobody asks.
	Mirrors *Mirrors
}

// Verdict is what becomes of a connection's first report.
type Verdict uint8

// The verdicts.
const (
	Report  Verdict = iota
	Wait            // for one scrape more: its process may be known then
	Discard         // it is not wanted: nothing is ever reported of it
)

// Table holds the live connections of one network namespace. It is used by one
// goroutine at a time.
type Table struct {
	opts  Options
	seed  maphash.Seed
	index map[uint64]*Connection // by cookie
	live  []*Connection
	spare []*Connection // those that are gone, to be used again

	listeners map[netip.AddrPort]listening
	listening []*Connection // the listeners of the last dump

	pass     uint32
	number   uint32    // of the dump under way, among those of all tables
	first    time.Time // when the first dump began
	began    time.Time // of the dump under way
	complete time.Time // when the last complete dump began, or Options.Since; zero before the first
	// epoch is from when on every connection that was active is remembered: what
	// was not active since and is not remembered is of before.
	epoch  time.Time
	moved  bool // the dump under way leaves out established connections that have not changed
	few    bool // the dump under way has nothing but listeners
	seen   int  // of live, in the dump under way
	cursor int  // where in live the next record probably is

	// notified: closes are reported by notices, not by what is missing in a dump.
	notified bool
	endings  endings

	toReport []*Connection // those with something that was not reported yet
	unowned  []*Connection // those without an owner, and some that have gone
	unsteady []*Connection // those that are not established, and some that are or have gone
	// established is how many live connections are in that state, absent how many of
	// them the last full dump did not have.
	established, absent int
	// ports is how many established connections have each local port; nil until a
	// dump leaves some of them out.
	ports  []uint32
	traits map[event.Traits]*event.Traits
	events events // reused

	freed, freedBefore []process.Owner // used in turns

	counts Counts
}

// Counts are what a table has counted since it was made.
type Counts struct {
	// Opened is how many connections were established, of those that are new.
	Opened uint64
	// Failed is how many attempts from here were seen to come to nothing.
	Failed uint64
}

// noticeGrace is how long a connection may be missing from dumps before it is
// ended without a notice. The kernel sends notices from a work queue, and they
// wait in its buffer until they are read.
const noticeGrace = 10 // seconds

// partialGrace is how long a connection may be missing from dumps of which some
// could not be read.
const partialGrace = 60 // seconds

// New returns an empty table.
func New(opts Options) *Table {
	return &Table{
		opts: opts, complete: opts.Since, epoch: opts.Since,
		seed: maphash.MakeSeed(), index: make(map[uint64]*Connection),
		listeners: make(map[netip.AddrPort]listening),
		endings:   newEndings(), traits: make(map[event.Traits]*event.Traits),
	}
}

// Notified sets whether the table will be given a notice of every close.
func (t *Table) Notified(yes bool) { t.notified = yes }

// Begun reports whether there was a complete dump. Before it, no connection can be
// said to be new.
func (t *Table) Begun() bool { return !t.complete.IsZero() }

// Counts returns what was counted.
func (t *Table) Counts() Counts { return t.counts }

// Len returns the number of live connections and listeners, and of what is left
// of connections.
func (t *Table) Len() int { return len(t.live) }

// All iterates over the connections and listeners that the last dump had, or that
// it left out because they had not changed, in no order that means anything.
func (t *Table) All() iter.Seq[*Connection] {
	return t.Those(func(*Connection) bool { return true })
}

// Those iterates over those of All that want accepts. It is asked before the Details of
// a connection that the last dump left out are brought up to it, so that one which is
// passed over costs no look at them; it must not use them.
func (t *Table) Those(want func(*Connection) bool) iter.Seq[*Connection] {
	return func(yield func(*Connection) bool) {
		for _, c := range t.live {
			if !t.isThere(c) || !want(c) {
				continue
			}
			if c.pass != t.pass && c.Details != nil {
				t.advance(c)
			}
			if !yield(c) {
				return
			}
		}
	}
}

// Listeners iterates over the listeners that the last dump had, each once, without a
// look at the connections.
func (t *Table) Listeners() iter.Seq[*Connection] {
	return func(yield func(*Connection) bool) {
		seen := make(map[*Connection]bool, len(t.listening))
		for _, c := range t.listening {
			if c.State != tcp.Listen || c.place < 0 || !t.isThere(c) || seen[c] {
				continue // gone, or another's by now, or the dump had it twice
			}
			seen[c] = true
			if !yield(c) {
				return
			}
		}
	}
}

// advance brings the Details of a connection that the last dump left out up to it: it
// did nothing since its sample, so the times since it did go on.
func (t *Table) advance(c *Connection) {
	passed := t.began.Sub(c.At)
	c.At, c.Delta = t.began, event.Delta{}
	for _, of := range [...]struct {
		field tcp.Field
		time  *time.Duration
	}{
		{tcp.FieldAge, &c.Sample.Age},
		{tcp.FieldSinceDataSent, &c.Sample.SinceDataSent},
		{tcp.FieldSinceDataReceived, &c.Sample.SinceDataReceived},
		{tcp.FieldSinceACKReceived, &c.Sample.SinceACKReceived},
	} {
		if c.Has(of.field) {
			*of.time += passed
		}
	}
}

// isThere reports whether the last dump had a connection, or left it out.
func (t *Table) isThere(c *Connection) bool {
	return c.pass == t.pass || t.moved && c.State == tcp.Established && c.missing == 0
}

// Established returns how many established connections are there after a dump.
func (t *Table) Established() int { return t.established - t.absent }

// Missing returns how many established connections the last dump of all sockets did
// not have, and may still have a notice due.
func (t *Table) Missing() int { return t.absent }

// BeginMoved starts a dump that leaves out established connections with which
// nothing has happened since the last complete one: what it does not have is
// unchanged. Their ends are learned by notices.
func (t *Table) BeginMoved(now time.Time) {
	t.Begin(now)
	t.moved = true
	if t.ports != nil {
		return
	}
	t.ports = make([]uint32, 1<<16)
	for _, c := range t.live {
		if c.State == tcp.Established {
			t.ports[c.Local.Port()]++
		}
	}
}

// BeginListeners starts a dump of which only the listeners are taken. It proves
// nothing of connections.
func (t *Table) BeginListeners(now time.Time) {
	t.Begin(now)
	t.few = true
}

// EachPort visits the local ports of the established connections, once a dump has
// left some of these out.
func (t *Table) EachPort(visit func(port uint16)) {
	for port, n := range t.ports {
		if n > 0 {
			visit(uint16(port))
		}
	}
}

// Moving reports whether the dump under way is one of BeginMoved.
func (t *Table) Moving() bool { return t.moved }

// Begin starts a dump of all sockets.
func (t *Table) Begin(now time.Time) {
	if t.first.IsZero() {
		t.first = now
	}
	t.pass++
	t.opts.Slots.dumps++
	t.number = t.opts.Slots.dumps
	t.began, t.seen, t.cursor, t.moved, t.few = now, 0, 0, false, false
	clear(t.listening)
	t.listening = t.listening[:0]
	t.tidy()
}

// tidy drops connections that are gone from the lists that are only gone through on
// some occasions: unowned when owners are looked for, unsteady after a dump that left
// connections out.
func (t *Table) tidy() {
	enough := 2*len(t.live) + 256
	if len(t.unowned) > enough {
		t.eachUnowned(func(*Connection) {})
	}
	if len(t.unsteady) > enough {
		t.eachUnsteady(func(*Connection) {})
	}
}

// clock is when the dump under way began, in seconds; 0 is never.
func (t *Table) clock() uint32 { return 1 + uint32(t.began.Sub(t.first)/time.Second) }

// Observe takes a record of the dump under way into the table. The same
// connection may come twice; the later record counts.
func (t *Table) Observe(s *tcp.Socket) {
	t.identify(s)
	c := t.find(s.ID)
	if c != nil && c.replacedBy(s) {
		t.lost(c)
		c = nil
	}
	if c == nil {
		c = t.revive(s)
	}
	if c == nil {
		t.add(s)
		return
	}
	if c.pass != t.pass {
		if c.missing != 0 && c.State == tcp.Established {
			t.absent--
		}
		c.pass, c.missing = t.pass, 0
		if c.Details != nil {
			c.Delta = event.Delta{}
		}
		t.seen++
	}
	if s.Inode == 0 && c.Inode != 0 {
		t.free(c)
	}
	t.update(c, s, false)
	t.mark(c)
}

// mark decides what a sample shows, and has it reported where there is something
// to report.
func (t *Table) mark(c *Connection) {
	if c.State == tcp.Listen {
		t.listening = append(t.listening, c)
		t.listen(c)
		return
	}
	t.decide(c)
	if !c.marks.has(reported) || c.told != c.State || c.unreported != (event.Delta{}) || c.marks.has(grown) || c.marks.has(established) && !c.marks.has(opened) {
		t.queue(c)
	}
}

// decide learns from a connection's state whether it was established.
func (t *Table) decide(c *Connection) {
	switch c.State {
	case tcp.SynSent, tcp.SynReceived, tcp.Listen:
	case tcp.Closed:
		// What was not established by now has failed: FreeBSD lists it until it is
		// closed.
	default:
		t.establish(c)
	}
}

// establish notes, once, that a connection came through the handshake.
func (t *Table) establish(c *Connection) {
	if c.marks.has(established) {
		return
	}
	c.marks |= established
	if c.IsNew && !c.marks.has(leftover) {
		t.counts.Opened++
	}
}

// sure is how many of a sample's bytes received are payload for sure. The
// kernel reads the state before the counters: a FIN that came in between is in
// the counter, as a byte, before the state shows it. Where a notice will
// have the last word, that byte waits for it, so that sums over connections are
// exact in the end; they could not be lowered later.
func (t *Table) sure(s *tcp.Socket) uint64 {
	if !s.Has(tcp.FieldBytesReceived) {
		return 0 // an older sample's, of which nothing more is known now
	}
	if t.notified && s.BytesReceived > 0 && !s.State.PeerFinReceived() {
		return s.BytesReceived - 1
	}
	return s.BytesReceived
}

// Result is how a dump ended.
type Result uint8

// The results.
const (
	CutShort Result = iota // before its end
	Partial                // at its end, but some of it could not be read
	Complete
)

// End ends the dump under way. After a complete one, whatever it did not have
// has ended. One that was cut short proves nothing of what is missing, and a
// partial one only of what was missing for long.
func (t *Table) End(result Result) {
	if result == CutShort {
		return
	}
	if t.few {
		if result == Complete {
			t.forgetListeners()
			t.endListeners()
		}
		return
	}
	grace := uint32(partialGrace)
	if result == Complete {
		if grace = 0; t.notified {
			grace = noticeGrace
		}
		t.complete = t.began
		if t.epoch.IsZero() {
			t.epoch = t.began
		}
		t.forgetLeft()
		t.forgetListeners()
	}
	if t.moved {
		t.eachUnsteady(func(c *Connection) { t.miss(c, grace, result) })
		return
	}
	if t.seen == len(t.live) {
		return
	}
	// Backwards, since forget fills the gap from the end.
	for i := len(t.live) - 1; i >= 0; i-- {
		if c := t.live[i]; c.pass != t.pass {
			t.miss(c, grace, result)
		}
	}
}

// endListeners forgets the listeners that a dump of listeners did not have.
func (t *Table) endListeners() {
	for i := len(t.live) - 1; i >= 0; i-- {
		if c := t.live[i]; c.State == tcp.Listen && c.pass != t.pass {
			t.gone(c)
		}
	}
}

// miss notes that a dump did not have a connection, and ends it after the grace.
func (t *Table) miss(c *Connection, grace uint32, result Result) {
	now := t.clock()
	if c.missing == 0 {
		c.missing = now
		if c.State == tcp.Established {
			t.absent++
		}
		// Who took its place is looked for before its notice is counted.
		if t.notified && c.Owner.Process != nil {
			t.freed = append(t.freed, c.Owner)
		}
	}
	if now-c.missing >= grace || result == Complete && c.marks.has(ended) {
		t.lost(c)
	}
}

// eachUnsteady visits the connections that are in another state than established,
// of which every dump has all, and that the last dump did not have.
func (t *Table) eachUnsteady(visit func(*Connection)) {
	all := t.unsteady
	t.unsteady = nil
	kept := all[:0]
	for _, c := range all {
		if c.place >= 0 && c.State != tcp.Established && c.pass != t.pass {
			visit(c)
		}
		if c.place < 0 || c.State == tcp.Established {
			c.marks &^= onUnsteady
			if c.place == nowhere {
				t.recycle(c)
			}
			continue
		}
		kept = append(kept, c)
	}
	clear(all[len(kept):])
	t.unsteady = kept
}

func (t *Table) countPort(c *Connection, change int32) {
	if t.ports != nil {
		t.ports[c.Local.Port()] += uint32(change)
	}
}

// steady notes in which state a live connection is now.
func (t *Table) steady(c *Connection, was, is tcp.State) {
	if was != is {
		if was == tcp.Established {
			t.established--
			t.countPort(c, -1)
			if c.missing != 0 {
				t.absent--
			}
		}
		if is == tcp.Established {
			t.established++
			t.countPort(c, 1)
		}
	}
	if is != tcp.Established && is != event.NoState && !c.marks.has(onUnsteady) {
		c.marks |= onUnsteady
		t.unsteady = append(t.unsteady, c)
	}
}

// Reset forgets all connections, as when another source with other identities
// takes over. None of them is ended by that, but they are gone.
func (t *Table) Reset() {
	for _, c := range t.live {
		c.place = nowhere
		t.reportGone(c)
	}
	t.forgetEndings()
	clear(t.index)
	clear(t.listeners)
	t.live, t.spare, t.freed, t.toReport, t.unowned, t.unsteady = nil, nil, nil, nil, nil, nil
	t.established, t.absent, t.ports = 0, 0, nil
	t.complete, t.epoch = time.Time{}, time.Time{}
}

// Freed returns the descriptors that gave up their sockets since the last call.
// The slice is good until the next one.
func (t *Table) Freed() []process.Owner {
	freed := t.freed
	t.freed, t.freedBefore = t.freedBefore[:0], freed
	return freed
}

// Claims appends a claim for every connection whose owner is not known but may
// be. Those whose owner is stale are among them. Answers go straight into the
// table.
func (t *Table) Claims(claims []process.Claim, stale map[*process.Process]bool) []process.Claim {
	if len(stale) > 0 {
		for _, c := range t.live {
			if c.Owner.Process != nil && stale[c.Owner.Process] {
				t.free(c)
			}
		}
	}
	claims = slices.Grow(claims, len(t.unowned))
	t.eachUnowned(func(c *Connection) {
		if c.Inode == 0 {
			c.Reason = process.ReasonNoOwner
			return
		}
		claims = append(claims, process.Claim{Inode: c.Inode, Owner: &c.Owner, Reason: &c.Reason})
	})
	return claims
}

// Unattributed counts the connections and listeners of the last dump that have
// no owner, by reason.
func (t *Table) Unattributed(counts *[process.NumReasons]int64) {
	t.eachUnowned(func(c *Connection) {
		if t.isThere(c) {
			counts[c.Reason]++
		}
	})
}

// eachUnowned visits those without an owner, and forgets the others.
func (t *Table) eachUnowned(visit func(*Connection)) {
	kept := t.unowned[:0]
	for _, c := range t.unowned {
		if c.Owner.Process != nil || c.place < 0 {
			c.marks &^= onUnowned
			if c.place == nowhere {
				t.recycle(c)
			}
			continue
		}
		kept = append(kept, c)
		visit(c)
	}
	clear(t.unowned[len(kept):])
	t.unowned = kept
}

// find looks first where the last dump had the next record: kernels walk their
// tables in an order that hardly changes, and comparing is cheaper than
// hashing.
func (t *Table) find(id tcp.Identity) *Connection {
	if t.cursor < len(t.live) {
		if c := t.live[t.cursor]; c.ID == id {
			t.cursor++
			return c
		}
	}
	c, ok := t.index[id.Cookie]
	if ok {
		t.cursor = int(c.place) + 1
	}
	return c
}

func (t *Table) add(s *tcp.Socket) *Connection {
	c := t.fresh(s)
	c.born, c.pass, c.counted = t.clock(), t.pass, s.BytesReceived
	start, delta := t.opts.Boot, event.Delta{}
	if !t.complete.IsZero() {
		start, c.IsNew = t.complete, true
		t.grow(c, s)
		delta = event.Delta{BytesSent: s.BytesSent, BytesReceived: s.BytesReceived, Retransmits: s.Retransmits}
		c.counted = t.sure(s)
		c.unreported = delta
		c.unreported.BytesReceived = c.counted
	} else {
		c.marks |= older
		t.opts.Slots.begin(c.Slot, s)
	}
	if t.wantsDetails(s.State) {
		if c.Details == nil {
			c.Details = new(event.Details)
		}
		*c.Details = event.Details{Delta: delta, FirstSeen: t.began, Start: start}
	} else {
		c.Details = nil
	}
	t.keep(c, s)
	if t.notified && isLeftover(s) {
		// Of a closed connection, whose notice has it all.
		c.IsNew = false
		c.marks |= established | ended | leftover
	}
	if s.State == tcp.Closed && !c.IsNew {
		c.marks |= ended // long since
	}
	t.put(c)
	t.opts.Mirrors.add(t, c)
	t.seen++
	t.mark(c)
	return c
}

// fresh returns a connection that is nowhere yet.
func (t *Table) fresh(s *tcp.Socket) *Connection {
	var c *Connection
	if n := len(t.spare); n > 0 {
		c, t.spare = t.spare[n-1], t.spare[:n-1]
	} else {
		c = new(Connection)
	}
	*c = Connection{
		Connection: event.Connection{ID: s.ID, Slot: t.opts.Slots.reserve(), Role: t.roleOf(s), Details: c.Details},
		known:      s.Fields, place: nowhere, told: event.NoState,
	}
	return c
}

// put makes a connection live.
func (t *Table) put(c *Connection) {
	c.place, c.changed = int32(len(t.live)), t.number
	t.live = append(t.live, c)
	t.index[c.ID.Cookie] = c
	t.steady(c, event.NoState, c.State)
	if !c.marks.has(onUnowned) && c.Owner.Process == nil {
		c.marks |= onUnowned
		t.unowned = append(t.unowned, c)
	}
}

// pull takes a connection out of the live ones.
func (t *Table) pull(c *Connection) {
	t.free(c)
	t.steady(c, c.State, event.NoState)
	if c.pass == t.pass {
		t.seen--
	}
	delete(t.index, c.ID.Cookie)
	last := t.live[len(t.live)-1]
	t.live[c.place], last.place = last, c.place
	t.live[len(t.live)-1] = nil
	t.live = t.live[:len(t.live)-1]
	c.place = nowhere
}

// recycle keeps a connection that is gone to be used again, unless it is still
// listed somewhere.
func (t *Table) recycle(c *Connection) {
	if c.marks&(onReport|onUnowned|onUnsteady) == 0 && len(t.spare) <= len(t.live)/8 {
		t.spare = append(t.spare, c)
	}
}

// free takes the connection's owner away and remembers the descriptor: a new
// socket may be found there.
func (t *Table) free(c *Connection) {
	if c.Owner.Process != nil {
		t.freed = append(t.freed, c.Owner)
		if c.place >= 0 && !c.marks.has(onUnowned) {
			c.marks |= onUnowned
			t.unowned = append(t.unowned, c)
		}
	}
	c.Owner, c.Reason = process.Owner{}, process.ReasonNone
}

// grow counts what a sample shows the followed counters to have grown by.
func (t *Table) grow(c *Connection, s *tcp.Socket) {
	if s.State != tcp.Listen && t.opts.Slots.grow(c.Slot, s) {
		c.marks |= grown
	}
}
