// SPDX-License-Identifier: Apache-2.0

package table

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

var boot = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func at(seconds int) time.Time { return boot.Add(time.Hour).Add(time.Duration(seconds) * time.Second) }

// known are the fields that the test's sockets have.
var known = tcp.Fields(0).With(tcp.FieldBytesSent).With(tcp.FieldBytesReceived).With(tcp.FieldBytesAcked).
	With(tcp.FieldSegmentsSent).With(tcp.FieldRetransmits).With(tcp.FieldTimeouts)

func socket(cookie uint64, change ...func(*tcp.Socket)) *tcp.Socket {
	s := &tcp.Socket{
		ID:     tcp.Identity{Cookie: cookie, Namespace: 1},
		State:  tcp.Established,
		Local:  netip.MustParseAddrPort("192.0.2.1:443"),
		Peer:   netip.AddrPortFrom(netip.MustParseAddr("192.0.2.2"), uint16(cookie)),
		Inode:  1000 + cookie,
		Fields: known,
	}
	for _, c := range change {
		c(s)
	}
	return s
}

func sent(bytes uint64) func(*tcp.Socket) { return func(s *tcp.Socket) { s.BytesSent = bytes } }

func newTable() *Table {
	return New(Options{Boot: boot, Detailed: true, Events: &recorder{}, Slots: &Slots{}})
}

// dump is one complete dump.
func dump(t *Table, now time.Time, sockets ...*tcp.Socket) {
	t.Begin(now)
	for _, s := range sockets {
		copied := *s
		t.Observe(&copied)
	}
	t.End(Complete)
}

func one(t testing.TB, table *Table) *Connection {
	t.Helper()
	var all []*Connection
	for c := range table.All() {
		all = append(all, c)
	}
	require.Len(t, all, 1)
	return all[0]
}

func TestStartTimes(t *testing.T) {
	table := newTable()
	dump(table, at(0), socket(1, sent(500)))
	c := one(t, table)
	assert.Equal(t, boot, c.Start, "nobody knows when it began, but it was after boot")
	assert.Equal(t, at(0), c.FirstSeen)
	assert.Zero(t, c.Delta, "nobody knows since when it sent")

	dump(table, at(10), socket(1, sent(700)), socket(2, sent(30)))
	for c := range table.All() {
		switch c.ID.Cookie {
		case 1:
			assert.Equal(t, boot, c.Start, "a start time does not move")
			assert.Equal(t, uint64(200), c.Delta.BytesSent)
		case 2:
			assert.Equal(t, at(0), c.Start, "the last dump did not have it: its counters were 0")
			assert.Equal(t, at(10), c.FirstSeen)
			assert.Equal(t, uint64(30), c.Delta.BytesSent)
		}
	}
}

func TestIncompleteDumpsCloseNothing(t *testing.T) {
	table := newTable()
	dump(table, at(0), socket(1), socket(2))

	table.Begin(at(10))
	table.Observe(socket(3))
	table.End(CutShort)
	assert.Equal(t, 3, table.Len())
	c := one(t, table)
	assert.Equal(t, uint64(3), c.ID.Cookie, "only what the last dump had is told of")
	assert.Equal(t, at(0), c.Start)

	dump(table, at(20), socket(4), socket(1))
	assert.Equal(t, 2, table.Len())
	for c := range table.All() {
		if c.ID.Cookie == 4 {
			assert.Equal(t, at(0), c.Start, "it may have been there in the incomplete dump")
		}
	}
}

// The same addresses and ports, or even the same kernel identity, can be
// another connection.
func TestReuse(t *testing.T) {
	before := socket(1, sent(5000))
	before.Inode = 77
	for name, after := range map[string]*tcp.Socket{
		"new cookie, same endpoints":  socket(2, sent(10), func(s *tcp.Socket) { s.Peer = before.Peer; s.Inode = 78 }),
		"same cookie, new inode":      socket(1, sent(6000), func(s *tcp.Socket) { s.Inode = 78 }),
		"same cookie, new endpoints":  socket(1, sent(6000), func(s *tcp.Socket) { s.Inode = 77; s.Peer = netip.MustParseAddrPort("192.0.2.9:9") }),
		"same cookie, counts from 0":  socket(1, sent(10), func(s *tcp.Socket) { s.Inode = 77 }),
		"vanished and another opened": socket(9, sent(10), func(s *tcp.Socket) { s.Peer = before.Peer; s.Inode = 0 }),
	} {
		t.Run(name, func(t *testing.T) {
			table := newTable()
			dump(table, at(0), before)
			one(t, table).Owner = process.Owner{Process: &process.Process{PID: 5}, FD: 3}
			dump(table, at(10), after)
			c := one(t, table)
			assert.Equal(t, at(0), c.Start)
			assert.Equal(t, at(10), c.FirstSeen)
			assert.Equal(t, after.BytesSent, c.BytesSent)
			assert.Equal(t, after.BytesSent, c.Delta.BytesSent)
			assert.Nil(t, c.Owner.Process, "the old owner is not the new one's")
			assert.Equal(t, []process.Owner{{Process: &process.Process{PID: 5}, FD: 3}}, table.Freed())
		})
	}
}

