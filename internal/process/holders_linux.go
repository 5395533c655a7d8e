// SPDX-License-Identifier: Apache-2.0

package process

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// list is a walk by way of Holders. Processes are still described from procfs.
func (r *Resolver) list(ctx context.Context, now time.Time) (stats Stats, _ error) {
	var (
		pid    int32    // the process under way
		holder *Process // nil: not read yet
		passed bool     // it cannot be read
		failed error    // the first of the processes that could not be read
		denied = r.lap.denied
	)
	err := r.holders.Each(ctx, func(of, fd int32, inode uint64) error {
		stats.Descriptors++
		if of != pid {
			pid, holder, passed = of, nil, false
			stats.Processes++
		}
		i, ok := r.claims.find(inode)
		if !ok || passed {
			return nil
		}
		if holder == nil {
			if err := ctx.Err(); err != nil {
				return err
			}
			p, err := r.read(now, pid, r.host.place(pid))
			if err != nil {
				passed = true
				if err := r.passOver(pid, err, &stats); err != nil && failed == nil {
					failed = err
				}
				return nil
			}
			holder = p
		}
		r.claims.answer(i, holder, fd)
		return nil
	})
	if err := errors.Join(err, failed); err != nil {
		return stats, fmt.Errorf("list holders of sockets: %w", err)
	}
	_, err = r.host.stamp(r.host.place(1))
	// It saw everything that a walk under way has yet to see.
	denied = r.lap.denied - denied
	r.lap.begin()
	r.lap.sawFirst, r.lap.denied = !errors.Is(err, errGone), denied
	return stats, r.lap.end()
}

// search looks for the holders of all claimed sockets, by the cheaper way if
// there is one and it works.
func (r *Resolver) search(ctx context.Context, now time.Time, stats *Stats) error {
	if r.holders == nil {
		return r.walk(ctx, now, stats)
	}
	// What the visitor writes is on the heap: the caller's stats stay off it.
	listed, err := r.list(ctx, now)
	stats.Processes, stats.Descriptors = listed.Processes, listed.Descriptors
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		// The next has less to read: it knows the processes that this one has read.
		return fmt.Errorf("%w: %w", ErrCutShort, err)
	}
	return errors.Join(err, r.walk(ctx, now, stats))
}
