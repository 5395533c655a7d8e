// SPDX-License-Identifier: Apache-2.0

package table

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// final is the kernel's notice of a socket that was destroyed.
func final(cookie uint64, bytesSent, received, acked uint64, change ...func(*tcp.Notice)) *tcp.Notice {
	n := &tcp.Notice{Socket: *socket(cookie, func(s *tcp.Socket) {
		s.State, s.Inode = tcp.Closed, 0
		s.BytesSent, s.BytesReceived, s.BytesAcked, s.SegmentsReceived = bytesSent, received, acked, 3
	})}
	for _, do := range change {
		do(n)
	}
	return n
}

// quietFor is a notice of a socket with which nothing happened for a while.
func quietFor(d time.Duration) func(*tcp.Notice) {
	return func(n *tcp.Notice) {
		n.SinceDataSent, n.SinceDataReceived, n.SinceACKReceived = d, d, d
		n.Fields = n.Fields.With(tcp.FieldSinceDataSent).With(tcp.FieldSinceDataReceived).With(tcp.FieldSinceACKReceived)
	}
}

func client(n *tcp.Notice) { n.Role = tcp.Client }

func received(bytes uint64) func(*tcp.Socket) {
	return func(s *tcp.Socket) { s.BytesReceived = bytes }
}

func inState(state tcp.State) func(*tcp.Socket) { return func(s *tcp.Socket) { s.State = state } }

// bare is what is left of a connection: no counters, no inode.
func bare(state tcp.State) func(*tcp.Socket) {
	return func(s *tcp.Socket) { *s = tcp.Socket{ID: s.ID, Local: s.Local, Peer: s.Peer, State: state} }
}

// What the end says of a connection is what was counted of it, though a sample had
// the peer's FIN among the bytes before the state told of it.
func TestAnEndSaysWhatWasCounted(t *testing.T) {
	for _, details := range []bool{false, true} {
		w := newWatched(func(o *Options) { o.Detailed = details })
		w.scrape(0)
		w.scrape(10, socket(1, sent(777), received(101), inState(tcp.FinWait2)))
		w.notice(11, final(1, 777, 101, 779, client))
		if assert.Len(t, w.ends, 1) {
			assert.EqualValues(t, 100, w.ends[0].BytesReceived)
			assert.EqualValues(t, 100, w.ends[0].Last.BytesReceived)
			assert.EqualValues(t, 100, w.sum.BytesReceived)
		}
	}
}

