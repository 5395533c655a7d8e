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
func (r *Resolver) walk(ctx context.Context, now time.Time, stats *Stats) error {
	h := r.host
	if _, err := unix.Seek(h.root, 0, unix.SEEK_SET); err != nil {
		return fmt.Errorf("walk %s: rewind: %w", h.path, err)
	}
	// Process 1 is there as long as its pid namespace is. Whoever does not see it
	// does not see others either.
	hidden := true
	var failed error // the first of the processes that could not be read
	for {
		n, err := unix.Getdents(h.root, h.pids[:])
		if err != nil {
			return fmt.Errorf("walk %s: read directory: %w", h.path, err)
		}
		if n == 0 {
			stats.Hidden = hidden
			return failed
		}
		for rest := h.pids[:n]; len(rest) > 0; {
			var name []byte
			if name, rest, err = nextEntry(rest); err != nil {
				return fmt.Errorf("walk %s: %w", h.path, err)
			}
			pid, ok := parseID(name)
			if !ok {
				continue
			}
			if pid == 1 {
				hidden = false
			}
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("walk %s: %w", h.path, err)
			}
			if err := r.walkProcess(now, pid, stats); err != nil && failed == nil {
				failed = fmt.Errorf("walk %s: %w", h.path, err)
			}
		}
	}
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
	at, err := r.host.openFDs(pid)
	if err != nil {
		return r.passOver(pid, err, stats)
	}
	defer at.close()
	stats.Processes++
	for {
		n, err := unix.Getdents(at.fds, r.host.fds[:])
		if err != nil {
			return r.passOver(pid, r.host.failure(at, "fd", err), stats)
		}
		if n == 0 {
			return nil
		}
		for rest := r.host.fds[:n]; len(rest) > 0; {
			var name []byte
			if name, rest, err = nextEntry(rest); err != nil {
				return r.host.failure(at, "fd", err)
			}
			fd, ok := parseID(name)
			if !ok {
				continue
			}
			stats.Descriptors++
			holder, err := r.look(now, at, fd, name)
			if err != nil {
				return r.passOver(pid, err, stats)
			}
			// procfs lists descriptors upwards: none that is left is lower.
			if holder != nil && r.claims.decided(holder.age()) {
				return nil
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
			stats.Denied++
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
	p, err := r.read(now, at.pid, at)
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
	at, err := r.host.openFDs(pid)
	if errors.Is(err, errGone) || errors.Is(err, errDenied) {
		return nil
	}
	if err != nil {
		return err
	}
	defer at.close()
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
