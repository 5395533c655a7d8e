// SPDX-License-Identifier: Apache-2.0

package table

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/group"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// world is what a model of a kernel and of its source may do.
type world struct {
	notified  bool // ends are reported by notices
	endpoints bool // there are no identities but the endpoints
	moved     bool // dumps leave out what has not changed
	partial   bool // dumps may be partial or cut short
	lossy     bool // notices may be lost
	resets    bool // the source is changed now and then
	discards  bool // some connections are not wanted, and some wait for their process
}

// orderly reports that what is live is known after every dump.
func (w world) orderly() bool { return !w.lossy && !w.resets && !w.discards && !w.partial }

// exact reports that every connection is counted once, with all its bytes. Two that
// are seen in TIME_WAIT alone, with the same endpoints, cannot be told apart without
// identities.
func (w world) exact() bool { return w.orderly() && !w.endpoints }

// actual is a connection of the model.
type actual struct {
	tcp.Socket
	at      int // since when it is in its state
	server  bool
	old     bool // the first dump had it
	visited bool // by a dump
	seenUp  bool // by a dump, established
	up      bool // it came through the handshake
	moved   bool // since the last dump that returned no error
	told    bool // its notice is under way
	final   event.Delta
}

// pendingNotice is a notice that is delivered at a time.
type pendingNotice struct {
	tcp.Notice
	at     int
	last   bool // it was given once, before a dump
	dumped bool
}

// model is a kernel, a source of it, a table that reads it and groups of it.
type model struct {
	*testing.T
	world
	*rand.Rand
	now     int
	next    uint64
	conns   []*actual
	gone    []*actual
	notices []pendingNotice
	calm    bool // dumps succeed again
	full    bool // the next dump is of all

	*Table
	slots Slots
	set   *group.Set
	check checker
}

// checker sees that each connection's events come in order, each once.
type checker struct {
	*testing.T
	set    *group.Set
	resets bool
	by     map[uint32]*life // by slot
	opens  int
	closes int
	before int // closes of those that are not new
	sum    event.Delta
}

type life struct {
	id     tcp.Identity
	is     tcp.State
	opened int
	ended  int
	failed int
	log    []string
}

func (c *checker) Progress(p *event.Progress) {
	l := c.by[p.Slot]
	if p.First {
		require.Nil(c, l, "slot %d is used by another connection", p.Slot)
		l = &life{id: p.ID, is: event.NoState}
		c.by[p.Slot] = l
	}
	require.NotNil(c, l, "of slot %d there was no first progress, or it is gone", p.Slot)
	require.Equal(c, l.id, p.ID)
	require.Equal(c, l.is, p.Was)
	l.is = p.Is
	l.log = append(l.log, fmt.Sprint(p.Is, p.Delta))
	if p.Gone {
		require.Equal(c, event.NoState, p.Is)
		require.Zero(c, p.Delta)
		require.True(c, c.resets || l.opened <= l.ended-l.failed, "it opened and has not ended: %v", l.log)
		delete(c.by, p.Slot)
	}
	c.sum.Add(p.Delta)
	c.set.Progress(p)
	for g := range c.set.All() {
		for state, n := range g.Live {
			require.GreaterOrEqual(c, n, int64(0), "connections in %s", tcp.State(state))
		}
	}
}

func (c *checker) Opened(o *event.Opened) {
	l := c.by[o.Slot]
	require.NotNil(c, l)
	l.opened++
	l.log = append(l.log, "opened")
	require.Equal(c, l.opened, l.ended+1, "opened once, and again only after an end that was none")
	c.opens++
	c.set.Opened(o)
}

func (c *checker) Ended(e *event.Ended) {
	l := c.by[e.Slot]
	require.NotNil(c, l)
	if e.IsNew && e.Established {
		require.Equal(c, l.opened, l.ended+1, "it ended as often as it opened")
	}
	l.ended++
	l.log = append(l.log, fmt.Sprint("ended ", e.Established, e.Failure, e.Last != nil))
	if c.set.Ended(e); e.Established {
		c.closes++
		if !e.IsNew {
			c.before++
		}
	} else {
		l.failed++
	}
}

func newModel(t *testing.T, w world, seed uint64) *model {
	m := &model{T: t, world: w, Rand: rand.New(rand.NewPCG(seed, 1)), next: 1, full: true}
	m.set = group.NewSet(group.Config{By: nil, Limit: 4, Expiry: 30 * time.Second}, at(0))
	m.check = checker{T: t, set: m.set, resets: w.resets, by: map[uint32]*life{}}
	opts := Options{Boot: boot, Slots: &m.slots, Events: &m.check}
	if w.discards {
		opts.Settle = func(c *Connection, _ *tcp.Holder) Verdict { return Verdict(c.Peer.Port() % 3) }
	}
	m.Table = New(opts)
	m.Notified(w.notified)
	return m
}

