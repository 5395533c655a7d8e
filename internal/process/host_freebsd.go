// SPDX-License-Identifier: Apache-2.0

package process

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/mib"
)

// Remedy says what it takes to find the owner of every socket.
const Remedy = "as long as security.bsd.see_other_uids, see_other_gids or see_jail_proc is 0 it takes root, see docs/freebsd.md"

// stamp is what tells one process from another.
type stamp = kinfo

// host is the processes as sysctl(3) shows them. Its buffers are used again and
// again, so that a walk allocates nothing.
type host struct {
	boot  time.Time // once only, so that dates stay the same when the clock is set
	files *mib.Variable
	buf   [4 << 10]byte // one variable of a process
}

func openHost(string) (*host, error) {
	boot, err := BootTime()
	if err != nil {
		return nil, err
	}
	files, err := mib.New("kern.file")
	if err != nil {
		return nil, err
	}
	return &host{boot: boot, files: files}, nil
}

func (*host) close() error { return nil }

// private is false: a jail numbers its processes as the host does.
func (*host) private() bool { return false }

// release and reserve are for the descriptors of procfs.
func (*host) release() bool { return false }
func (*host) reserve()      {}

// BootTime returns when the host was started. It is the same until the clock is
// set.
func BootTime() (time.Time, error) {
	micros, err := mib.Timeval("kern.boottime")
	if err != nil {
		return time.Time{}, fmt.Errorf("read the boot time: %w", err)
	}
	return time.UnixMicro(micros).UTC(), nil
}

// place is where a process is found.
type place struct{ pid int32 }

func (*host) place(pid int32) place { return place{pid} }

// stamp reads what a process can be told by. A process that can hold no
// descriptors is errGone.
func (h *host) stamp(at place) (stamp, error) {
	// The clock may be set between two reads.
	for range 3 {
		before, err := mib.Timeval("kern.boottime")
		if err != nil {
			return stamp{}, err
		}
		info, err := mib.ProcessInfo.Read(at.pid, h.buf[:])
		if err != nil {
			return stamp{}, failure(err)
		}
		pid, k, hollow, err := parseKinfo(info, before)
		if err != nil {
			return stamp{}, fmt.Errorf("process %d: %w", at.pid, err)
		}
		if hollow || pid != at.pid {
			return stamp{}, errGone
		}
		if after, err := mib.Timeval("kern.boottime"); err != nil || after == before {
			return k, err
		}
	}
	return stamp{}, fmt.Errorf("process %d: the clock is being set", at.pid)
}

// describe reads the rest: all but the owner's name, for which it returns the
// real uid. What may not be read stays empty.
func (h *host) describe(at place, s *stamp) (d Process, uid uint32, err error) {
	d = Process{PID: at.pid, ParentPID: s.parent, Created: s.created(h.boot), JailID: s.jail}
	// A program whose file was deleted, or that a jail does not see, has no path.
	if path, err := mib.ProcessPathname.Read(at.pid, h.buf[:]); err == nil {
		d.Executable = executableName(path[:max(0, len(path)-1)])
	}
	if d.Executable == "" {
		d.Executable = s.name()
	}
	if args, err := mib.ProcessArgs.Read(at.pid, h.buf[:]); err == nil {
		d.Command = commandName(args)
	}
	return d, s.uid, nil
}

// failure is the error of a process that could not be read: errGone, errDenied,
// or what it is. A process that is hidden from us is as good as gone.
func failure(err error) error {
	switch {
	case errors.Is(err, unix.ESRCH):
		return errGone
	case errors.Is(err, unix.EPERM):
		return errDenied
	}
	return err
}

// hidden tells whether there may be processes that we cannot see, security(7).
func hidden() bool {
	if unix.Geteuid() == 0 {
		return false
	}
	for _, policy := range [...]string{"security.bsd.see_other_uids", "security.bsd.see_other_gids", "security.bsd.see_jail_proc"} {
		if see, err := mib.Int(policy); err == nil && see == 0 {
			return true
		}
	}
	return false
}

// walk reads the descriptors of all processes. Where a socket is in memory tells
// it from every other that there is, but the place may be another's some time
// after it was closed: what closed since the sockets were listed can get the
// owner of its successor. The next dump does not have it.
func (r *Resolver) walk(ctx context.Context, now time.Time, stats *Stats) error {
	files, err := r.host.files.Read(ctx)
	if err != nil {
		return fmt.Errorf("walk kern.file: %w", err)
	}
	r.lap.sawFirst = !hidden()
	stats.Descriptors, stats.Processes, err = parseKernFile(files, func(pid, fd int32, socket uint64) error {
		i, ok := r.claims.find(socket)
		if !ok {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		p, err := r.read(now, pid, r.host.place(pid))
		switch {
		case err == nil:
			r.claims.answer(i, p, fd)
		case !errors.Is(err, errGone) && !errors.Is(err, errDenied):
			r.lap.fail(fmt.Errorf("walk kern.file: %w", err))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("walk kern.file: %w", err)
	}
	return r.lap.end()
}

// probe looks nowhere: where a descriptor leads cannot be asked of one alone.
func (*Resolver) probe(context.Context, time.Time, []Owner, *Stats) error { return nil }
