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
// programs keep with them comes with either, and so do the notices of ends, which no
// dump has a part in.
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
	few, err := sockdiag.Open(ctx, &sockdiag.Storage{Map: s.iterator.objects.Lives.FD(), Decode: life})
	if err != nil {
		return s
	}
	m := &mixed{Source: s, few: few, buckets: buckets()}
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
	visited := 0
	var refused error // by visit
	counted := func(s *tcp.Socket) error {
		visited++
		refused = visit(s)
		return refused
	}
	if m.iterates || m.few == nil {
		if err := iterate(ctx, counted); err != nil {
			return false, err
		}
		m.choose(visited + m.leftOut)
		return false, nil
	}
	filters := m.iterator.filters()
	began, err := monotonic()
	if err != nil {
		return false, err
	}
	err = m.few.Sockets(ctx, counted)
	switch {
	case err == nil:
		m.complete, m.Source.filters = began, filters
		m.choose(visited)
	case refused != nil, ctx.Err() != nil, errors.Is(err, source.ErrInterrupted), len(source.Partials(err)) > 0:
	default:
		m.refused = err
		m.iterator.alone.Store(true)
		// Another dump does better, which is the iterator's.
		err = errors.Join(source.ErrInterrupted, err, m.give())
	}
	return true, err
}

// choose decides by how many sockets there are who makes the next dump.
func (m *mixed) choose(sockets int) {
	m.sockets = sockets
	if m.iterates {
		m.iterates = sockets >= m.least
	} else {
		m.iterates = sockets > m.most
	}
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
	few := m.few
	m.few = nil
	return few.Close()
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