func (m *model) one(in int) bool { return m.IntN(in) == 0 }

// open makes a connection, in its first state.
func (m *model) open() {
	a := &actual{server: m.one(2), at: m.now, moved: true}
	a.ID = tcp.Identity{Cookie: m.next, Namespace: 1}
	a.Local = netip.MustParseAddrPort("192.0.2.1:443")
	a.Peer = netip.AddrPortFrom(netip.MustParseAddr("192.0.2.2"), uint16(1+m.next%60000))
	if m.endpoints {
		a.ID.Cookie = 0
		// The endpoints of one that is gone are used again.
		if len(m.gone) > 0 && m.one(2) {
			a.Peer = m.gone[m.IntN(len(m.gone))].Peer
			if slices.ContainsFunc(m.conns, func(o *actual) bool { return o.Peer == a.Peer }) {
				return
			}
		}
	}
	m.next++
	a.Fields = known
	a.State = tcp.SynSent
	a.Inode = m.next
	if a.server {
		a.State, a.Fields = tcp.SynReceived, 0
		a.Inode = 0
	}
	m.conns = append(m.conns, a)
}

// step is what happens to a connection in a moment.
func (m *model) step(a *actual) {
	a.moved = true
	switch a.State {
	case tcp.SynSent, tcp.SynReceived:
		if m.one(4) {
			m.vanish(a)
			return
		}
		a.State, a.Fields, a.up = tcp.Established, known, true
		if a.server {
			m.next++
			a.Inode = 100000 + m.next
		}
		a.BytesAcked = 1
	case tcp.Established:
		switch m.IntN(6) {
		case 0:
			a.State = tcp.FinWait1
		case 1:
			a.State = tcp.CloseWait
		case 2:
			m.vanish(a) // reset
		default:
			a.BytesSent += m.Uint64N(1000)
			a.BytesReceived += m.Uint64N(1000)
			a.Retransmits += m.Uint64N(3)
		}
	case tcp.FinWait1:
		a.State = tcp.FinWait2
	case tcp.FinWait2:
		if !m.one(3) {
			m.notify(a)
		}
		m.rest(a)
	case tcp.CloseWait:
		a.BytesSent += m.Uint64N(1000)
		a.State = tcp.LastAck
	case tcp.LastAck:
		m.vanish(a)
	case tcp.TimeWait:
		m.vanish(a)
	}
}

// rest shrinks a connection to what the kernel keeps of it.
func (m *model) rest(a *actual) {
	m.notify(a)
	a.Socket = tcp.Socket{ID: a.ID, Local: a.Local, Peer: a.Peer, State: tcp.TimeWait}
}

// notify sends the notice of a connection, if it has not been sent.
func (m *model) notify(a *actual) {
	if a.told || !m.world.notified {
		return
	}
	a.told = true
	a.final = event.Delta{BytesSent: a.BytesSent, BytesReceived: a.BytesReceived, Retransmits: a.Retransmits}
	if m.lossy && m.one(5) {
		m.full = true
		return
	}
	n := tcp.Notice{Socket: a.Socket, WithoutFINs: true, Left: a.State, NeverEstablished: !a.up}
	n.State, n.Inode = tcp.Closed, 0
	n.Role = tcp.Client
	if a.server {
		n.Role = tcp.Server
	}
	if m.one(3) {
		n.Role = tcp.NoRole
	}
	if m.one(2) && a.up {
		n.Left = tcp.Closed
	}
	p := pendingNotice{Notice: n, at: m.now + m.IntN(4)}
	if m.one(10) && (!m.exact() || a.seenUp || !a.visited) {
		p.at = m.now + m.IntN(300) // one that was seen to connect alone would have failed
	}
	m.notices = append(m.notices, p)
	if m.one(10) && n.Left == tcp.FinWait2 && p.at < m.now+4 {
		m.notices = append(m.notices, p) // twice
	}
}

func (m *model) vanish(a *actual) {
	m.notify(a)
	m.conns = slices.DeleteFunc(m.conns, func(o *actual) bool { return o == a })
	m.gone = append(m.gone, a)
}

// deliver gives the notices that are due.
func (m *model) deliver() {
	due := m.notices
	m.notices = nil
	for _, p := range due {
		if p.at > m.now || !m.Begun() {
			m.notices = append(m.notices, p)
			continue
		}
		n := p.Notice
		n.Seen = at(m.now)
		if !m.Notice(&n, p.last && p.dumped) {
			p.last = true
			m.notices = append(m.notices, p)
		}
	}
}