func TestAcceptAndCloseKeepTheConnection(t *testing.T) {
	table := newTable()
	inode := func(n uint64) func(*tcp.Socket) { return func(s *tcp.Socket) { s.Inode = n } }
	dump(table, at(0))
	dump(table, at(10), socket(1, inode(0), func(s *tcp.Socket) { s.State = tcp.SynReceived; s.Fields = 0 }))
	dump(table, at(20), socket(1, inode(0), sent(10)))
	dump(table, at(30), socket(1, inode(5), sent(20)))
	dump(table, at(40), socket(1, inode(0), sent(30), func(s *tcp.Socket) { s.State = tcp.FinWait1 }))
	dump(table, at(50), socket(1, inode(0), func(s *tcp.Socket) { s.State = tcp.TimeWait; s.Fields = 0 }))
	c := one(t, table)
	assert.Equal(t, at(0), c.Start)
	assert.Equal(t, at(10), c.FirstSeen)
	assert.False(t, c.Has(tcp.FieldBytesSent), "TIME_WAIT has no counters, and none are made up")
	assert.Zero(t, c.Delta)
	dump(table, at(60))
	assert.Zero(t, table.Len())
}

func TestUnwrapping(t *testing.T) {
	table := newTable()
	step := func(now int, segments, retransmits, timeouts uint64) *Connection {
		dump(table, at(now), socket(1, func(s *tcp.Socket) {
			s.SegmentsSent, s.Retransmits, s.Timeouts = segments, retransmits, timeouts
		}))
		return one(t, table)
	}
	step(0, 1<<32-10, 1<<32-1, 65535)
	c := step(10, 5, 1, 3)
	assert.Equal(t, uint64(1<<32+5), c.Sample.SegmentsSent)
	assert.Equal(t, uint64(1<<32+1), c.Retransmits)
	assert.Equal(t, uint64(2), c.Delta.Retransmits)
	assert.Equal(t, uint64(1<<16+3), c.Sample.Timeouts, "tcpi_total_rto has 16 bits")
	step(20, 1<<31, 1, 3)
	step(30, 1<<32-1, 1, 3)
	c = step(40, 4, 1, 3)
	assert.Equal(t, uint64(1<<33+4), c.Sample.SegmentsSent, "and again")
	assert.Zero(t, c.Delta.Retransmits)
}

// The kernel reads the state before the counters: a FIN in between is in the
// counter before the state tells of it.
func TestAFinDoesNotMakeACounterFall(t *testing.T) {
	table := newTable()
	received := func(n uint64) func(*tcp.Socket) {
		return func(s *tcp.Socket) { s.BytesReceived, s.BytesAcked = n, n }
	}
	dump(table, at(0), socket(1, received(100)))
	dump(table, at(10), socket(1, received(201)))
	dump(table, at(20), socket(1, received(200)))
	c := one(t, table)
	assert.Equal(t, uint64(201), c.BytesReceived)
	assert.Equal(t, uint64(201), c.Sample.BytesAcked)
	assert.Zero(t, c.Delta.BytesReceived)
	assert.Equal(t, boot, c.Start, "it is the same connection")
}

func TestARecordThatComesTwice(t *testing.T) {
	table := newTable()
	dump(table, at(0), socket(1, sent(10)), socket(2))
	dump(table, at(10), socket(1, sent(15)), socket(2), socket(1, sent(18)))
	assert.Equal(t, 2, table.Len())
	for c := range table.All() {
		if c.ID.Cookie == 1 {
			assert.Equal(t, uint64(18), c.BytesSent)
			assert.Equal(t, uint64(8), c.Delta.BytesSent)
		}
	}
	dump(table, at(20), socket(1, sent(18)))
	assert.Equal(t, 1, table.Len(), "the count of what was seen is right")
}