// A connection that sends 777 bytes and receives 100 is counted once and in
// full, whatever the dumps and the notice show of it and in whatever order.
func TestNoticesAndDumps(t *testing.T) {
	// As Linux has it of one that connected, its FINs and its SYN a byte each.
	notice := final(1, 777, 101, 779, client)
	for name, run := range map[string]func(w *watched){
		"never dumped": func(w *watched) {
			w.notice(1, notice)
		},
		"dumped, then closed": func(w *watched) {
			w.scrape(10, socket(1, sent(500), received(60)))
			w.notice(11, notice)
		},
		"dumped, then closed before the report": func(w *watched) {
			dump(w.Table, at(10), socket(1, sent(500), received(60)))
			w.notice(11, notice)
			w.Report()
		},
		"its fin in the last sample": func(w *watched) {
			w.scrape(10, socket(1, sent(777), received(101), inState(tcp.FinWait2)))
			w.notice(11, notice)
		},
		"its fin in a sample before the state tells": func(w *watched) {
			w.scrape(10, socket(1, sent(777), received(101)))
			w.scrape(20, socket(1, sent(777), received(100), inState(tcp.CloseWait)))
			w.notice(21, notice)
		},
		"its fin in the last sample, and TIME_WAIT": func(w *watched) {
			w.scrape(10, socket(1, sent(777), received(101), inState(tcp.FinWait2)))
			w.scrape(20, socket(1, bare(tcp.TimeWait)))
			w.notice(21, notice)
		},
		"dumped in TIME_WAIT before the notice": func(w *watched) {
			w.scrape(10, socket(1, sent(500), received(60)))
			w.scrape(20, socket(1, bare(tcp.TimeWait)))
			w.notice(21, notice)
		},
		"dumped in TIME_WAIT after the notice": func(w *watched) {
			w.notice(1, notice)
			w.scrape(10, socket(1, bare(tcp.TimeWait)))
			w.scrape(20)
			w.scrape(30)
		},
		"dumped in TIME_WAIT only, then the notice": func(w *watched) {
			w.scrape(10, socket(1, bare(tcp.TimeWait)))
			w.notice(11, notice)
		},
		"dumped in TIME_WAIT only, then the notice before the report": func(w *watched) {
			dump(w.Table, at(10), socket(1, bare(tcp.TimeWait)))
			w.notice(11, notice)
			w.Report()
		},
		"dumped as an embryo only": func(w *watched) {
			w.scrape(10, socket(1, bare(tcp.SynReceived)))
			w.notice(11, notice)
		},
		"missing from a dump before the notice": func(w *watched) {
			w.scrape(10, socket(1, sent(500), received(60)))
			w.scrape(20)
			w.notice(21, notice)
		},
		// The peer resets; the owner closes its descriptor long after.
		"missing for long before the notice": func(w *watched) {
			w.scrape(10, socket(1, sent(500), received(60)))
			w.scrape(20)
			w.scrape(35)
			assert.Len(t, w.ends, 1, "it is over all the same")
			w.scrape(60)
			w.notice(300, notice)
		},
		"noticed twice": func(w *watched) {
			w.scrape(10, socket(1, sent(500), received(60)))
			w.notice(11, notice)
			w.notice(12, notice)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWatched()
			w.scrape(0)
			run(w)
			// What is left of it in TIME_WAIT goes, too.
			w.scrape(400)
			w.scrape(420)
			assert.Equal(t, event.Delta{BytesSent: 777, BytesReceived: 100}, w.sum)
			assert.Len(t, w.opens, 1)
			assert.Equal(t, 1, w.closes())
			assert.Zero(t, w.failed)
			assert.Equal(t, uint64(1), w.Counts().Opened)
			assert.Equal(t, tcp.States{}, w.states)
			assert.Equal(t, 1, w.left)
			assert.Zero(t, w.Len())
			assert.Equal(t, uint32(0), w.slots.reserve(), "its slot is free")
			assert.Equal(t, uint32(1), w.slots.reserve())
		})
	}
}

// A connection that was reset before the first dump, and whose owner closes its
// descriptor only now, is none of those that are counted.
func TestResetBeforeTheFirstDump(t *testing.T) {
	w := newWatched()
	w.scrape(0)
	w.notice(30, final(1, 5000, 5000, 5001, client, quietFor(40*time.Second)))
	assert.Empty(t, w.opens)
	assert.Empty(t, w.ends)
	// One that was active since then would be known if it had been there.
	w.notice(30, final(2, 10, 20, 11, client, quietFor(20*time.Second)))
	assert.Len(t, w.opens, 1)
	assert.Equal(t, event.Delta{BytesSent: 10, BytesReceived: 20}, w.sum)
}

// What is remembered of connections without a notice is bounded. A notice of one
// that was forgotten is passed over.
func TestNoticesThatComeVeryLate(t *testing.T) {
	w := newWatched()
	w.scrape(0)
	const n = maxEndings + 10
	sockets := make([]*tcp.Socket, n)
	for i := range sockets {
		sockets[i] = socket(uint64(i+1), sent(100))
	}
	w.scrape(10, sockets...)
	w.scrape(20)
	w.scrape(35)
	assert.Equal(t, n, w.closes())
	assert.LessOrEqual(t, len(w.endings.index), maxEndings)
	for i := range sockets {
		w.notice(100, final(uint64(i+1), 100, 0, 101, client, quietFor(85*time.Second)))
	}
	assert.Len(t, w.opens, n)
	assert.Equal(t, uint64(100*n), w.sum.BytesSent)
	assert.Equal(t, tcp.States{}, w.states)
	assert.Empty(t, w.endings.index)
}

