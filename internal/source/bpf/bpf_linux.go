// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64 || loong64 || ppc64le || riscv64)

package bpf

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/netns"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/source/procfs"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// bufferLen is twice what the kernel fills at most in one read, eight pages
// (bpf_seq_read in kernel/bpf/bpf_iter.c).
const bufferLen = 64 << 10

// Factory makes bpf sources, which share one program.
func Factory() source.Factory {
	shared := new(iterator)
	return source.Factory{
		Name:         name,
		Rank:         rank,
		Capabilities: source.RTT | source.Bytes | source.Closes | source.Processes,
		Open: func(ctx context.Context) (source.Source, error) {
			s, err := open(shared)
			if err != nil {
				return nil, err
			}
			return newMixed(ctx, s), nil
		},
	}
}

// Source reads the sockets of one network namespace.
type Source struct {
	iterator     *iterator // nil once it is closed
	namespace    uint64    // inode
	buf          []byte
	dec          decoder
	zones        *source.Zones
	counters     *procfs.CounterReader
	capabilities source.Capabilities

	// The last dump that was complete: when it began, in microseconds of the clock
	// that tcp_mstamp is of, and how often the filter had changed by then.
	complete uint64
	filters  int
	// leftOut is how many connections it left out.
	leftOut int
}

// open opens a source for the network namespace of the calling thread.
func open(shared *iterator) (*Source, error) {
	jiffy, err := tick()
	if err != nil {
		return nil, err
	}
	defer btf.FlushKernelSpec()
	if err := shared.acquire(); err != nil {
		return nil, err
	}
	s := &Source{
		iterator:     shared,
		buf:          make([]byte, bufferLen),
		zones:        source.NewZones(),
		counters:     procfs.NewCounters(procfs.DefaultDir),
		capabilities: source.RTT | source.Bytes | source.Processes,
	}
	if s.namespace, err = netns.Own(); err != nil {
		return nil, errors.Join(err, shared.release())
	}
	s.dec = newDecoder(s.namespace, jiffy, s.zones.Name)
	if err := s.try(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// try reads the first sockets, and learns whether the kernel tells of
// connections that end: programs at tracepoints are of another kind.
func (s *Source) try() error {
	dump, err := s.begin()
	if err != nil {
		return err
	}
	if _, err := read(dump, s.buf); err != nil && !errors.Is(err, io.EOF) {
		return errors.Join(err, dump.Close())
	}
	if s.tryCloses() == nil {
		s.capabilities |= source.Closes
	}
	return dump.Close()
}

// tick returns the kernel's tick, 1/CONFIG_HZ: the resolution of the clocks that
// move with it (posix_get_coarse_res in kernel/time/posix-timers.c).
func tick() (time.Duration, error) {
	var resolution unix.Timespec
	if err := unix.ClockGetres(unix.CLOCK_MONOTONIC_COARSE, &resolution); err != nil {
		return 0, fmt.Errorf("learn the kernel's tick: clock_getres: %w", err)
	}
	return time.Duration(resolution.Nano()), nil
}

// Name implements source.Source.
func (s *Source) Name() string { return name }

// Capabilities implements source.Source.
func (s *Source) Capabilities() source.Capabilities { return s.capabilities }

// Sockets implements source.Source.
func (s *Source) Sockets(ctx context.Context, visit func(*tcp.Socket) error) error {
	return s.walk(ctx, 0, visit)
}

// overlap is by how much a dump goes back behind the begin of the one before it.
// Before Linux 5.15 the iterator does not hold the sockets' locks, and may show a
// connection between its time stamp and what the time stamp is of.
const overlap = uint64(100 * time.Millisecond / time.Microsecond)

// Moved implements source.Incremental.
func (s *Source) Moved(ctx context.Context, visit func(*tcp.Socket) error) (all bool, err error) {
	if s.complete <= overlap || s.filters != s.iterator.filters() {
		return true, s.walk(ctx, 0, visit)
	}
	return false, s.walk(ctx, s.complete-overlap, visit)
}

// walk visits what moved since a time, in microseconds of the monotonic clock; 0:
// everything.
func (s *Source) walk(ctx context.Context, since uint64, visit func(*tcp.Socket) error) error {
	s.iterator.dumping.Lock()
	defer s.iterator.dumping.Unlock()
	filters := s.iterator.filters()
	began, err := monotonic()
	if err != nil {
		return err
	}
	if err := errors.Join(s.iterator.objects.Since.Set(since), s.iterator.objects.LeftOut.Set(uint64(0))); err != nil {
		return fmt.Errorf("hand the time to the program over TCP sockets: %w", err)
	}
	dump, err := s.begin()
	if err != nil {
		return err
	}
	if err := ended(dump, s.dump(ctx, dump, visit)); err != nil {
		return err
	}
	var left uint64
	if err := s.iterator.objects.LeftOut.Get(&left); err != nil {
		return fmt.Errorf("read how many TCP sockets a dump left out: %w", err)
	}
	s.complete, s.filters, s.leftOut = began, filters, int(left)
	return nil
}

// begin starts the iterator, which shows the network namespace of the thread
// that starts it.
func (s *Source) begin() (dump io.ReadCloser, err error) {
	if dump, err = s.iterator.link.Open(); err != nil {
		return nil, fmt.Errorf("start the iterator over TCP sockets: %w", explain(err))
	}
	return dump, nil
}

func (s *Source) dump(ctx context.Context, dump io.Reader, visit func(*tcp.Socket) error) error {
	s.dec.losses.Reset()
	kept := 0 // bytes of a record whose end is still to come
	for {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("dump of TCP sockets cut short: %w", err)
		}
		n, err := read(dump, s.buf[kept:])
		if errors.Is(err, io.EOF) {
			if kept > 0 {
				s.dec.losses.Decode(fmt.Errorf("%w: %d bytes at the end of the dump", errShort, kept))
			}
			return s.dec.losses.Err()
		}
		if err != nil {
			return err
		}
		b := s.buf[:kept+n]
		done, err := s.dec.records(b, visit)
		if err != nil {
			return err
		}
		kept = copy(s.buf, b[done:])
	}
}

// ended closes an iterator. Callers compare errors of theirs: one alone is not
// wrapped.
func ended(dump io.Closer, err error) error {
	if errClose := dump.Close(); errClose != nil {
		return errors.Join(err, fmt.Errorf("close a BPF iterator: %w", errClose))
	}
	return err
}

// read reads from the iterator. The kernel gives up with EAGAIN after a million
// sockets that the program wrote nothing of.
func read(dump io.Reader, b []byte) (int, error) {
	for {
		n, err := dump.Read(b)
		if errors.Is(err, unix.EAGAIN) {
			continue
		}
		if err != nil && !errors.Is(err, io.EOF) {
			err = fmt.Errorf("read a BPF iterator: %w", err)
		}
		return n, err
	}
}

// Narrow implements source.Narrower.
func (s *Source) Narrow(f *source.Filter, _ bool) error {
	if err := s.iterator.narrow(f); err != nil {
		return fmt.Errorf("hand the filter to the program over TCP sockets: %w", err)
	}
	return nil
}

// Counters implements source.Source by way of /proc/net.
func (s *Source) Counters(ctx context.Context) (tcp.Counters, error) { return s.counters.Read(ctx) }

// Close implements source.Source.
func (s *Source) Close() error {
	if s.iterator == nil {
		return nil
	}
	err := s.iterator.release()
	s.iterator = nil
	if err != nil {
		return fmt.Errorf("close the iterator over TCP sockets: %w", err)
	}
	return nil
}