func TestClaimsAndFreed(t *testing.T) {
	gone, alive := &process.Process{PID: 1}, &process.Process{PID: 2}
	table := newTable()
	dump(table, at(0), socket(1), socket(2), socket(3), socket(4, func(s *tcp.Socket) { s.Inode = 0 }))
	claims := table.Claims(nil, nil)
	require.Len(t, claims, 3)
	for i, c := range claims {
		c.Owner.Process, c.Owner.FD = alive, int32(i)
		if c.Inode == 1001 {
			c.Owner.Process = gone
		}
	}
	assert.Empty(t, table.Claims(nil, nil), "answers went into the table")
	for c := range table.All() {
		if c.Inode == 0 {
			assert.Equal(t, process.ReasonNoOwner, c.Reason)
		}
	}

	dump(table, at(10), socket(1), socket(2), socket(3, func(s *tcp.Socket) { s.Inode = 0 }))
	assert.Len(t, table.Freed(), 1, "3 was orphaned: its descriptor is free")
	claims = table.Claims(nil, map[*process.Process]bool{gone: true})
	require.Len(t, claims, 1)
	assert.Equal(t, uint64(1001), claims[0].Inode)
	assert.Nil(t, claims[0].Owner.Process)
	assert.Len(t, table.Freed(), 1, "the stale owner's descriptor may still be it")
}

// Owners are looked for right after a dump, and notices are counted after that:
// if the descriptor were told only with the notice, every new socket would cost
// a walk over all processes.
func TestFreedBeforeTheNotice(t *testing.T) {
	w := newWatched()
	dump(w.Table, at(0), socket(1))
	claims := w.Claims(nil, nil)
	require.Len(t, claims, 1)
	holder := process.Owner{Process: &process.Process{PID: 5}, FD: 3}
	*claims[0].Owner = holder
	dump(w.Table, at(10), socket(2))
	assert.Equal(t, []process.Owner{holder}, w.Freed())
	assert.Zero(t, w.closes())
	w.notice(11, final(1, 777, 101, 779, client))
	assert.Equal(t, 1, w.closes())
}

func TestReset(t *testing.T) {
	table := newTable()
	dump(table, at(0), socket(1))
	dump(table, at(10), socket(1))
	table.Reset()
	assert.Zero(t, table.Len())
	dump(table, at(20), socket(1, sent(9)))
	assert.Equal(t, boot, one(t, table).Start, "the first dump after a reset knows of nothing before")
}

// Whatever comes and goes, in whatever order, the table has what the last dump
// had.
func TestChurn(t *testing.T) {
	table := newTable()
	random := rand.New(rand.NewPCG(1, 2))
	live := map[uint64]uint64{} // cookie: bytes sent
	next := uint64(1)
	for round := range 200 {
		for cookie := range live {
			if random.IntN(5) == 0 {
				delete(live, cookie)
			} else {
				live[cookie] += uint64(random.IntN(3))
			}
		}
		for range random.IntN(40) {
			live[next] = 0
			next++
		}
		table.Begin(at(round))
		for cookie, bytes := range live { // in random order
			table.Observe(socket(cookie, sent(bytes), func(s *tcp.Socket) { s.Peer = netip.AddrPortFrom(s.Peer.Addr(), 1) }))
		}
		table.End(Complete)
		require.Equal(t, len(live), table.Len())
		require.Equal(t, len(live), len(table.index))
		for c := range table.All() {
			bytes, ok := live[c.ID.Cookie]
			require.True(t, ok)
			require.Equal(t, bytes, c.BytesSent)
			require.Same(t, c, table.live[c.place])
		}
	}
}

