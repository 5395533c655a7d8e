// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64 || loong64 || ppc64le || riscv64)

package bpf

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// ringLen is how many bytes the ring has: room for some twenty thousand records.
const ringLen = 8 << 20

// closes are the connections that end in one network namespace.
type closes struct {
	// iterator shows what the programs keep with connections: it stays loaded for the
	// sources that are opened while they run.
	iterator *iterator
	objects  closesObjects
	links    []link.Link
	ring     *ringbuf.Reader
	record   ringbuf.Record // reused
	endings  endings
	lost     uint64 // that were told of

	// The runtime's poller waits for the ring, by a descriptor of its own.
	file   *os.File
	conn   syscall.RawConn
	wakeAt int
	worth  func(fd uintptr) (done bool) // made once

	mu     sync.Mutex // held while anybody looks at the ring
	closed bool
}

// loadCloses loads the program for a network namespace. ring is the size of its
// buffer, a power of two, and whole pages. As many holders fit beside it as there
// are quarters of kilobytes in it.
func (it *iterator) loadCloses(namespace uint64, ring int, objects *closesObjects) error {
	spec, err := loadCloses()
	if err != nil {
		return fmt.Errorf("read the program over connections that end: %w", err)
	}
	spec.Maps["endings"].MaxEntries = uint32(ring)
	spec.Maps["holders"].MaxEntries = uint32(ring >> 8)
	if err := errors.Join(
		spec.Variables["namespace"].Set(uint32(namespace)),
		spec.Variables["cookies"].Set(it.cookies),
		spec.Variables["wake_at"].Set(uint64(ring/wakeShare)),
	); err != nil {
		return fmt.Errorf("configure the program over connections that end: %w", err)
	}
	// The iterator shows what this program keeps with each socket.
	shared := &ebpf.CollectionOptions{MapReplacements: map[string]*ebpf.Map{"lives": it.objects.Lives}}
	if err := load(spec, objects, shared); err != nil {
		return fmt.Errorf("load the program over connections that end: %w", err)
	}
	return nil
}

// wakeShare is the part of the ring, one in so many, that wakes who waits.
const wakeShare = 4

// tryCloses tells whether the program can be loaded.
func (s *Source) tryCloses() error {
	var objects closesObjects
	if err := s.iterator.loadCloses(s.namespace, os.Getpagesize(), &objects); err != nil {
		return err
	}
	return objects.Close()
}

// Closes implements source.CloseNotifier.
func (s *Source) Closes() (source.CloseStream, error) { return s.closes(ringLen) }

func (s *Source) closes(ring int) (c *closes, err error) {
	c = &closes{wakeAt: ring / wakeShare, endings: endings{
		decoder: newDecoder(s.namespace, s.dec.jiffy, s.zones.Name),
		holders: make(map[holderKey]seenHolder),
		pids:    inHostPIDs() == nil,
	}}
	defer btf.FlushKernelSpec()
	if err := s.iterator.loadCloses(s.namespace, ring, &c.objects); err != nil {
		return nil, err
	}
	opened := c // c is nil once an error is returned
	defer func() {
		if err != nil {
			err = errors.Join(err, opened.Close())
		}
	}()
	if err := s.iterator.acquire(); err != nil {
		return nil, err
	}
	c.iterator = s.iterator
	if c.ring, err = ringbuf.NewReader(c.objects.Endings); err != nil {
		return nil, fmt.Errorf("open the ring of connections that end: %w", err)
	}
	if err := c.watch(); err != nil {
		return nil, fmt.Errorf("wait for the ring of connections that end: %w", err)
	}
	for _, program := range []*ebpf.Program{c.objects.OnState, c.objects.OnStateAgain, c.objects.OnRetransmit} {
		attached, err := link.AttachTracing(link.TracingOptions{Program: program, AttachType: ebpf.AttachTraceRawTp})
		if err != nil {
			return nil, fmt.Errorf("attach %v to its tracepoint: %w", program, explain(err))
		}
		c.links = append(c.links, attached)
	}
	return c, nil
}

// watch hands the ring to the runtime's poller, which costs no thread and sees
// wake-ups only, whatever is in the ring.
func (c *closes) watch() error {
	fd, err := unix.FcntlInt(uintptr(c.objects.Endings.FD()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("duplicate its descriptor: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return errors.Join(fmt.Errorf("set its descriptor non-blocking: %w", err), unix.Close(fd))
	}
	c.file = os.NewFile(uintptr(fd), "bpf-ringbuf")
	c.worth = func(uintptr) bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.closed || c.ring.AvailableBytes() >= c.wakeAt
	}
	c.conn, err = c.file.SyscallConn()
	return err
}

// Wait implements source.CloseStream: it returns when a quarter of the ring is
// full.
func (c *closes) Wait() error {
	err := c.conn.Read(c.worth)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return os.ErrClosed
	}
	if err != nil {
		return fmt.Errorf("wait for connections that end: %w", err)
	}
	return nil
}

// Drain implements source.CloseStream.
func (c *closes) Drain(visit func(*tcp.Notice) error) (lost uint64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, os.ErrClosed
	}
	c.endings.losses.Reset()
	var boot unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot); err != nil {
		return 0, fmt.Errorf("read the clock of connections that end: %w", err)
	}
	now := time.Now()
	c.endings.clock = clock{wall: now.Round(0), boot: time.Duration(boot.Nano())}
	// What is there is read at once; and no more than that, however fast more comes.
	c.ring.SetDeadline(now)
	for rest := c.ring.AvailableBytes(); rest > 0; rest -= recordLen {
		err := c.ring.ReadInto(&c.record)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			return 0, fmt.Errorf("read connections that end: %w", err)
		}
		if err := c.endings.ending(c.record.RawSample); err != nil {
			c.endings.losses.Decode(err)
			continue
		}
		if err := visit(&c.endings.notice); err != nil {
			return 0, err
		}
	}
	var all uint64
	if err := c.objects.Lost.Get(&all); err != nil {
		return 0, fmt.Errorf("read how many connections that end were lost: %w", err)
	}
	all += c.skipped()
	lost, c.lost = all-min(c.lost, all), all
	return lost, c.endings.losses.Err()
}

// skipped returns how many changes of states neither of the two programs was run for,
// at most: the kernel does not run a program that it has interrupted on the same
// processor. Few of them are ends. It is 0 before Linux 5.12, which does not count them.
func (c *closes) skipped() uint64 {
	var least uint64
	for i, program := range []*ebpf.Program{c.objects.OnState, c.objects.OnStateAgain} {
		stats, err := program.Stats()
		if err != nil {
			return 0
		}
		if i == 0 || stats.RecursionMisses < least {
			least = stats.RecursionMisses
		}
	}
	return least
}

// recordLen is what a record takes of the ring, with its header
// (BPF_RINGBUF_HDR_SZ).
const recordLen = endingLen + 8

// Close implements source.CloseStream.
func (c *closes) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	c.mu.Unlock()
	var errs []error
	if c.file != nil {
		// It returns when Wait does, which may be looking at the ring.
		errs = append(errs, c.file.Close())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, attached := range c.links {
		errs = append(errs, attached.Close())
	}
	if c.ring != nil {
		errs = append(errs, c.ring.Close())
	}
	errs = append(errs, c.objects.Close())
	if c.iterator != nil {
		errs = append(errs, c.iterator.release())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close the program over connections that end: %w", err)
	}
	return nil
}