func TestNoticesThatAreNone(t *testing.T) {
	w := newWatched()
	w.notice(0, final(1, 5, 5, 7))
	assert.Empty(t, w.ends, "before the first dump nobody knows what is new")
	assert.False(t, w.Begun())

	listener := socket(2, func(s *tcp.Socket) { s.State = tcp.Listen })
	w.scrape(0, listener)
	assert.True(t, w.Begun())
	assert.True(t, w.Has(listener))
	noPeer := func(n *tcp.Notice) { n.Peer = socket(0).Peer }
	w.notice(1, final(2, 0, 0, 0, noPeer))
	w.notice(1, final(4, 0, 0, 0, noPeer)) // never connected
	assert.Empty(t, w.ends)
	assert.Zero(t, w.Len())
}

// 200 connects to a closed port open nothing: a reset is a segment, and no proof
// of a handshake.
func TestAttemptsThatFail(t *testing.T) {
	refused := func(cookie uint64) *tcp.Notice {
		return final(cookie, 0, 0, 0, func(n *tcp.Notice) { n.SegmentsReceived = 1 })
	}
	w := newWatched()
	w.scrape(0, socket(1, inState(tcp.SynSent)))
	w.notice(1, refused(1))
	w.notice(1, refused(2))
	assert.Empty(t, w.opens)
	assert.Zero(t, w.closes())
	assert.Equal(t, 2, w.failed)
	assert.Equal(t, Counts{Failed: 2}, w.Counts())
	for _, e := range w.ends {
		assert.Equal(t, tcp.Client, e.Role)
	}
	w.notice(2, final(3, 0, 0, 1))
	assert.Empty(t, w.opens, "the listener may be in the next dump")
	w.notice(2, final(3, 0, 0, 1, client))
	assert.Len(t, w.opens, 1, "its SYN was acknowledged")
	assert.Equal(t, tcp.States{}, w.states)
}

// Of a connection to a listener that no dump has seen yet, the next dump says
// which end this host had.
func TestANewListener(t *testing.T) {
	listener := socket(9, inState(tcp.Listen), func(s *tcp.Socket) { s.Peer = socket(0).Peer })
	w := newWatched()
	w.scrape(0)
	assert.False(t, w.notice(1, final(1, 10, 11, 11)), "nobody can say yet")
	assert.Empty(t, w.opens)
	dump(w.Table, at(10), listener)
	assert.True(t, w.notice(10, final(1, 10, 11, 11)))
	assert.Equal(t, tcp.Server, w.opens[0].Role)

	outgoing := final(2, 10, 11, 11, func(n *tcp.Notice) { n.Local = socket(7).Peer })
	assert.False(t, w.notice(11, outgoing))
	w.scrape(20, listener)
	copied := *outgoing
	assert.True(t, w.Notice(&copied, true))
	assert.Equal(t, tcp.Client, w.opens[1].Role, "nothing listens there")
}