func TestTop(t *testing.T) {
	table := newTable()
	dump(table, at(0), socket(1, sent(1_000_000)), socket(2, sent(10)))
	dump(table, at(10), socket(1, sent(1_000_001)), socket(2, sent(400)), socket(3, sent(100)))
	dump(table, at(20),
		socket(1, sent(1_000_001), func(s *tcp.Socket) { s.Retransmits = 1; s.SmoothedRTT = 3 }),
		socket(2, sent(400), func(s *tcp.Socket) { s.Retransmits = 9; s.SmoothedRTT = 2 }),
		socket(3, sent(150), func(s *tcp.Socket) { s.SmoothedRTT = 1 }),
		socket(4, func(s *tcp.Socket) { s.State = tcp.Listen }))
	connections := func(c *Connection) bool { return c.State != tcp.Listen }
	for _, tt := range []struct {
		order Order
		limit int
		want  []uint64
		left  int
	}{
		{ByIO, 1, []uint64{3}, 2},
		{ByIO, 2, []uint64{1, 3}, 1}, // 1 and 2 did nothing; in all, 1 did more
		{ByRetransmits, 1, []uint64{2}, 2},
		{ByRTT, 2, []uint64{1, 2}, 1},
		{ByAge, 2, []uint64{1, 2}, 1},
		{ByAge, 3, []uint64{1, 2, 3}, 0},
		{ByIO, 99, []uint64{1, 2, 3}, 0},
		{ByIO, 0, []uint64{1, 2, 3}, 0},
	} {
		t.Run(fmt.Sprint(tt.order, tt.limit), func(t *testing.T) {
			kept, left := Top(nil, table.All(), tt.order, tt.limit, connections)
			var got []uint64
			for _, c := range kept {
				got = append(got, c.ID.Cookie)
			}
			assert.ElementsMatch(t, tt.want, got)
			assert.Equal(t, tt.left, left)
		})
	}

	for o := ByIO; o <= ByAge; o++ {
		parsed, err := ParseOrder(o.String())
		require.NoError(t, err)
		assert.Equal(t, o, parsed)
	}
	_, err := ParseOrder("size")
	assert.EqualError(t, err, `got "size", takes one of io, retransmits, rtt, age`)
	assert.Equal(t, "order(9)", Order(9).String())
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	table := newTable()
	sockets := make([]*tcp.Socket, 1000)
	for i := range sockets {
		sockets[i] = socket(uint64(i))
	}
	kept := make([]*Connection, 0, 100)
	claims := make([]process.Claim, 0, len(sockets))
	round := func() {
		table.Begin(at(1))
		for _, s := range sockets {
			table.Observe(s)
		}
		table.End(Complete)
		claims = table.Claims(claims[:0], nil)
		kept, _ = Top(kept[:0], table.All(), ByIO, 100, func(*Connection) bool { return true })
	}
	round()
	// Iterators and the interface of container/heap cost a few for the whole round.
	assert.LessOrEqual(t, testing.AllocsPerRun(10, round), 5.0, "per 1000 sockets")
}

func BenchmarkObserve(b *testing.B) {
	for _, n := range []int{1_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			table := newTable()
			sockets := make([]tcp.Socket, n)
			for i := range sockets {
				sockets[i] = *socket(uint64(i))
			}
			b.ReportAllocs()
			for b.Loop() {
				table.Begin(at(1))
				for i := range sockets {
					table.Observe(&sockets[i])
				}
				table.End(Complete)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/socket")
		})
	}
}

// Where nobody wants each connection by itself, the table keeps the less: the
// counts are the same.
func TestWithoutDetails(t *testing.T) {
	w := newWatched()
	w.Notified(false)
	listener := func(cookie uint64) *tcp.Socket {
		return socket(cookie, func(s *tcp.Socket) { s.State = tcp.Listen })
	}
	w.scrape(0, socket(1, sent(100)))
	w.scrape(10, socket(1, sent(150)), socket(2, sent(30)), listener(3))
	for c := range w.All() {
		assert.Equal(t, c.State == tcp.Listen, c.Details != nil, "%d", c.ID.Cookie)
	}
	w.scrape(20, listener(3))
	assert.Equal(t, uint64(80), w.sum.BytesSent)
	assert.Equal(t, 2, w.closes())
	w.scrape(30, listener(4), socket(5, sent(1)))
	for c := range w.All() {
		assert.Equal(t, c.State == tcp.Listen, c.Details != nil, "an entry that is used again, %d", c.ID.Cookie)
	}
	assert.LessOrEqual(t, unsafe.Sizeof(Connection{}), uintptr(256), "the next size class of the allocator is 288")
}

// In a namespace that was not there before, all that the first dump finds is
// new.
func TestSince(t *testing.T) {
	w := newWatched(detailed, func(o *Options) { o.Since = at(-10) })
	w.scrape(0, socket(1, sent(100)))
	c := one(t, w.Table)
	assert.True(t, c.IsNew)
	assert.Equal(t, at(-10), c.Start)
	assert.Equal(t, uint64(100), w.sum.BytesSent)
	assert.Len(t, w.opens, 1)
}

func socketAddr(text string) netip.AddrPort { return netip.MustParseAddrPort(text) }

