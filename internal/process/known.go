// SPDX-License-Identifier: Apache-2.0

package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// known is a process that was handed out, and how it was when last read.
type known struct {
	process *Process
	stamp   stamp
	settled bool   // it was no longer young when it was described
	round   uint64 // the call in which it was last read
}

// Stale returns the processes handed out by Resolve that have ended, or that
// are no longer what the value says: they run another program, or have another
// parent, user or cgroup. Each is returned once. Its sockets may live on, in
// the same process or in one that inherited them or was passed them: zero the
// Owner of each, claim it, and hand the old owner to [Resolver.Resolve] as
// vanished, so that a socket that is still in its place costs no walk. The
// package's comment has the loop.
//
// It reads one file for each known process, at most once per refresh interval;
// in between it knows only what Resolve came across. The map is good until the
// next call.
//
// Stale is also what forgets processes: call it in every scrape.
func (r *Resolver) Stale(ctx context.Context, now time.Time) (map[*Process]bool, error) {
	if r.host == nil {
		return nil, fmt.Errorf("check processes: %w", os.ErrClosed)
	}
	ctx, cancel := leastTime(ctx)
	defer cancel()
	var err error
	if due(now, r.checked, r.interval) {
		r.checked = now
		err = r.check(ctx, now)
	}
	clear(r.told)
	r.told, r.stale = r.stale, r.told
	return r.told, err
}

// check reads the known processes. It goes on after one that cannot be read.
func (r *Resolver) check(ctx context.Context, now time.Time) error {
	r.round++
	clear(r.users)
	clear(r.seen)
	var failed error
	for pid, k := range r.known {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("check processes: %w", err)
		}
		_, err := r.read(now, pid, r.host.place(pid))
		switch {
		case errors.Is(err, errGone), errors.Is(err, errDenied):
			r.stale[k.process] = true
			delete(r.known, pid)
		case err != nil && failed == nil:
			failed = fmt.Errorf("check processes: %w", err)
		}
	}
	return failed
}

// read returns what is now known of a process: the same pointer as long as it
// stays the same.
func (r *Resolver) read(now time.Time, pid int32, at place) (*Process, error) {
	k, ok := r.known[pid]
	if ok && k.round == r.round {
		return k.process, nil
	}
	stamp, err := r.host.stamp(at)
	if err != nil {
		return nil, err
	}
	if !ok {
		k = &known{}
	}
	if k.stamp != stamp || !k.settled {
		p, uid, err := r.host.describe(at, &stamp)
		if err != nil {
			return nil, err
		}
		p.Owner = r.userName(uid)
		if k.process == nil || *k.process != p {
			if k.process != nil {
				r.stale[k.process] = true
			}
			k.process = &p
		}
		k.stamp = stamp
		// A daemon drops its privileges and enters its cgroup soon after its
		// start, which changes no stamp: what was read in a process's first
		// interval is read again after it.
		k.settled = now.Sub(p.Created) >= r.interval
	}
	k.round = r.round
	r.known[pid] = k
	return k.process, nil
}

// Describe returns what is known of a process, by what Resolve and Stale have
// read or by reading it now. It returns an error if the process has ended or may
// not be read.
func (r *Resolver) Describe(now time.Time, pid int32) (*Process, error) {
	if r.host == nil {
		return nil, fmt.Errorf("describe process %d: %w", pid, os.ErrClosed)
	}
	if k, ok := r.known[pid]; ok {
		return k.process, nil
	}
	p, err := r.read(now, pid, r.host.place(pid))
	if err != nil {
		return nil, fmt.Errorf("describe process %d: %w", pid, err)
	}
	return p, nil
}