// A role belongs to a connection, not to a port for ever.
func TestRoles(t *testing.T) {
	addr := func(local string) func(*tcp.Socket) {
		return func(s *tcp.Socket) { s.Local = socketAddr(local) }
	}
	listen := func(cookie uint64, local string) *tcp.Socket {
		return socket(cookie, inState(tcp.Listen), addr(local), func(s *tcp.Socket) { s.Peer = socketAddr("0.0.0.0:0") })
	}
	roles := func(w *watched) map[uint64]tcp.Role {
		all := map[uint64]tcp.Role{}
		for c := range w.All() {
			all[c.ID.Cookie] = c.Role
		}
		return all
	}
	w := newWatched()
	w.scrape(0,
		socket(1, addr("192.0.2.1:80")), listen(100, "0.0.0.0:80"), // its listener comes after it
		socket(2, addr("192.0.2.1:81")), listen(101, "192.0.2.7:81"),
		socket(3, addr("192.0.2.1:82")), listen(102, "[::]:82"),
		socket(4, addr("[2001:db8::1]:83")), listen(103, "0.0.0.0:83"),
		socket(5, addr("192.0.2.1:80"), inState(tcp.SynSent)),
		socket(6, addr("192.0.2.1:85"), inState(tcp.SynReceived)),
		socket(7, addr("192.0.2.1:80"), func(s *tcp.Socket) { s.Role = tcp.Client }),
	)
	got := roles(w)
	assert.Equal(t, map[uint64]tcp.Role{
		1: tcp.Server, 2: tcp.Client, 3: tcp.Server, 4: tcp.Client, 5: tcp.Client, 6: tcp.Server, 7: tcp.Client,
		100: 0, 101: 0, 102: 0, 103: 0,
	}, got)

	// The listener goes: what it accepted stays accepted, also what is seen only
	// now; what is opened from its port later is a client's.
	w.scrape(10, socket(1, addr("192.0.2.1:80")), socket(11, addr("192.0.2.1:80"), func(s *tcp.Socket) { s.Peer = socketAddr("192.0.2.2:11") }))
	got = roles(w)
	assert.Equal(t, tcp.Server, got[1])
	assert.Equal(t, tcp.Server, got[11])
	w.scrape(20, socket(12, addr("192.0.2.1:80"), func(s *tcp.Socket) { s.Peer = socketAddr("192.0.2.2:12") }))
	assert.Equal(t, tcp.Client, roles(w)[12])
}

// Two processes may listen at one port of two addresses.
func TestAcceptors(t *testing.T) {
	one, two := &process.Process{PID: 1}, &process.Process{PID: 2}
	var got []*process.Process
	var w *watched
	w = newWatched(func(o *Options) {
		o.Settle = func(c *Connection, _ *tcp.Holder) Verdict {
			got = append(got, w.Acceptor(c))
			return Report
		}
	})
	listen := func(cookie uint64, local string) *tcp.Socket {
		return socket(cookie, inState(tcp.Listen), func(s *tcp.Socket) { s.Local = socketAddr(local) })
	}
	dump(w.Table, at(0), listen(1, "192.0.2.1:80"), listen(2, "192.0.2.2:80"))
	for c := range w.All() {
		c.Owner.Process = map[uint64]*process.Process{1: one, 2: two}[c.ID.Cookie]
	}
	w.SettleListeners()
	to := func(cookie uint64, local string) *tcp.Notice {
		return final(cookie, 10, 11, 11, func(n *tcp.Notice) { n.Local = socketAddr(local) })
	}
	w.notice(1, to(11, "192.0.2.1:80"))
	w.notice(1, to(12, "192.0.2.2:80"))
	assert.Equal(t, []*process.Process{one, two}, got)

	// A closed listener's last notices still know whose it was.
	got = nil
	w.notice(2, final(2, 0, 0, 0, func(n *tcp.Notice) { n.Peer = socketAddr("0.0.0.0:0") }))
	w.notice(2, to(13, "192.0.2.2:80"))
	assert.Equal(t, []*process.Process{two}, got)
}

// SO_LINGER 0 disconnects before it destroys: the notice has no peer and no
// counters, but the connection is over.
func TestResetByItsProcess(t *testing.T) {
	w := newWatched()
	w.scrape(0)
	w.scrape(10, socket(7, sent(500), received(60)))
	w.notice(11, final(7, 0, 0, 0, func(n *tcp.Notice) { n.Peer = socket(0).Peer }))
	assert.Equal(t, event.Delta{BytesSent: 500, BytesReceived: 60}, w.sum, "what the last dump saw")
	assert.Equal(t, 1, w.closes())
	assert.Equal(t, tcp.LocalReset, w.ends[0].Cause)
	assert.Zero(t, w.Len())
}