// Dumps that leave out what has not changed, and notices of ends, keep the table
// as full dumps would.
func TestMovedIsEverything(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	w := newWatched()
	states := []tcp.State{tcp.Established, tcp.Established, tcp.Established, tcp.SynSent, tcp.FinWait2, tcp.Listen}
	live := map[uint64]*tcp.Socket{}
	moved := map[uint64]bool{}
	next := uint64(1)
	w.scrape(0)
	for round := range 300 {
		clear(moved)
		for cookie, s := range live {
			switch random.IntN(12) {
			case 0:
				delete(live, cookie)
				if s.State == tcp.Established {
					w.notice(round, final(cookie, s.BytesSent, 0, s.BytesSent+1, client))
				}
			case 1:
				s.BytesSent += uint64(random.IntN(1000))
				moved[cookie] = true
			case 2:
				if s.State == tcp.SynSent {
					s.State, moved[cookie] = tcp.Established, true
				} else if s.State == tcp.Established {
					s.State = tcp.FinWait1
				}
			}
		}
		for range random.IntN(10) {
			live[next] = socket(next, inState(states[random.IntN(len(states))]))
			moved[next] = true
			next++
		}
		if round%50 == 0 {
			var all []*tcp.Socket
			for _, s := range live {
				all = append(all, s)
			}
			w.scrape(20*round, all...)
		} else {
			w.BeginMoved(at(20 * round))
			for cookie, s := range live {
				if moved[cookie] || s.State != tcp.Established {
					for range 1 + random.IntN(2) { // dumps may have a socket twice
						copied := *s
						w.Observe(&copied)
					}
				}
			}
			w.End(Complete)
			w.Report()
		}
		established := 0
		seen := map[uint64]uint64{}
		listeners := map[uint64]bool{}
		for c := range w.All() {
			seen[c.ID.Cookie] = c.BytesSent
			if c.State == tcp.Listen {
				listeners[c.ID.Cookie] = true
			}
		}
		for c := range w.Listeners() {
			require.True(t, listeners[c.ID.Cookie], "it is no listener, or comes twice")
			delete(listeners, c.ID.Cookie)
		}
		require.Empty(t, listeners, "missing")
		for cookie, s := range live {
			sent, ok := seen[cookie]
			require.True(t, ok, "%d in %s", cookie, s.State)
			require.Equal(t, s.BytesSent, sent)
			if s.State == tcp.Established {
				established++
			}
		}
		require.Len(t, seen, len(live))
		require.Equal(t, established, w.Established())
		if round > 0 {
			ports := map[uint16]bool{}
			w.EachPort(func(port uint16) { ports[port] = true })
			require.Equal(t, established > 0, ports[443], "all have one local port")
		}
	}
}

// Details of what a dump left out are as if it had been read: nothing was sent or
// received since, and that is longer ago.
func TestDetailsOfWhatDidNotMove(t *testing.T) {
	w := newWatched(detailed)
	timed := func(age, since int) func(*tcp.Socket) {
		return func(s *tcp.Socket) {
			s.Fields = s.Fields.With(tcp.FieldAge).With(tcp.FieldSinceDataSent)
			s.Age, s.SinceDataSent, s.BytesSent = time.Duration(age)*time.Second, time.Duration(since)*time.Second, uint64(age)
		}
	}
	w.scrape(0, socket(1, timed(100, 7)), socket(2, timed(200, 8)), socket(3, inState(tcp.FinWait2)))
	w.scrape(10, socket(1, timed(110, 1)), socket(2, timed(210, 2)), socket(3, inState(tcp.FinWait2)))
	w.BeginMoved(at(20))
	w.Observe(socket(2, timed(220, 3)))
	w.Observe(socket(3, inState(tcp.FinWait2)))
	w.End(Complete)
	for range 2 { // looking does not change it
		seen := map[uint64]event.Details{}
		for c := range w.All() {
			seen[c.ID.Cookie] = *c.Details
		}
		require.Len(t, seen, 3)
		for cookie, want := range map[uint64]struct {
			age, since int
			delta      uint64
		}{1: {120, 11, 0}, 2: {220, 3, 10}, 3: {}} {
			got := seen[cookie]
			assert.Equal(t, time.Duration(want.age)*time.Second, got.Sample.Age, cookie)
			assert.Equal(t, time.Duration(want.since)*time.Second, got.Sample.SinceDataSent, cookie)
			assert.Zero(t, got.Sample.SinceACKReceived, "not known")
			assert.Equal(t, want.delta, got.Delta.BytesSent, cookie)
			assert.Equal(t, at(20), got.At, cookie)
		}
	}
	// The order of a limit goes by what they did in the last dump's time.
	top, _ := Top(nil, w.All(), ByIO, 1, func(c *Connection) bool { return c.State == tcp.Established })
	assert.EqualValues(t, 2, top[0].ID.Cookie)
}
