// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64 || loong64 || ppc64le || riscv64)

package bpf

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/source/sockdiag"
	"github.com/netpulse/tcpstatsreceiver/internal/source/sourcetest"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// mixedOf returns a source with sock_diag beside it, for any number of sockets.
func mixedOf(t testing.TB, s *Source) *mixed {
	t.Helper()
	m, ok := newMixed(bg, s).(*mixed)
	require.True(t, ok, "sock_diag does not open")
	t.Cleanup(func() { assert.NoError(t, m.give()) })
	m.most = math.MaxInt
	return m
}

// Whichever makes the dump, it shows the same, what the programs keep with a
// connection included.
func TestBothDumpsShowTheSame(t *testing.T) {
	m := mixedOf(t, opened(t))
	closesOf(t, m)
	m.iterates = false
	c := play(t)
	client, server := dial(t, listenPlain(t))
	deaf(t, server, 0)
	_, err := client.Write([]byte{1})
	require.NoError(t, err)
	c.ports[endpoints(client)[1].Port()] = true
	by := func(iterates bool) map[pair]tcp.Socket {
		m.iterates = iterates
		return c.onlyOf(sockets(t, m))
	}
	require.Eventually(t, func() bool { return by(true)[endpoints(client)].RetransmitsBy[tcp.TimeoutRetransmit] > 0 }, 5*time.Second, 50*time.Millisecond)
	hearing(t, server)

	var differs error
	for range 20 {
		time.Sleep(100 * time.Millisecond)
		began := time.Now()
		first, second := by(true), by(false)
		later := time.Since(began) + 2*m.dec.jiffy
		differs = nil
		roles, retransmitted := make(map[tcp.Role]int), 0
		for p, a := range first {
			b, ok := second[p]
			roles[b.Role]++
			if b.Has(tcp.FieldRetransmitsBy) && b.RetransmitsBy[tcp.TimeoutRetransmit] > 0 {
				retransmitted++
			}
			if !ok {
				differs = errors.Join(differs, fmt.Errorf("%v: not in sock_diag", p))
			} else if err := difference(a, b, later); err != nil {
				differs = errors.Join(differs, fmt.Errorf("%v %v: %w", a.State, p, err))
			} else if a.State != tcp.SynReceived && a.Role != b.Role {
				differs = errors.Join(differs, fmt.Errorf("%v %v: %v and %v", a.State, p, a.Role, b.Role))
			}
		}
		assert.Len(t, second, len(first))
		assert.Greater(t, roles[tcp.Client], 5)
		assert.Greater(t, roles[tcp.Server], 5)
		assert.Positive(t, retransmitted)
		if differs == nil {
			return
		}
	}
	assert.NoError(t, differs)
}

func TestWhoMakesTheDump(t *testing.T) {
	m := &mixed{few: new(sockdiag.Source), buckets: 262144, least: 2730, most: 4096}
	for _, tt := range []struct {
		sockets  int
		iterates bool
	}{
		{10, false},
		{4096, false},
		{4097, true},
		{3000, true},
		{2730, true},
		{2729, false},
		{4096, false},
		{190_000, true},
		{0, false},
	} {
		m.choose(tt.sockets)
		assert.Equal(t, tt.iterates, m.iterates, tt.sockets)
		way, why := m.Way()
		if tt.iterates {
			assert.Equal(t, "the iterator", way)
		} else {
			assert.Equal(t, "sock_diag", way)
		}
		assert.Contains(t, why, fmt.Sprintf("there are %d", tt.sockets))
	}
}