// Where the kernel dropped the notice, dumps have the last word.
func TestANoticeThatNeverCame(t *testing.T) {
	w := newWatched()
	w.scrape(0)
	w.scrape(10, socket(1, sent(500)))
	w.scrape(20)
	assert.Empty(t, w.ends, "it may still come")
	w.scrape(30)
	assert.Equal(t, 1, w.closes())
	// It was there all the time, and the dumps did not show it.
	w.scrape(40, socket(1, sent(600)))
	assert.Equal(t, uint64(600), w.sum.BytesSent)
	w.notice(41, final(1, 600, 1, 602, client))
	assert.Equal(t, len(w.opens), w.closes())
	assert.Equal(t, uint64(600), w.sum.BytesSent)
}

func TestWithoutFINs(t *testing.T) {
	// What Linux 6.18 said of real connections, 777 bytes one way, 100 back.
	for _, tt := range []struct {
		name                    string
		sent, retransmitted     uint64
		received, acked         uint64
		last                    tcp.State
		role                    tcp.Role
		wantReceived, wantAcked uint64
	}{
		{"client, in order", 777, 0, 101, 779, tcp.Closed, tcp.Client, 100, 778},
		{"server, in order", 100, 0, 778, 101, tcp.Closed, tcp.Server, 777, 100},
		{"server that sent nothing", 0, 0, 778, 1, tcp.Closed, tcp.Server, 777, 0},
		{"server with retransmits", 150, 50, 778, 101, tcp.Closed, tcp.Server, 777, 100},
		{"client that was reset", 777, 0, 0, 778, tcp.Closed, tcp.Client, 0, 778},
		{"server that was reset", 0, 0, 777, 0, tcp.Closed, tcp.Server, 777, 0},
		{"reset in CLOSE_WAIT", 0, 0, 778, 0, tcp.CloseWait, tcp.Server, 777, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := final(1, tt.sent, tt.received, tt.acked)
			n.BytesRetransmitted = tt.retransmitted
			c := &Connection{}
			c.State, c.Role = tt.last, tt.role
			newTable().withoutFINs(n, c)
			assert.Equal(t, [2]uint64{tt.wantReceived, tt.wantAcked}, [2]uint64{n.BytesReceived, n.BytesAcked})
		})
	}
}

// What is left of a connection stays after its notice, if the last dump had it,
// and stays in its group.
func TestWhatIsLeftAfterTheNotice(t *testing.T) {
	for _, state := range []tcp.State{tcp.TimeWait, tcp.FinWait2} {
		w := newWatched()
		w.scrape(0)
		w.scrape(10, socket(1, sent(500), received(60)))
		w.scrape(20, socket(1, bare(state)))
		w.notice(21, final(1, 777, 101, 779, client))
		assert.Equal(t, 1, w.closes())
		assert.Equal(t, event.Delta{BytesSent: 777, BytesReceived: 100}, w.sum)
		assert.Equal(t, only(state), w.states)
		w.scrape(30, socket(1, bare(state)))
		assert.Equal(t, 1, w.Len())
		assert.Equal(t, only(state), w.states)
		w.scrape(40)
		assert.Equal(t, tcp.States{}, w.states)
		assert.Equal(t, 1, w.closes())
	}
	// It comes after the notice: its slot, and so its group, is the same.
	w := newWatched()
	w.scrape(0)
	w.scrape(10, socket(1, sent(500)))
	w.notice(11, final(1, 777, 101, 779, client))
	w.scrape(20, socket(1, bare(tcp.TimeWait)))
	assert.Equal(t, tcp.States{tcp.TimeWait: 1}, w.states)
	assert.Equal(t, uint32(0), one(t, w.Table).Slot)
	assert.Len(t, w.opens, 1)
}

