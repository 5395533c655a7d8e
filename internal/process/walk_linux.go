// SPDX-License-Identifier: Apache-2.0

package process

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// walk reads the descriptors of the processes that procfs lists. It is over
// early when no process that is left can change an answer: while a claim is
// open, any can; after that, only one that is older than some owner found. So
// the young ones among the rest cost one stat instead of their descriptors.
// procfs lists by pid, hence mostly by age.
//
// It goes on where the last one was cut short, and reads one process at least.
func (r *Resolver) walk(ctx context.Context, now time.Time, stats *Stats) error {
	h := r.host
	if _, err := unix.Seek(h.root, r.lap.at, unix.SEEK_SET); err != nil {
		return fmt.Errorf("walk %s: rewind: %w", h.path, err)
	}
	for looked := 0; ; {
		n, err := unix.Getdents(h.root, h.pids[:])
		if err != nil {
			return fmt.Errorf("walk %s: read directory: %w", h.path, err)
		}
		if n == 0 {
			return r.lap.end()
		}
		for rest := h.pids[:n]; len(rest) > 0; {
			var name []byte
			var next int64
			if name, next, rest, err = nextEntry(rest); err != nil {
				return fmt.Errorf("walk %s: %w", h.path, err)
			}
			if pid, ok := parseID(name); ok {
				if err := ctx.Err(); err != nil && looked > 0 {
					return r.cutShort(pid, err)
				}
				err := r.walkProcess(now, pid, stats)
				if scarce(err) {
					return r.cutShort(pid, err)
				}
				if err != nil {
					r.lap.fail(fmt.Errorf("walk %s: %w", h.path, err))
				}
				if pid == 1 {
					r.lap.sawFirst = true
				}
				looked++
			}
			r.lap.at = next
		}
	}
}

// cutShort is the error of a walk that did not get to a process.
func (r *Resolver) cutShort(pid int32, err error) error {
	return fmt.Errorf("%w before process %d of %s, the next goes on from there: %w", ErrCutShort, pid, r.host.path, err)
}

// walkProcess looks for claimed sockets among the descriptors of one process.
func (r *Resolver) walkProcess(now time.Time, pid int32, stats *Stats) error {
	if r.claims.open == 0 {
		s, err := r.host.stamp(r.host.place(pid))
		if err != nil {
			return r.passOver(pid, err, stats)
		}
		if r.claims.decided(age{s.created(r.host.boot), pid}) {
			return nil
		}
	}
	listed, err := r.walkFDs(now, r.host.place(pid), stats)
	if (err == nil && listed == 0 || errors.Is(err, errDenied)) && r.host.isHeadless(pid) {
		err = r.host.eachThread(pid, func(thread place) (done bool, err error) {
			listed, err := r.walkFDs(now, thread, stats)
			if errors.Is(err, errGone) {
				return false, nil // another may go on
			}
			return listed > 0, err
		})
	}
	if err == nil {
		stats.Processes++
		return nil
	}
	return r.passOver(pid, err, stats)
}

// walkFDs looks for claimed sockets among the descriptors of one process or
// thread. It returns how many it saw.
func (r *Resolver) walkFDs(now time.Time, p place, stats *Stats) (listed int, err error) {
	at, err := r.host.openFDs(p)
	if err != nil {
		return 0, err
	}
	defer r.host.closeFD(at.fds)
	for {
		n, err := unix.Getdents(at.fds, r.host.fds[:])
		if err != nil {
			return listed, r.host.failure(at, "fd", err)
		}
		if n == 0 {
			return listed, nil
		}
		for rest := r.host.fds[:n]; len(rest) > 0; {
			var name []byte
			if name, _, rest, err = nextEntry(rest); err != nil {
				return listed, r.host.failure(at, "fd", err)
			}
			fd, ok := parseID(name)
			if !ok {
				continue
			}
			stats.Descriptors++
			listed++
			holder, err := r.look(now, at, fd, name)
			if err != nil {
				return listed, err
			}
			// procfs lists descriptors upwards: none that is left is lower.
			if holder != nil && r.claims.decided(holder.age()) {
				return listed, nil
			}
		}
	}
}

// passOver is what an error about one process means for the walk: nothing if
// the process has ended, a count if it may not be read.
func (r *Resolver) passOver(pid int32, err error, stats *Stats) error {
	switch {
	case errors.Is(err, errGone):
		return nil
	case errors.Is(err, errDenied):
		// Unprivileged users are refused zombies and kernel threads, too, and
		// anybody is refused who comes when a process ends (proc_pid_readlink in
		// fs/proc/base.c). There is nothing to see.
		if _, err := r.host.stamp(r.host.place(pid)); !errors.Is(err, errGone) {
			r.lap.denied++
		}
		return nil
	}
	return err
}

// look answers the claim for the socket at one descriptor, if there is one, and
// returns the process then.
func (r *Resolver) look(now time.Time, at place, fd int32, name []byte) (*Process, error) {
	inode, errno := r.host.socket(at, name)
	if errno != 0 {
		if gone(errno) {
			return nil, nil // closed since
		}
		return nil, r.host.failure(at, "fd", errno)
	}
	i, ok := r.claims.find(inode)
	if !ok {
		return nil, nil
	}
	process := at
	if at.tid != 0 {
		// The stat and status beside a thread's descriptors are the thread's own.
		process = r.host.place(at.pid)
	}
	p, err := r.read(now, at.pid, process)
	if err != nil {
		return nil, err
	}
	r.claims.answer(i, p, fd)
	return p, nil
}

// probe looks for claimed sockets where others have just vanished.
func (r *Resolver) probe(ctx context.Context, now time.Time, vanished []Owner, stats *Stats) error {
	if r.claims.fresh == 0 {
		return nil
	}
	// A process at a time: its directory is opened once, and once is enough to
	// find it gone.
	slices.SortFunc(vanished, func(a, b Owner) int {
		return cmp.Or(cmp.Compare(a.pid(), b.pid()), cmp.Compare(a.FD, b.FD))
	})
	var failed error
	for len(vanished) > 0 && r.claims.fresh > 0 {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("probe %s: %w", r.host.path, err)
		}
		pid, n := vanished[0].pid(), 1
		for n < len(vanished) && vanished[n].pid() == pid {
			n++
		}
		if err := r.probeProcess(now, pid, vanished[:n], stats); err != nil && failed == nil {
			failed = fmt.Errorf("probe %s: %w", r.host.path, err)
		}
		vanished = vanished[n:]
	}
	return failed
}

// pid is the owner's process, 0 if there is none.
func (o Owner) pid() int32 {
	if o.Process == nil {
		return 0
	}
	return o.Process.PID
}

// probeProcess probes one process.
func (r *Resolver) probeProcess(now time.Time, pid int32, vanished []Owner, stats *Stats) error {
	if pid == 0 {
		return nil
	}
	at, err := r.host.openFDs(r.host.place(pid))
	if errors.Is(err, errGone) || errors.Is(err, errDenied) {
		return nil
	}
	if err != nil {
		return err
	}
	defer r.host.closeFD(at.fds)
	for _, owner := range vanished {
		if r.claims.fresh == 0 {
			return nil
		}
		stats.Probed++
		name := append(strconv.AppendInt(r.host.name[:0], int64(owner.FD), 10), 0)
		holder, err := r.look(now, at, owner.FD, name)
		if errors.Is(err, errGone) || errors.Is(err, errDenied) {
			return nil
		}
		if err != nil {
			return err
		}
		if holder != nil {
			stats.ProbeHits++
		}
	}
	return nil
}
