package table

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// final is the kernel's notice of a socket that was destroyed.
func final(cookie uint64, bytesSent, received, acked uint64) *tcp.Socket {
	return socket(cookie, func(s *tcp.Socket) {
		s.State, s.Inode = tcp.Closed, 0
		s.BytesSent, s.BytesReceived, s.BytesAcked, s.SegmentsReceived = bytesSent, received, acked, 3
	})
}

// watched is a table with notices that keeps what it closes.
type watched struct {
	*Table
	closed []Connection
}

func newWatched() *watched {
	w := &watched{}
	w.Table = New(Options{Boot: boot, Closed: func(c *Connection, _ *tcp.Holder) { w.closed = append(w.closed, *c) }})
	w.Notified(true)
	return w
}

// counted adds up what the closed connections did that nobody has counted.
func (w *watched) counted() (sum Delta) {
	for _, c := range w.closed {
		sum.add(c.Uncounted)
	}
	return sum
}

func received(bytes uint64) func(*tcp.Socket) {
	return func(s *tcp.Socket) { s.BytesReceived = bytes }
}

func inState(state tcp.State) func(*tcp.Socket) { return func(s *tcp.Socket) { s.State = state } }

// bare is what is left of a connection: no counters, no inode.
func bare(state tcp.State) func(*tcp.Socket) {
	return func(s *tcp.Socket) { *s = tcp.Socket{ID: s.ID, Local: s.Local, Peer: s.Peer, State: state} }
}

// A connection that sends 777 bytes and receives 100 is counted once and in
// full, whatever the dumps and the notice show of it and in whatever order.
func TestNoticesAndDumps(t *testing.T) {
	notice := final(1, 777, 101, 779) // as Linux tells of one that connected, its FINs and its SYN a byte each
	for name, run := range map[string]func(w *watched){
		"never dumped": func(w *watched) {
			w.Notice(notice, false)
		},
		"dumped, then closed": func(w *watched) {
			dump(w.Table, at(10), socket(1, sent(500), received(60)))
			w.Notice(notice, false)
		},
		"its fin in the last sample": func(w *watched) {
			dump(w.Table, at(10), socket(1, sent(777), received(101), inState(tcp.FinWait2)))
			w.Notice(notice, false)
		},
		"its fin in a sample before the state tells": func(w *watched) {
			dump(w.Table, at(10), socket(1, sent(777), received(101)))
			dump(w.Table, at(20), socket(1, sent(777), received(100), inState(tcp.CloseWait)))
			w.Notice(notice, false)
		},
		"its fin in the last sample, and TIME_WAIT": func(w *watched) {
			dump(w.Table, at(10), socket(1, sent(777), received(101), inState(tcp.FinWait2)))
			dump(w.Table, at(20), socket(1, bare(tcp.TimeWait)))
			w.Notice(notice, false)
		},
		"dumped in TIME_WAIT before the notice": func(w *watched) {
			dump(w.Table, at(10), socket(1, sent(500), received(60)))
			dump(w.Table, at(20), socket(1, bare(tcp.TimeWait)))
			w.Notice(notice, false)
		},
		"dumped in TIME_WAIT after the notice": func(w *watched) {
			w.Notice(notice, false)
			dump(w.Table, at(10), socket(1, bare(tcp.TimeWait)))
			dump(w.Table, at(20))
			dump(w.Table, at(30))
		},
		"dumped in TIME_WAIT only, then the notice": func(w *watched) {
			dump(w.Table, at(10), socket(1, bare(tcp.TimeWait)))
			w.Notice(notice, false)
		},
		"dumped as an embryo only": func(w *watched) {
			dump(w.Table, at(10), socket(1, bare(tcp.SynReceived)))
			w.Notice(notice, false)
		},
		"missing from a dump before the notice": func(w *watched) {
			dump(w.Table, at(10), socket(1, sent(500), received(60)))
			dump(w.Table, at(20))
			w.Notice(notice, false)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWatched()
			dump(w.Table, at(0))
			*notice = *final(1, 777, 101, 779) // Notice writes to it
			run(w)
			// What is left of it in TIME_WAIT goes, too.
			dump(w.Table, at(40))
			dump(w.Table, at(60))
			assert.Equal(t, Delta{BytesSent: 777, BytesReceived: 100}, w.counted())
			opened, ended := 0, 0
			for _, c := range w.closed {
				// What package group does with it.
				if !c.Opened && c.State != tcp.SynSent && c.State != tcp.SynReceived {
					c.Opened = true
					if c.IsNew {
						opened++
					}
				}
				if c.Opened && !c.Closed {
					ended++
				}
			}
			assert.Equal(t, 1, opened)
			assert.Equal(t, 1, ended)
			assert.Zero(t, w.Len())
		})
	}
}