// Notices that say so have no FIN to take off.
func TestNoticesWithoutFINs(t *testing.T) {
	w := newWatched()
	w.scrape(10)
	w.notice(11, final(1, 777, 100, 779, client, func(n *tcp.Notice) { n.WithoutFINs = true }))
	assert.Equal(t, event.Delta{BytesSent: 777, BytesReceived: 100}, w.sum)
}

// A connection waits for its process once, and then no longer.
func TestWaiting(t *testing.T) {
	verdict := Wait
	w := newWatched(func(o *Options) { o.Settle = func(*Connection, *tcp.Holder) Verdict { return verdict } })
	w.scrape(0)
	w.scrape(10, socket(1, sent(5)))
	assert.Equal(t, tcp.States{}, w.states)
	assert.Equal(t, uint64(1), w.Counts().Opened, "it is seen, though it is not reported yet")
	w.scrape(20, socket(1, sent(9)))
	assert.Equal(t, tcp.States{tcp.Established: 1}, w.states)
	assert.Equal(t, uint64(9), w.sum.BytesSent)
	assert.Len(t, w.opens, 1)
	w.notice(21, final(2, 7, 1, 9, client))
	assert.Equal(t, uint64(16), w.sum.BytesSent, "one that has ended does not wait")

	verdict = Discard
	w.scrape(30, socket(1, sent(9)), socket(3, sent(100)))
	w.scrape(40, socket(1, sent(9)), socket(3, sent(200)))
	w.notice(41, final(3, 300, 1, 302, client))
	w.notice(41, final(4, 300, 1, 302, client))
	w.scrape(50, socket(1, sent(9)))
	assert.Equal(t, uint64(16), w.sum.BytesSent)
	assert.Equal(t, tcp.States{tcp.Established: 1}, w.states)
	assert.Equal(t, 1, w.closes())
}

// An endpoint that is used again is seen, though it has no identity but its
// endpoints: no connection comes back from TIME_WAIT.
func TestReuseAfterTimeWait(t *testing.T) {
	anonymous := func(change ...func(*tcp.Socket)) *tcp.Socket {
		return socket(1, append(change, func(s *tcp.Socket) { s.ID.Cookie = 0; s.Fields = 0 })...)
	}
	w := newWatched()
	w.Notified(false)
	w.scrape(0)
	w.scrape(10, anonymous())
	w.scrape(20, anonymous(func(s *tcp.Socket) { s.State, s.Inode = tcp.TimeWait, 0 }))
	assert.Equal(t, 1, w.closes())
	w.scrape(30, anonymous(func(s *tcp.Socket) { s.Inode = 55 }))
	assert.Len(t, w.opens, 2)
	assert.Equal(t, tcp.States{tcp.Established: 1}, w.states)
	w.scrape(40)
	assert.Equal(t, 2, w.closes())
}

// A source that shows but the low 32 bits of a counter may be opened again: the
// table goes on.
func TestLow32(t *testing.T) {
	low := func(sent, received uint64) *tcp.Socket {
		return socket(1, func(s *tcp.Socket) {
			s.Low32 = tcp.Fields(0).With(tcp.FieldBytesSent).With(tcp.FieldBytesReceived)
			s.BytesSent, s.BytesReceived = uint64(uint32(sent)), uint64(uint32(received))
		})
	}
	w := newWatched(detailed)
	w.Notified(false)
	w.scrape(0, low(0, 0))
	var sent, received uint64
	for i := range 20 {
		sent, received = sent+1<<30, received+3<<30
		w.scrape(10*(i+1), low(sent, received))
	}
	c := one(t, w.Table)
	assert.Equal(t, sent, c.BytesSent)
	assert.Equal(t, received, c.BytesReceived)
	assert.Equal(t, event.Delta{BytesSent: sent, BytesReceived: received}, w.sum)
	w.scrape(1000, low(sent, received-1))
	assert.Equal(t, received, one(t, w.Table).BytesReceived, "the FIN that was taken off")
}