// read makes a dump and has it reported.
func (m *model) read() {
	result := Complete
	if m.partial && !m.calm && m.one(3) {
		result = []Result{Partial, CutShort}[m.IntN(2)]
	}
	moved := m.world.moved && !m.full
	if moved {
		m.BeginMoved(at(m.now))
	} else {
		m.Begin(at(m.now))
	}
	m.Shuffle(len(m.conns), func(i, j int) { m.conns[i], m.conns[j] = m.conns[j], m.conns[i] })
	if m.one(2) {
		slices.SortFunc(m.conns, func(a, b *actual) int { return int(a.ID.Cookie) - int(b.ID.Cookie) })
	}
	for i, a := range m.conns {
		if moved && a.State == tcp.Established && !a.moved {
			continue
		}
		if result == CutShort && i > len(m.conns)/2 || result == Partial && m.one(5) {
			continue
		}
		if !a.visited {
			a.visited, a.old = true, !m.Begun()
		}
		a.seenUp = a.seenUp || a.up
		s := a.Socket
		m.Observe(&s)
	}
	m.End(result)
	if result == Complete {
		for _, a := range m.conns {
			a.moved = false
		}
		m.full = false
	} else {
		m.full = true
	}
	for i := range m.notices {
		m.notices[i].dumped = m.notices[i].last
	}
	m.deliver()
	m.Report()
	if m.one(4) {
		m.set.Collect(at(m.now))
		m.set.End(result == Complete)
	}
	if result == Complete && !m.world.notified && m.orderly() {
		var want tcp.States
		for _, a := range m.conns {
			want[a.State]++
		}
		var got tcp.States
		for g := range m.set.All() {
			for state, n := range g.Live {
				got[state] += n
			}
		}
		require.Equal(m, want, got)
	}
}

// run lets the world run and then come to rest.
func (m *model) run(steps int) {
	if m.one(2) {
		m.read() // nothing is older than that
	}
	for range steps {
		m.now += m.IntN(3)
		if len(m.conns) < 12 && m.one(2) {
			m.open()
		}
		for range m.IntN(4) {
			if len(m.conns) > 0 {
				m.step(m.conns[m.IntN(len(m.conns))])
			}
		}
		m.deliver()
		if m.one(4) {
			m.read()
		}
		if m.resets && m.one(200) {
			m.Reset()
			m.full = true
			m.notices = nil
		}
	}
	for len(m.conns) > 0 {
		m.step(m.conns[0])
	}
	m.calm = true
	for range 60 {
		m.now += 10
		m.deliver()
		m.full = true
		m.read()
	}
	m.quiescent()
}

func (m *model) quiescent() {
	require.Empty(m, m.notices)
	if m.discards {
		assert.LessOrEqual(m, len(m.check.by), len(m.endings.index))
	}
	// Those of which no notice came wait for it.
	if !m.lossy && !m.resets {
		require.Empty(m, m.endings.index)
	}
	m.forgetEndings()
	assert.Empty(m, m.check.by, "each is gone once")
	assert.Zero(m, m.Len())
	assert.Zero(m, m.established)
	assert.Zero(m, m.absent)
	assert.Len(m, m.slots.free, int(m.slots.next), "every slot is free")
	slices.Sort(m.slots.free)
	assert.Len(m, slices.Compact(m.slots.free), int(m.slots.next), "once")
	for g := range m.set.All() {
		assert.Equal(m, tcp.States{}, g.Live)
	}
	if !m.resets {
		assert.Equal(m, m.check.opens+m.check.before, m.check.closes, "whatever opened has closed")
	}
	var opens, closes int
	var sum event.Delta
	for _, a := range m.gone {
		if !a.up || !m.world.notified && !a.seenUp {
			continue
		}
		closes++
		if !a.old {
			opens++
			sum.Add(a.final)
		}
	}
	if m.exact() {
		assert.Equal(m, opens, m.check.opens, "opens")
		assert.Equal(m, closes, m.check.closes, "closes")
		if m.world.notified && opens == closes {
			assert.Equal(m, sum, m.check.sum, "what they did")
		}
	}
}

// Whatever the order of dumps and notices, each connection opens and ends once, and
// nothing of it is left.
func TestModel(t *testing.T) {
	worlds := map[string]world{
		"dumps":                    {},
		"endpoints":                {endpoints: true},
		"notices":                  {notified: true},
		"moved":                    {notified: true, moved: true},
		"partial dumps":            {partial: true},
		"partial, notices":         {partial: true, notified: true},
		"partial, moved":           {partial: true, notified: true, moved: true},
		"lost notices":             {notified: true, lossy: true},
		"lost notices, moved":      {notified: true, lossy: true, moved: true, partial: true},
		"discards":                 {notified: true, discards: true},
		"discards, dumps":          {discards: true, endpoints: true},
		"resets":                   {notified: true, resets: true, moved: true},
		"resets, dumps, endpoints": {resets: true, partial: true, endpoints: true},
		"all":                      {notified: true, resets: true, moved: true, lossy: true, discards: true, partial: true},
	}
	for name, w := range worlds {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(8) {
				if !t.Run(fmt.Sprint(seed), func(t *testing.T) { newModel(t, w, seed).run(600) }) {
					return
				}
			}
		})
	}
}