func TestNoticesThatAreNone(t *testing.T) {
	w := newWatched()
	w.Notice(final(1, 5, 5, 7), false)
	assert.Empty(t, w.closed, "before the first dump nobody knows what is new")
	assert.False(t, w.Begun())

	listener := socket(2, func(s *tcp.Socket) { s.State = tcp.Listen })
	failing := socket(3, inState(tcp.SynSent))
	failing.BytesSent = 0
	dump(w.Table, at(0), listener, failing)
	assert.True(t, w.Begun())
	assert.True(t, w.Has(listener.ID))

	noPeer := func(s *tcp.Socket) *tcp.Socket {
		s.Peer = socket(0).Peer
		return s
	}
	w.Notice(noPeer(final(2, 0, 0, 0)), true)
	refused := final(3, 0, 0, 0)
	refused.SegmentsReceived = 0
	w.Notice(refused, false)
	w.Notice(noPeer(final(4, 0, 0, 0)), false) // never connected
	unseen := final(5, 0, 0, 0)
	unseen.SegmentsReceived = 0
	w.Notice(unseen, false) // connecting failed
	assert.Equal(t, Delta{}, w.counted())
	if assert.Len(t, w.closed, 2) {
		assert.Equal(t, tcp.Listen, w.closed[0].State)
		assert.Equal(t, tcp.SynSent, w.closed[1].State, "it never was a connection")
	}
	assert.Zero(t, w.Len())
}

// SO_LINGER 0 disconnects before it destroys: the notice has no peer and no
// counters, but the connection is over.
func TestResetByItsProcess(t *testing.T) {
	w := newWatched()
	dump(w.Table, at(0))
	dump(w.Table, at(10), socket(7, sent(500), received(60)))
	notice := final(7, 0, 0, 0)
	notice.Peer = socket(0).Peer
	w.Notice(notice, false)
	assert.Equal(t, uint64(500), w.counted().BytesSent, "what the last dump saw")
	assert.Zero(t, w.Len())
}

// Where the kernel dropped the notice, dumps have the last word.
func TestANoticeThatNeverCame(t *testing.T) {
	w := newWatched()
	dump(w.Table, at(0))
	dump(w.Table, at(10), socket(1, sent(500)))
	dump(w.Table, at(20))
	assert.Empty(t, w.closed, "it may still come")
	dump(w.Table, at(30))
	assert.Len(t, w.closed, 1)
}

func TestWithoutFins(t *testing.T) {
	// What Linux 6.18 said of real connections, 777 bytes one way, 100 back.
	for _, tt := range []struct {
		name                    string
		sent, retransmitted     uint64
		received, acked         uint64
		last                    tcp.State
		accepted                bool
		wantReceived, wantAcked uint64
	}{
		{"client, in order", 777, 0, 101, 779, tcp.Closed, false, 100, 778},
		{"server, in order", 100, 0, 778, 101, tcp.Closed, true, 777, 100},
		{"server that sent nothing", 0, 0, 778, 1, tcp.Closed, true, 777, 0},
		{"server with retransmits", 150, 50, 778, 101, tcp.Closed, true, 777, 100},
		{"client that was reset", 777, 0, 0, 778, tcp.Closed, false, 0, 778},
		{"server that was reset", 0, 0, 777, 0, tcp.Closed, true, 777, 0},
		{"reset in CLOSE_WAIT", 0, 0, 778, 0, tcp.CloseWait, true, 777, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := final(1, tt.sent, tt.received, tt.acked)
			s.BytesRetransmitted = tt.retransmitted
			withoutFins(s, tt.last, tt.accepted)
			assert.Equal(t, [2]uint64{tt.wantReceived, tt.wantAcked}, [2]uint64{s.BytesReceived, s.BytesAcked})
		})
	}
}

// What is left of a connection stays after its notice, if the last dump had it.
func TestWhatIsLeftAfterTheNotice(t *testing.T) {
	for _, state := range []tcp.State{tcp.TimeWait, tcp.FinWait2} {
		w := newWatched()
		dump(w.Table, at(0))
		dump(w.Table, at(10), socket(1, sent(500), received(60)))
		dump(w.Table, at(20), socket(1, bare(state)))
		w.Notice(final(1, 777, 101, 779), false)
		assert.Len(t, w.closed, 1)
		assert.Equal(t, Delta{BytesSent: 777, BytesReceived: 100}, w.counted())
		n := 0
		for c := range w.All() {
			n++
			assert.Equal(t, state, c.State)
			assert.Zero(t, c.Uncounted)
			assert.True(t, c.Closed)
		}
		assert.Equal(t, 1, n)
		dump(w.Table, at(30), socket(1, bare(state)))
		assert.Equal(t, 1, w.Len())
	}
}

// Notices that say so have no FIN to take off.
func TestNoticesWithoutFINs(t *testing.T) {
	w := newWatched()
	dump(w.Table, at(10))
	notice := final(1, 777, 100, 779)
	notice.WithoutFINs = true
	w.Notice(notice, false)
	assert.Equal(t, Delta{BytesSent: 777, BytesReceived: 100}, w.counted())
}

func TestAwaits(t *testing.T) {
	w := newWatched()
	dump(w.Table, at(0), socket(1))
	dump(w.Table, at(10), socket(1), socket(2), socket(3, bare(tcp.SynReceived)), socket(4, bare(tcp.TimeWait)))
	awaits := func() (ids []uint64) {
		for c := range w.All() {
			if w.Awaits(c) {
				ids = append(ids, c.ID.Cookie)
			}
		}
		return ids
	}
	assert.ElementsMatch(t, []uint64{2, 3}, awaits())
	w.Notified(false)
	assert.Empty(t, awaits())
	w.Notified(true)
	dump(w.Table, at(30), socket(1), socket(2))
	assert.Empty(t, awaits(), "not for ever")
}
