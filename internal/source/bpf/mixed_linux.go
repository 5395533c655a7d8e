// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64 || loong64 || ppc64le || riscv64)

package bpf

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/source/sockdiag"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// mixed is a source that has sock_diag make the dumps while there are few sockets.
//
// Both walk the kernel's whole table of connections. The iterator takes several
// times as long for a bucket, whether anything is in it or not, and sock_diag for a
// socket. All else is the same: sockets have the same cookies in both, what the
// programs keep with them is shown with either, and so do the notices of ends come,
// which no dump has a part in.
type mixed struct {
	*Source
	few     *sockdiag.Source // nil: it is given up
	refused error            // why

	buckets int
	// least and most are how many sockets the iterator is kept for at least, and
	// sock_diag at most.
	least, most int
	iterates    bool // the iterator makes the next dump
	sockets     int  // of the last one that ended

	// What the programs keep with connections. storage asks for all of it; known: it
	// has been asked for since the iterator made a dump, and changes are followed.
	storage sockdiag.Storage
	lives   lives
	known   bool
	changes *changes // nil: nobody asked for notices of ends, so there is no program
	byState bool     // dumps leave out connections by their state
}

// A bucket costs the iterator some 9 ns more than sock_diag, and a socket 450 to 800 ns
// less, the more of them rest (BenchmarkFew). The two come out even between 50 and 90
// buckets a socket.
const (
	bucketsPerSocket      = 64 // to begin to iterate
	bucketsPerSocketStill = 96 // to go on
)

// newMixed returns a source with sock_diag beside it; the source alone where that
// cannot be had, or has failed before.
func newMixed(ctx context.Context, s *Source) source.Source {
	// Without cookies the two show different identities.
	if !s.iterator.cookies || s.iterator.alone.Load() {
		return s
	}
	few, err := sockdiag.Open(ctx)
	if err != nil {
		return s
	}
	m := &mixed{Source: s, few: few, buckets: buckets(), lives: lives{of: make(map[uint64]*life)}}
	m.storage = sockdiag.Storage{Map: s.iterator.objects.Lives.FD(), Decode: m.lives.kept}
	m.least, m.most = m.buckets/bucketsPerSocketStill, m.buckets/bucketsPerSocket
	return m
}

// Sockets implements source.Source.
func (m *mixed) Sockets(ctx context.Context, visit func(*tcp.Socket) error) error {
	_, err := m.dump(ctx, visit, m.Source.Sockets)
	return err
}

// Moved implements source.Incremental.
func (m *mixed) Moved(ctx context.Context, visit func(*tcp.Socket) error) (all bool, err error) {
	complete, err := m.dump(ctx, visit, func(ctx context.Context, visit func(*tcp.Socket) error) (err error) {
		all, err = m.Source.Moved(ctx, visit)
		return err
	})
	return all || complete, err
}

// dump makes a dump by the iterator or by sock_diag, which leaves nothing out.
func (m *mixed) dump(ctx context.Context, visit func(*tcp.Socket) error, iterate func(context.Context, func(*tcp.Socket) error) error) (all bool, err error) {
	if !m.iterates && m.few != nil {
		return true, m.dumpFew(ctx, visit)
	}
	visited := 0
	err = iterate(ctx, func(s *tcp.Socket) error {
		visited++
		return visit(s)
	})
	if err == nil || len(source.Partials(err)) > 0 {
		m.choose(visited + m.leftOut)
	}
	return false, err
}

// dumpFew makes a dump by sock_diag.
func (m *mixed) dumpFew(ctx context.Context, visit func(*tcp.Socket) error) error {
	filters := m.iterator.filters()
	began, err := monotonic()
	if err != nil {
		return err
	}
	m.lives.begin()
	if err := m.follow(); err != nil {
		return err
	}
	asks := !m.known
	if asks {
		m.few.Show(&m.storage)
		m.known = m.changes != nil // unless changes are lost meanwhile
	} else {
		m.few.Show(nil)
	}
	visited := 0
	var refused error // by visit
	err = m.few.Sockets(ctx, func(s *tcp.Socket) error {
		visited++
		if refused = m.adorn(s); refused == nil {
			refused = visit(s)
		}
		return refused
	})
	switch {
	case err == nil:
		m.complete, m.Source.filters = began, filters
		if m.lives.end(visited) && m.byState {
			m.known = false // some of them live, and may be shown in another state
		}
		m.choose(visited)
		return nil
	case refused != nil, ctx.Err() != nil, errors.Is(err, source.ErrInterrupted):
	case len(source.Partials(err)) > 0:
		m.choose(visited)
	default:
		m.refused = err
		m.iterator.alone.Store(true)
		// Another dump does better, which is the iterator's.
		err = errors.Join(source.ErrInterrupted, err, m.give())
	}
	m.known = m.known && !asks
	return err
}