// It takes turns by itself as sockets come and go, and counts those that the
// iterator leaves out.
func TestTurns(t *testing.T) {
	opened(t) // or skip
	require.NoError(t, sourcetest.NewNamespace(t).Do(func() error {
		m := mixedOf(t, opened(t))
		m.least, m.most = 300, 350
		way := func() string {
			name, _ := m.Way()
			return name
		}
		assert.Equal(t, "sock_diag", way(), "as long as nothing is known")
		sockets(t, m)
		assert.Equal(t, "sock_diag", way())
		l := listenPlain(t)
		for range 200 {
			client, server := dial(t, l)
			require.NoError(t, errors.Join(client.SetLinger(0), server.SetLinger(0)))
		}
		_, all := moved(t, m)
		assert.True(t, all, "sock_diag leaves nothing out")
		assert.Equal(t, "the iterator", way())
		rest()
		moved(t, m)
		visited, all := moved(t, m)
		assert.False(t, all, "sock_diag's dump is one that the iterator goes on from")
		assert.Len(t, visited, 1, "the listener")
		assert.Equal(t, 401, m.sockets, "with those that rest")
		assert.Equal(t, "the iterator", way())
		m.least, m.most = 402, 500
		moved(t, m)
		assert.Equal(t, "sock_diag", way())
		return nil
	}))
}

// Without sock_diag the iterator goes on alone, in the same scrape.
func TestSockDiagThatFails(t *testing.T) {
	m := mixedOf(t, opened(t))
	sockets(t, m)
	m.storage.Map = -1
	client, _ := connect(t, "127.0.0.1:0")
	err := m.Sockets(bg, func(*tcp.Socket) error { return nil })
	require.ErrorIs(t, err, source.ErrInterrupted, "another dump does better")
	require.ErrorIs(t, err, unix.EBADF)
	assert.Contains(t, sockets(t, m), endpoints(client))
	way, why := m.Way()
	assert.Equal(t, "the iterator", way)
	assert.Contains(t, why, "bad file descriptor")
	assert.Same(t, m.Source, newMixed(bg, m.Source), "nor is it tried again")
}

// What stops a dump, and is no fault of sock_diag, has it go on.
func TestDumpsOfSockDiagThatAreStopped(t *testing.T) {
	m := mixedOf(t, opened(t))
	connect(t, "127.0.0.1:0")
	stop := errors.New("stop")
	require.Equal(t, stop, m.Sockets(bg, func(*tcp.Socket) error { return stop }))
	way, _ := m.Way()
	assert.Equal(t, "sock_diag", way)
	visited, all := moved(t, m)
	assert.True(t, all)
	assert.NotEmpty(t, visited)
}

// What the programs keep follows by changes, from one dump to the next; where some
// were lost, and after the iterator's dumps, the kernel is asked for all of it.
func TestLivesFollow(t *testing.T) {
	opened(t) // or skip
	require.NoError(t, sourcetest.NewNamespace(t).Do(func() error {
		m := mixedOf(t, opened(t))
		closesOf(t, m)
		l := listenPlain(t)
		client, _ := dial(t, l)
		roleOf := func() tcp.Role { return sockets(t, m)[endpoints(client)].Role }
		assert.Equal(t, tcp.Client, roleOf())
		assert.True(t, m.known)

		client, _ = dial(t, l)
		assert.Equal(t, tcp.Client, roleOf(), "by a change")
		assert.Equal(t, tcp.Client, roleOf(), "which is remembered")
		clear(m.lives.of)
		assert.Equal(t, tcp.NoRole, roleOf(), "for nobody asks again")

		m.changes.lost++
		assert.Equal(t, tcp.Client, roleOf(), "unless changes were lost")
		clear(m.lives.of)
		m.Turn()
		assert.Equal(t, tcp.Client, roleOf(), "by the iterator")
		assert.False(t, m.iterates)
		assert.Equal(t, tcp.Client, roleOf(), "or it made the dumps meanwhile")
		return nil
	}))
}

// Changes that are lost while a dump is under way are asked for at the next one.
func TestChangesLostDuringADump(t *testing.T) {
	opened(t) // or skip
	require.NoError(t, sourcetest.NewNamespace(t).Do(func() error {
		m := mixedOf(t, opened(t))
		closesOf(t, m)
		l := listenPlain(t)
		client, _ := dial(t, l)
		sockets(t, m)
		require.True(t, m.known)
		clear(m.lives.of) // so that there is one of which nothing is known
		began := false
		require.NoError(t, m.Sockets(bg, func(*tcp.Socket) error {
			if !began { // the listener
				began = true
				dial(t, l)
				m.changes.lost++
			}
			return nil
		}))
		assert.Equal(t, tcp.Client, sockets(t, m)[endpoints(client)].Role)
		return nil
	}))
}

