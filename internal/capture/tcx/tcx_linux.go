// SPDX-License-Identifier: Apache-2.0

package tcx

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/capture"
	"github.com/netpulse/tcpstatsreceiver/internal/capture/packet"
)

const (
	name         = "tcx"
	rank         = 30
	capabilities = capture.Direction | capture.KernelFilter | capture.Timestamps

	// ringLen is the room for packets that were not read yet, in bytes.
	ringLen = 512 << 10
	// rest is how long the reader waits when it has read all that there is: else the
	// kernel would wake it for each packet, which costs more than reading it. The ring
	// has room for what comes meanwhile, at 400,000 packets a second.
	rest = 2 * time.Millisecond
	// loopback is the number of the interface lo in every network namespace. Packets
	// pass it twice.
	loopback = 1
	// clockEvery is how often the clock of the records is compared with that of the
	// day.
	clockEvery = time.Second
)

// Factory makes tcx engines.
func Factory() capture.Factory {
	return capture.Factory{Name: name, Rank: rank, Capabilities: capabilities, Open: open}
}

// hook is where a program is attached, and to which kind of link.
type hook struct {
	direction packet.Direction
	link      packet.Link
}

// engine is the programs of one network namespace.
type engine struct {
	options    capture.Options
	interfaces *interfaces
	ring       *ebpf.Map
	counts     *ebpf.Map
	reader     *ringbuf.Reader
	programs   map[hook]*ebpf.Program
	attached   map[int][]link.Link // by interface

	delivered, bytes atomic.Uint64
}

func open(ctx context.Context, options capture.Options) (capture.Engine, error) {
	// Kernels that count maps as locked memory have no TCX.
	_ = rlimit.RemoveMemlock()
	e := &engine{options: options, programs: make(map[hook]*ebpf.Program), attached: make(map[int][]link.Link)}
	if err := e.open(ctx); err != nil {
		return nil, errors.Join(explain(err), e.Close())
	}
	return e, nil
}

func (e *engine) open(ctx context.Context) (err error) {
	if e.ring, err = ebpf.NewMap(&ebpf.MapSpec{Name: "packets", Type: ebpf.RingBuf, MaxEntries: ringLen}); err != nil {
		return fmt.Errorf("make a ring for packets: %w", err)
	}
	if e.counts, err = ebpf.NewMap(&ebpf.MapSpec{Name: "counts", Type: ebpf.Array, KeySize: 4, ValueSize: 8 * counters, MaxEntries: 1}); err != nil {
		return fmt.Errorf("make counters of packets: %w", err)
	}
	if e.reader, err = ringbuf.NewReader(e.ring); err != nil {
		return fmt.Errorf("open the ring of packets: %w", err)
	}
	if e.interfaces, err = openInterfaces(); err != nil {
		return err
	}
	if err := e.interfaces.ask(); err != nil {
		return err
	}
	for listed := false; !listed; {
		var failed error
		// We are in the namespace already.
		listed, _, err = e.interfaces.read(func(c change) { failed = errors.Join(failed, e.change(c)) })
		if err := errors.Join(err, failed, ctx.Err()); err != nil {
			return err
		}
	}
	return nil
}

// change attaches the programs to an interface that has come, and lets go of one
// that has gone.
func (e *engine) change(c change) error {
	links, known := e.attached[c.index]
	switch {
	case c.gone:
		delete(e.attached, c.index)
		return closeAll(links)
	case known:
		return nil
	}
	at := []packet.Direction{packet.Inbound, packet.Outbound}
	if c.index == loopback {
		at = at[1:]
	}
	for _, direction := range at {
		one, err := e.attach(c.index, hook{direction, c.link})
		if errors.Is(err, unix.ENODEV) {
			// Gone, or not there any more: that is still to come.
			return closeAll(links)
		}
		if err != nil {
			return errors.Join(fmt.Errorf("attach to interface %d: %w", c.index, err), closeAll(links))
		}
		links = append(links, one)
	}
	e.attached[c.index] = links
	return nil
}

// attach attaches to an interface, in front of whatever is there: programs behind
// those that redirect or drop packets see nothing of them.
func (e *engine) attach(index int, h hook) (link.Link, error) {
	p, err := e.program(h)
	if err != nil {
		return nil, err
	}
	return link.AttachTCX(link.TCXOptions{Interface: index, Program: p, Attach: attachType(h.direction), Anchor: link.Head()})
}

func attachType(d packet.Direction) ebpf.AttachType {
	if d == packet.Inbound {
		return ebpf.AttachTCXIngress
	}
	return ebpf.AttachTCXEgress
}

// program loads a program when it is first needed.
func (e *engine) program(h hook) (*ebpf.Program, error) {
	if p, ok := e.programs[h]; ok {
		return p, nil
	}
	p, err := load(e.options.Filter, h, e.ring.FD(), e.counts.FD())
	if err == nil {
		e.programs[h] = p
	}
	return p, err
}