// follow takes what has changed of what the programs keep.
func (m *mixed) follow() error {
	if m.changes == nil {
		return nil
	}
	complete, err := m.changes.drain(m.lives.changed)
	m.known = m.known && complete
	return err
}

// adorn shows what the programs keep with a connection in its sample.
func (m *mixed) adorn(s *tcp.Socket) error {
	switch {
	case s.State == tcp.SynSent:
		// Nothing is kept yet, but for another connection of the same socket. It has
		// sent nothing but SYNs.
		s.Role = tcp.Client
		if s.Has(tcp.FieldRetransmits) {
			s.RetransmitsBy[tcp.SYNRetransmit] = s.Retransmits
			s.Fields = s.Fields.With(tcp.FieldRetransmitsBy)
		}
		return nil
	case s.State == tcp.Listen, s.Fields == 0:
		// What is left of a connection in TIME_WAIT still has its cookie.
		return nil
	}
	if m.lives.show(s) || !m.changes.any() {
		return nil
	}
	// It is new: it was established while the dump was under way.
	err := m.follow()
	m.lives.show(s)
	return err
}

// choose decides by how many sockets there are who makes the next dump.
func (m *mixed) choose(sockets int) {
	m.sockets = sockets
	if m.iterates != (sockets > m.most || m.iterates && sockets >= m.least) {
		m.Turn()
	}
}

// Turn has the other make the next dump, whatever that costs.
func (m *mixed) Turn() {
	m.iterates = !m.iterates
	// While the iterator makes the dumps, changes are not followed.
	clear(m.lives.of)
	m.known = false
}

// Closes implements source.CloseNotifier.
func (m *mixed) Closes() (source.CloseStream, error) {
	c, err := m.closes(ringLen)
	if err != nil {
		return nil, err
	}
	if m.few == nil {
		return c, nil
	}
	changes, err := newChanges(c)
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	errEnd := m.changes.end()
	m.changes, m.known = changes, false
	if errEnd != nil {
		return nil, errors.Join(errEnd, c.Close())
	}
	return c, nil
}

// Way implements source.Mixed.
func (m *mixed) Way() (name, why string) {
	switch {
	case m.few == nil:
		return "the iterator", fmt.Sprintf("sock_diag, which costs less for few sockets, cannot be read: %v", m.refused)
	case m.iterates:
		return "the iterator", fmt.Sprintf("it costs less than sock_diag from %d to %d sockets on, as the table has %d buckets; there are %d", m.least, m.most, m.buckets, m.sockets)
	}
	return "sock_diag", fmt.Sprintf("it costs less than the iterator up to %d to %d sockets, as the table has %d buckets; there are %d", m.least, m.most, m.buckets, m.sockets)
}

// Narrow implements source.Narrower.
func (m *mixed) Narrow(f *source.Filter, counted bool) error {
	m.byState = f != nil && len(f.States) > 0
	if m.few != nil {
		if err := m.few.Narrow(f, counted); err != nil {
			return err
		}
	}
	return m.Source.Narrow(f, counted)
}

// give gives sock_diag up.
func (m *mixed) give() error {
	if m.few == nil {
		return nil
	}
	few, changes := m.few, m.changes
	m.few, m.changes = nil, nil
	clear(m.lives.of)
	return errors.Join(few.Close(), changes.end())
}

// Close implements source.Source.
func (m *mixed) Close() error { return errors.Join(m.give(), m.Source.Close()) }

// monotonic returns the time in microseconds of the clock that tcp_mstamp is of.
func monotonic() (uint64, error) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return 0, fmt.Errorf("read the clock of TCP sockets: %w", err)
	}
	return uint64(now.Nano() / 1000), nil
}
