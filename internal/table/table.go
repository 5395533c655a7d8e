// Package table remembers every live connection between scrapes: what it was
// last seen to be, since when it exists, how much it did since the scrape
// before, and who owns it.
package table

import (
	"iter"
	"net/netip"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// Connection is one connection or listener: what everybody wants of its last
// sample, and what only memory knows. Counters are unwrapped: they never fall.
//
// Busy hosts have hundreds of thousands of them. The order of the fields leaves
// no gaps, and the whole just fits 256 bytes, a size class of the allocator.
type Connection struct {
	ID                tcp.Identity
	Local, Peer       netip.AddrPort
	Inode             uint64
	Fields            tcp.Fields // of the last sample
	CongestionControl string
	Stack             string
	SmoothedRTT       time.Duration
	BytesSent         uint64
	BytesReceived     uint64
	Retransmits       uint64

	// Uncounted is what it did that package group has not counted yet.
	Uncounted Delta

	// Owner is the process that holds it, if one is known; else Reason says why
	// none is.
	Owner process.Owner

	// Details is nil where nobody has asked for it, see [Options].
	*Details

	known   tcp.Fields // that any sample had
	counted uint64     // bytes received that went into Uncounted, or were there before
	born    uint32     // the clock, when the first dump that had it began
	missing uint32     // the clock, at the first complete dump that did not; 0 if the last had it

	// Group is package group's: one more than the place of its group, 0 before it
	// has one. Opened tells whether it came through the handshake, Closed whether
	// its end was counted.
	Group          int32
	pass           uint32 // the last dump that had it
	place          int32  // its index in Table.live
	Opened, Closed bool

	// IsNew tells whether it began since the first dump: if not, nobody knows
	// what it did before.
	IsNew bool

	State  tcp.State
	Reason process.Reason
}

// Details is what only those want who write each connection by itself.
type Details struct {
	// Sample is the whole last sample, unwrapped.
	Sample tcp.Socket
	// Delta is what the connection did since the dump before the last.
	Delta Delta
	// FirstSeen is when the first dump that had it began.
	FirstSeen time.Time
	// Start is a time at which its counters were 0: the dump that did not have
	// it yet or, for what the first dump found, the host's boot.
	Start time.Time
}

// Has tells whether the last sample had a value.
func (c *Connection) Has(f tcp.Field) bool { return c.Fields.Has(f) }

// IsIPv4 tells whether the connection's packets are IPv4.
func (c *Connection) IsIPv4() bool { return c.Local.Addr().Is4() }

// Delta is how much counters grew between two dumps. For a connection that the
// first dump found it is zero: nobody knows what was before.
type Delta struct {
	BytesSent     uint64
	BytesReceived uint64
	Retransmits   uint64
}

// Options say what a table is of.
type Options struct {
	// Boot is when the host was started.
	Boot time.Time
	// Since is when all that the first dump finds was known not to be there yet,
	// as in a network namespace that came into being while we run; zero if nobody knows.
	Since time.Time
	// Detailed keeps the Details of every connection; else only listeners, which
	// are few, have them.
	Detailed bool
	// Closed is called with each connection that the table gives up, its last
	// sample and owner still in place, and with the process that the source saw
	// with it at its end, if it saw one.
	Closed func(*Connection, *tcp.Holder)
}

// Table holds the live connections of one network namespace. It is used by one
// goroutine at a time.
type Table struct {
	opts  Options
	index map[uint64]*Connection // by cookie
	live  []*Connection
	spare []*Connection // closed ones, to be used again

	pass     uint32
	first    time.Time // when the first dump began
	began    time.Time // of the dump under way
	complete time.Time // when the last complete dump began, or Options.Since; zero before the first
	seen     int       // of live, in the dump under way
	cursor   int       // where in live the next record probably is

	// notified: closes are told by notices, not by what is missing in a dump.
	notified bool

	freed, freedBefore []process.Owner // used in turns
}

// noticeGrace is how long a connection may be missing from dumps before it is
// closed without a notice. The kernel sends notices from a work queue, and they
// wait in its buffer until they are read: one that came after the connection
// was given up would be counted as another. A notice that was dropped costs
// nothing but the wait.
const noticeGrace = 10 // seconds

// New returns an empty table.
func New(opts Options) *Table {
	return &Table{opts: opts, complete: opts.Since, index: make(map[uint64]*Connection)}
}

// Begin starts a dump.
func (t *Table) Begin(now time.Time) {
	if t.first.IsZero() {
		t.first = now
	}
	t.pass++
	t.began, t.seen, t.cursor = now, 0, 0
}

// clock is when the dump under way began, in seconds; 0 is never.
func (t *Table) clock() uint32 { return 1 + uint32(t.began.Sub(t.first)/time.Second) }

// Observe takes a record of the dump under way into the table. The same
// connection may come twice; the later record counts.
func (t *Table) Observe(s *tcp.Socket) *Connection {
	c := t.find(s.ID)
	if c != nil && c.replacedBy(s) {
		t.remove(c, nil)
		c = nil
	}
	if c == nil {
		return t.add(s)
	}
	if c.pass != t.pass {
		c.pass, c.missing = t.pass, 0
		if c.Details != nil {
			c.Delta = Delta{}
		}
		t.seen++
	}
	if s.Inode == 0 && c.Inode != 0 {
		t.free(c)
	}
	c.update(s, t.sure(s))
	return c
}

// sure is how many of a sample's bytes received are payload for sure. The
// kernel reads the state before the counters: a FIN that came in between is in
// the counter, as a byte, before the state tells of it. Where a notice will
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

// End ends the dump under way. After a complete one, whatever it did not have
// is closed; an incomplete one proves nothing of what is missing.
func (t *Table) End(complete bool) {
	if !complete {
		return
	}
	t.complete = t.began
	if t.seen == len(t.live) {
		return
	}
	// Backwards, since remove fills the gap from the end.
	for i := len(t.live) - 1; i >= 0; i-- {
		c := t.live[i]
		if c.pass == t.pass {
			continue
		}
		now := t.clock()
		if c.missing == 0 {
			c.missing = now
			// Who took its place is looked for before its notice is counted.
			if t.notified && c.Owner.Process != nil {
				t.freed = append(t.freed, c.Owner)
			}
		}
		if !t.notified || now-c.missing >= noticeGrace {
			t.remove(c, nil)
		}
	}
}

// Reset forgets all connections, as when another source with other identities
// takes over. None of them is closed by that.
func (t *Table) Reset() {
	clear(t.index)
	t.live, t.spare, t.freed = nil, nil, nil
	t.complete = time.Time{}
}

// Len returns the number of live connections.
func (t *Table) Len() int { return len(t.live) }

// All iterates over the connections that the last dump had, in no order that
// means anything. After an incomplete dump the table remembers more.
func (t *Table) All() iter.Seq[*Connection] {
	return func(yield func(*Connection) bool) {
		for _, c := range t.live {
			if c.pass == t.pass && !yield(c) {
				return
			}
		}
	}
}

// Freed returns the descriptors that gave up their sockets since the last call.
// The slice is good until the next one.
func (t *Table) Freed() []process.Owner {
	freed := t.freed
	t.freed, t.freedBefore = t.freedBefore[:0], freed
	return freed
}

// Claims appends a claim for every connection whose owner is not known but
// may be, those included whose owner is stale. Answers go straight into the
// table.
func (t *Table) Claims(claims []process.Claim, stale func(*process.Process) bool) []process.Claim {
	for _, c := range t.live {
		if c.Owner.Process != nil {
			if !stale(c.Owner.Process) {
				continue
			}
			t.free(c)
		}
		if c.Inode == 0 {
			c.Reason = process.ReasonNoOwner
			continue
		}
		claims = append(claims, process.Claim{Inode: c.Inode, Owner: &c.Owner, Reason: &c.Reason})
	}
	return claims
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
	var c *Connection
	if n := len(t.spare); n > 0 {
		c, t.spare = t.spare[n-1], t.spare[:n-1]
	} else {
		c = new(Connection)
	}
	*c = Connection{ID: s.ID, Details: c.Details, known: s.Fields, counted: s.BytesReceived, born: t.clock(), pass: t.pass, place: int32(len(t.live))}
	start, delta := t.opts.Boot, Delta{}
	if !t.complete.IsZero() {
		start, c.IsNew = t.complete, true
		delta = Delta{BytesSent: s.BytesSent, BytesReceived: s.BytesReceived, Retransmits: s.Retransmits}
		c.counted = t.sure(s)
		c.Uncounted = delta
		c.Uncounted.BytesReceived = c.counted
	}
	if t.opts.Detailed || s.State == tcp.Listen {
		if c.Details == nil {
			c.Details = new(Details)
		}
		*c.Details = Details{Delta: delta, FirstSeen: t.began, Start: start}
	} else {
		c.Details = nil
	}
	c.keep(s)
	if t.notified && s.Fields == 0 && s.State != tcp.SynReceived {
		// What is left of a closed connection, first seen so: its notice has it all.
		c.IsNew, c.Opened, c.Closed = false, true, true
	}
	t.live = append(t.live, c)
	t.index[s.ID.Cookie] = c
	t.seen++
	return c
}

func (t *Table) remove(c *Connection, holder *tcp.Holder) {
	t.opts.Closed(c, holder)
	t.free(c)
	if c.pass == t.pass {
		t.seen--
	}
	delete(t.index, c.ID.Cookie)
	last := t.live[len(t.live)-1]
	t.live[c.place], last.place = last, c.place
	t.live[len(t.live)-1] = nil
	t.live = t.live[:len(t.live)-1]
	if len(t.spare) <= len(t.live)/8 {
		t.spare = append(t.spare, c)
	}
}

// free takes the connection's owner away and remembers the descriptor: a new
// socket may be found there.
func (t *Table) free(c *Connection) {
	if c.Owner.Process != nil {
		t.freed = append(t.freed, c.Owner)
	}
	c.Owner, c.Reason = process.Owner{}, process.ReasonNone
}