// load loads the program for a hook.
func load(filter []bpf.Instruction, h hook, ring, counts int) (*ebpf.Program, error) {
	p, err := loadAs(filter, h, ring, counts, false)
	var refused *ebpf.VerifierError
	if errors.As(err, &refused) {
		// Without CAP_PERFMON.
		p, err = loadAs(filter, h, ring, counts, true)
	}
	return p, err
}

func loadAs(filter []bpf.Instruction, h hook, ring, counts int, plain bool) (*ebpf.Program, error) {
	code, err := program(filter, h.direction, h.link, ring, counts, plain)
	if err != nil {
		return nil, err
	}
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "capture", Type: ebpf.SchedCLS, AttachType: attachType(h.direction), Instructions: code, License: "Dual BSD/GPL"})
	if err != nil {
		return nil, fmt.Errorf("load a program that captures packets: %w", err)
	}
	return p, nil
}

// explain says in one line what to do about an error.
func explain(err error) error {
	var refused *ebpf.VerifierError
	switch {
	case errors.As(err, &refused):
		return err
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w (grant CAP_BPF and CAP_NET_ADMIN; see docs/sources.md, Permissions)", err)
	case errors.Is(err, ebpf.ErrNotSupported):
		return fmt.Errorf("%w (Linux 6.6 or later)", err)
	}
	return err
}

// Name implements capture.Engine.
func (e *engine) Name() string { return name }

// Capabilities implements capture.Engine.
func (e *engine) Capabilities() capture.Capabilities { return capabilities }

// Run implements capture.Engine.
func (e *engine) Run(ctx context.Context, visit func(*packet.Packet)) error {
	ctx, cancel := context.WithCancel(ctx)
	followed := make(chan error, 1)
	go func() {
		defer cancel()
		followed <- e.follow(ctx)
	}()
	err := e.read(ctx, visit)
	cancel()
	return errors.Join(err, <-followed)
}

// follow attaches to interfaces that come, until ctx is done.
func (e *engine) follow(ctx context.Context) error {
	defer e.interfaces.poller.Until(ctx)()
	for {
		var all []change
		_, done, err := e.interfaces.read(func(c change) { all = append(all, c) })
		if done || err != nil {
			return err
		}
		if len(all) == 0 {
			continue
		}
		err = e.options.In(func() (err error) {
			for _, c := range all {
				err = errors.Join(err, e.change(c))
			}
			return err
		})
		if err != nil {
			return explain(err)
		}
	}
}

// read visits packets until ctx is done.
func (e *engine) read(ctx context.Context, visit func(*packet.Packet)) error {
	flushed := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() { flushed <- e.reader.Flush() })
	var (
		record  ringbuf.Record
		p       packet.Packet
		boot    time.Time
		checked time.Time
	)
	for {
		err := e.reader.ReadInto(&record)
		if errors.Is(err, ringbuf.ErrFlushed) {
			break
		}
		if err != nil {
			if !stop() {
				err = errors.Join(err, <-flushed)
			}
			return fmt.Errorf("read packets: %w", err)
		}
		if now := time.Now(); now.Sub(checked) > clockEvery {
			var sinceBoot unix.Timespec
			if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &sinceBoot); err != nil {
				return fmt.Errorf("read the clock of packets: %w", err)
			}
			boot, checked = now.Add(-time.Duration(sinceBoot.Nano())).Round(0), now
		}
		if err := decode(record.RawSample, boot, &p); err != nil {
			return fmt.Errorf("read packets: %w", err)
		}
		e.delivered.Add(1)
		e.bytes.Add(uint64(p.Length))
		visit(&p)
		if record.Remaining == 0 {
			time.Sleep(rest)
		}
	}
	return <-flushed
}

// Stats implements capture.Engine.
func (e *engine) Stats() capture.Stats {
	stats := capture.Stats{Delivered: e.delivered.Load(), Bytes: e.bytes.Load()}
	var counts [counters]uint64
	if e.counts.Lookup(uint32(0), &counts) == nil {
		stats.Seen, stats.Dropped = counts[countSeen], counts[countDropped]
	}
	return stats
}

// Close implements capture.Engine.
func (e *engine) Close() error {
	var errs []error
	for _, links := range e.attached {
		errs = append(errs, closeAll(links))
	}
	for _, p := range e.programs {
		errs = append(errs, p.Close())
	}
	if e.reader != nil {
		errs = append(errs, e.reader.Close())
	}
	errs = append(errs, e.ring.Close(), e.counts.Close())
	if e.interfaces != nil {
		errs = append(errs, e.interfaces.close())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close the programs that capture packets: %w", err)
	}
	return nil
}

func closeAll(links []link.Link) error {
	var errs []error
	for _, l := range links {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}