// only is one connection in a state.
func only(state tcp.State) (all tcp.States) {
	all[state] = 1
	return all
}

// A connection that dumps saw only while it connected, and that they miss for long, is
// reported to have failed. A late notice that shows a handshake adds what it did, but
// no opening: no end would follow.
func TestALateNoticeOfWhatFailedOpensNothing(t *testing.T) {
	w := newWatched()
	w.scrape(0)
	w.scrape(10, socket(1, inState(tcp.SynSent)))
	w.scrape(20)
	w.scrape(40)
	assert.Equal(t, 1, w.failed)
	w.notice(41, final(1, 777, 101, 779, client))
	assert.Len(t, w.opens, w.closes())
	assert.Equal(t, uint64(777), w.sum.BytesSent)
	assert.Equal(t, 1, w.left)
}

// Before Linux 5.4 two network namespaces may use the same cookie.
func TestFindIsOfTheNamespace(t *testing.T) {
	w := newWatched()
	w.scrape(0, socket(1))
	assert.NotNil(t, w.Find(tcp.Identity{Cookie: 1, Namespace: 1}))
	assert.Nil(t, w.Find(tcp.Identity{Cookie: 1, Namespace: 2}))
}

// What dumps alone saw to end is not counted again when notices begin later, as after
// the source was opened again.
func TestNoticesThatBeginLate(t *testing.T) {
	w := newWatched()
	w.Notified(false)
	w.scrape(0)
	w.scrape(10, socket(1))
	w.scrape(20)
	assert.Equal(t, 1, w.closes())
	w.Notified(true)
	w.notice(60, final(1, 777, 101, 779, client, quietFor(45*time.Second)))
	assert.Equal(t, 1, w.closes())
	assert.Len(t, w.opens, 1)
	w.notice(60, final(2, 777, 101, 779, client, quietFor(5*time.Second)))
	assert.Equal(t, 2, w.closes())
}

// What the first dump found in TIME_WAIT is not new, though its notice does not say
// when it was last active, as FreeBSD's do not.
func TestWhatTheFirstDumpFoundInTimeWait(t *testing.T) {
	w := newWatched()
	w.scrape(0, socket(1, bare(tcp.TimeWait)))
	w.notice(1, final(1, 777, 101, 779, client))
	assert.Empty(t, w.opens)
	assert.Equal(t, 1, w.closes())
	assert.Zero(t, w.sum.BytesSent)
}

// What is left of connections of which nothing is known is nobody's: as clients' it
// would be a group for each of their ports.
func TestLeftoversOfNobody(t *testing.T) {
	listener := socket(100, inState(tcp.Listen), func(s *tcp.Socket) { s.Local, s.Peer = socketAddr("192.0.2.9:80"), socketAddr("0.0.0.0:0") })
	accepted := socket(2, bare(tcp.TimeWait), func(s *tcp.Socket) { s.Local = socketAddr("192.0.2.9:80") })
	w := newWatched()
	w.scrape(0, socket(1, bare(tcp.TimeWait)), accepted, listener)
	assert.Equal(t, only(tcp.TimeWait), w.states, "that of the listener")
	w.scrape(10, socket(1, bare(tcp.TimeWait)), accepted, listener, socket(3, bare(tcp.FinWait2)))
	assert.Equal(t, only(tcp.TimeWait), w.states)
	// Its notice comes after all: it was a connection.
	w.notice(11, final(3, 777, 101, 779, client))
	assert.Len(t, w.opens, 1)
	assert.Equal(t, 1, w.closes())
	assert.Equal(t, event.Delta{BytesSent: 777, BytesReceived: 100}, w.sum)
	w.scrape(30)
	assert.Equal(t, tcp.States{}, w.states)
}