// A socket may connect again. What was kept with it until then is over, and what was
// retransmitted then is not counted again.
func TestALifeThatIsOver(t *testing.T) {
	m := &mixed{lives: lives{of: map[uint64]*life{7: {role: tcp.Client, counted: true, retransmits: [tcp.NumRetransmitTypes]uint32{3, 3}}}}}
	s := tcp.Socket{ID: tcp.Identity{Cookie: 7}, State: tcp.SynSent, Fields: tcp.Fields(0).With(tcp.FieldRetransmits)}
	s.Retransmits = 2
	require.NoError(t, m.adorn(&s))
	assert.Equal(t, tcp.Client, s.Role)
	assert.True(t, s.Has(tcp.FieldRetransmitsBy))
	assert.Equal(t, [tcp.NumRetransmitTypes]uint64{tcp.SYNRetransmit: 2}, s.RetransmitsBy, "SYNs are all that it has sent")
}

// Once sock_diag is given up, nobody reads changes, and nothing is opened for them.
func TestNoChangesWithoutSockDiag(t *testing.T) {
	m := mixedOf(t, opened(t))
	require.NoError(t, m.give())
	closesOf(t, m)
	assert.Nil(t, m.changes)
}

// A source that is opened anew, after one that could not be read, shows what the
// programs keep that still run for its notices of ends.
func TestASourceOpenedAnew(t *testing.T) {
	opened(t) // or skip
	require.NoError(t, sourcetest.NewNamespace(t).Do(func() error {
		shared := new(iterator)
		first, err := open(shared)
		require.NoError(t, err)
		c := closesOf(t, first)
		l := listenPlain(t)
		before, _ := dial(t, l)
		require.Equal(t, tcp.Client, sockets(t, first)[endpoints(before)].Role)
		require.NoError(t, first.Close())

		m := mixedOf(t, openedBy(t, shared))
		after, _ := dial(t, l)
		for _, m.iterates = range []bool{true, false} {
			all := sockets(t, m)
			assert.Equal(t, tcp.Client, all[endpoints(before)].Role)
			assert.Equal(t, tcp.Client, all[endpoints(after)].Role)
		}
		require.NoError(t, c.Close())
		return nil
	}))
}

// With a filter of states, a connection may be shown first when it is old.
func TestLivesThatTheFilterLeavesOut(t *testing.T) {
	opened(t) // or skip
	require.NoError(t, sourcetest.NewNamespace(t).Do(func() error {
		m := mixedOf(t, opened(t))
		closesOf(t, m)
		require.NoError(t, m.Narrow(&source.Filter{States: []tcp.State{tcp.CloseWait}}, false))
		client, server := dial(t, listenPlain(t))
		sockets(t, m)
		for cookie := range uint64(600) { // many that are gone
			m.lives.of[1<<60+cookie] = new(life)
		}
		sockets(t, m)
		require.NoError(t, server.Close())
		require.Eventually(t, func() bool { return sockets(t, m)[endpoints(client)].State == tcp.CloseWait }, 5*time.Second, 10*time.Millisecond)
		assert.Equal(t, tcp.Client, sockets(t, m)[endpoints(client)].Role)
		return nil
	}))
}

// A record that cannot be read, in every dump, keeps nobody from taking turns.
func TestTurnsWithDumpsThatArePartial(t *testing.T) {
	m := &mixed{Source: new(Source), few: new(sockdiag.Source), least: 300, most: 350, iterates: true}
	_, err := m.dump(bg, func(*tcp.Socket) error { return nil }, func(context.Context, func(*tcp.Socket) error) error {
		return &source.PartialError{Count: 1}
	})
	assert.Len(t, source.Partials(err), 1)
	assert.False(t, m.iterates)
}
