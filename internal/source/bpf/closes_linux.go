//go:build linux && (amd64 || arm64 || loong64 || ppc64le || riscv64)

package bpf

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

const (
	// busyWait is from one look to the next while many connections end: the ring
	// has room for some twenty thousand records, which is more than a host can
	// end meanwhile. idleWait is while few do.
	busyWait = 20 * time.Millisecond
	idleWait = 100 * time.Millisecond
	// busy is how many records one look finds then.
	busy = 200
)

// closes are the connections that end in one network namespace.
type closes struct {
	objects closesObjects
	link    link.Link
	ring    *ringbuf.Reader
	record  ringbuf.Record // reused
	endings endings
	wait    time.Duration
	lost    uint64 // that were told of

	stopped chan struct{}
	mu      sync.Mutex // held by Drain
	closed  bool
}

// loadCloses loads the program for a network namespace. ring is the size of its
// buffer, 0 for the program's own.
func loadClosesFor(namespace uint64, cookies bool, ring uint32, objects *closesObjects) error {
	spec, err := loadCloses()
	if err != nil {
		return fmt.Errorf("read the program over connections that end: %w", err)
	}
	if ring != 0 {
		spec.Maps["endings"].MaxEntries = ring
		spec.Maps["holders"].MaxEntries = 1
	}
	if err := errors.Join(spec.Variables["namespace"].Set(uint32(namespace)), spec.Variables["cookies"].Set(cookies)); err != nil {
		return fmt.Errorf("configure the program over connections that end: %w", err)
	}
	if err := load(spec, objects); err != nil {
		return fmt.Errorf("load the program over connections that end: %w", err)
	}
	return nil
}

// tryCloses tells whether the program can be loaded.
func (s *Source) tryCloses() error {
	var objects closesObjects
	if err := loadClosesFor(s.namespace, s.iterator.cookies, uint32(os.Getpagesize()), &objects); err != nil {
		return err
	}
	return objects.Close()
}

// Closes implements source.CloseNotifier.
func (s *Source) Closes() (source.CloseStream, error) {
	c := &closes{wait: busyWait, stopped: make(chan struct{}), endings: endings{
		decoder: newDecoder(s.namespace, s.dec.jiffy, s.zones.Name),
		holders: make(map[holderKey]*tcp.Holder),
		pids:    inHostPIDs() == nil,
	}}
	defer btf.FlushKernelSpec()
	if err := loadClosesFor(s.namespace, s.iterator.cookies, 0, &c.objects); err != nil {
		return nil, err
	}
	var err error
	if c.ring, err = ringbuf.NewReader(c.objects.Endings); err != nil {
		return nil, errors.Join(fmt.Errorf("open the ring of connections that end: %w", err), c.objects.Close())
	}
	if c.link, err = link.AttachTracing(link.TracingOptions{Program: c.objects.OnState, AttachType: ebpf.AttachTraceRawTp}); err != nil {
		return nil, errors.Join(fmt.Errorf("attach to the tracepoint inet_sock_set_state: %w", explain(err)), c.ring.Close(), c.objects.Close())
	}
	return c, nil
}

// Wait implements source.CloseStream.
func (c *closes) Wait() error {
	select {
	case <-c.stopped:
		return os.ErrClosed
	case <-time.After(c.wait):
		return nil
	}
}

// Drain implements source.CloseStream.
func (c *closes) Drain(visit func(*tcp.Notice) error) (lost uint64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, os.ErrClosed
	}
	c.endings.losses.Reset()
	// Nobody wakes us: what is there is read at once.
	c.ring.SetDeadline(time.Now())
	n := 0
	for ; ; n++ {
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
	c.wait = idleWait
	if n >= busy {
		c.wait = busyWait
	}
	var all uint64
	if err := c.objects.Lost.Get(&all); err != nil {
		return 0, fmt.Errorf("read how many connections that end were lost: %w", err)
	}
	lost, c.lost = all-c.lost, all
	return lost, c.endings.losses.Err()
}

// Close implements source.CloseStream.
func (c *closes) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	close(c.stopped)
	if err := errors.Join(c.link.Close(), c.ring.Close(), c.objects.Close()); err != nil {
		return fmt.Errorf("close the program over connections that end: %w", err)
	}
	return nil
}
