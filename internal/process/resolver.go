// SPDX-License-Identifier: Apache-2.0

package process

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// Options configure a [Resolver].
type Options struct {
	// Proc is where procfs is mounted; /proc if empty. FreeBSD needs none.
	Proc string
	// RefreshInterval is the least time from one walk to the next, start to
	// start, and from one check of the known processes to the next. 0: both as
	// often as they are asked for.
	RefreshInterval time.Duration
	// Holders, if there are any, are listed instead of walking over Proc. The
	// resolver closes them.
	Holders Holders
}

// Stats is what one Resolve did.
type Stats struct {
	// Walked: processes were looked at, from the first on or from where the last
	// walk was cut short.
	Walked bool
	// Complete: the walk came to its end, so claims made before it began have an owner
	// or a final reason. After one that did not, which Resolve's error explains
	// ([ErrCutShort]), claims stay pending, maybe for many calls.
	Complete bool
	// Processes is the number of processes whose descriptors the walk listed,
	// Descriptors the number of those that it looked at.
	Processes, Descriptors int
	// Denied is the number of processes with descriptors that we may not read, since
	// the first.
	Denied int
	// PrivatePIDs: procfs shows the processes of a container, not those of the host
	// (hostPID was forgotten). Sockets may be held by processes that it does not show.
	PrivatePIDs bool
	// Hidden: processes are hidden from us (procfs mounted with hidepid=2,
	// systemd's ProtectProc=invisible, security.bsd.see_other_uids=0), so the walk
	// saw but a part of them.
	Hidden bool
	// Probed is the number of descriptors that were looked at because their
	// socket had vanished, ProbeHits the number of claimed sockets found there.
	Probed, ProbeHits int
	Duration          time.Duration
}

// Resolver joins sockets with processes. It holds a few descriptors, keeps no
// goroutine, and is not safe for concurrent use.
type Resolver struct {
	interval time.Duration
	host     *host
	holders  Holders // nil: procfs is walked
	claims   claimSet
	lap      lap

	walked  time.Time // the last walk's start
	checked time.Time // the last check of the known processes

	known map[int32]*known
	stale map[*Process]bool // to be told by the next Stale
	told  map[*Process]bool // what the last one told
	// round numbers the calls: in one of them a process is read once.
	round uint64
	// seen are ended processes that a source saw.
	seen map[*tcp.Holder]*Process
	// users caches names until the next check; each costs a pass of the passwd
	// file.
	users map[uint32]string
}

// What is no failure, only a process less: it ended while it was looked at, or
// it may not be looked at.
var (
	errGone   = errors.New("process has ended")
	errDenied = errors.New("process may not be read")
)

// NewResolver opens procfs, or what the host has in its place.
func NewResolver(opts Options) (*Resolver, error) {
	if opts.Proc == "" {
		opts.Proc = "/proc"
	}
	h, err := openHost(opts.Proc)
	if err != nil {
		if opts.Holders != nil {
			err = errors.Join(err, opts.Holders.Close())
		}
		return nil, err
	}
	return &Resolver{
		interval: opts.RefreshInterval,
		host:     h,
		holders:  opts.Holders,
		lap:      lap{number: 1},
		known:    make(map[int32]*known),
		stale:    make(map[*Process]bool),
		told:     make(map[*Process]bool),
		seen:     make(map[*tcp.Holder]*Process),
		users:    make(map[uint32]string),
	}, nil
}

// Close gives it up. A closed Resolver answers with [os.ErrClosed].
func (r *Resolver) Close() error {
	if r.host == nil {
		return nil
	}
	err := r.host.close()
	if r.holders != nil {
		err = errors.Join(err, r.holders.Close())
	}
	r.host = nil
	return err
}

// Resolve answers the claims in place, with an owner or a reason. vanished are
// the owners of sockets that are no longer there, and the places where a
// claimed socket may be for any other reason; it is reordered.
//
// A walk's answer is the oldest process that holds the socket. A probe's is
// the one that was looked at: where several processes hold a new socket, that
// need not be the oldest.
//
// Claims are answered as far as possible even if there is an error: that of
// ctx, or the first that kept a process from being read, such as a lack of
// descriptors. A process that ends meanwhile, or may not be read, is no error.
// A deadline of ctx that is near or past leaves a walk a few milliseconds, since it
// goes on where the last one was cut short, and would else never come to an end.
// now should be a time with a monotonic reading.
func (r *Resolver) Resolve(ctx context.Context, now time.Time, vanished []Owner, claims []Claim) (Stats, error) {
	if r.host == nil {
		return Stats{}, fmt.Errorf("resolve owners of sockets: %w", os.ErrClosed)
	}
	began := time.Now()
	r.round++
	r.claims.load(claims, r.lap.next())
	ctx, cancel := leastTime(ctx)
	defer cancel()

	stats := Stats{PrivatePIDs: r.host.private()}
	var missing Reason
	var done uint16
	err := r.probe(ctx, now, vanished, &stats)
	switch {
	case r.claims.fresh == 0:
		r.lap.abandon()
	case r.lap.at == 0 && !due(now, r.walked, r.interval):
	case ctx.Err() != nil:
		err = cmp.Or(err, fmt.Errorf("resolve owners of sockets: %w", ctx.Err()))
	default:
		var errWalk error
		missing, done, errWalk = r.laps(ctx, now, &stats)
		err = errors.Join(err, errWalk)
	}
	r.claims.settle(missing, done)
	stats.Duration = time.Since(began)
	return stats, err
}

// laps walks on, and once more if claims were made after that lap had begun. It
// returns the last lap that ended and the reason of what that did not find.
func (r *Resolver) laps(ctx context.Context, now time.Time, stats *Stats) (missing Reason, done uint16, err error) {
	stats.Walked = true
	for {
		if r.lap.at == 0 {
			r.walked = now
			r.lap.begin()
		}
		err = r.search(ctx, now, stats)
		stats.Denied = r.lap.denied
		if err != nil {
			stats.Complete = false
			return missing, done, err
		}
		stats.Hidden = !r.lap.sawFirst
		missing, done, stats.Complete = ReasonNoOwner, r.lap.done, true
		if stats.Denied > 0 || stats.Hidden || stats.PrivatePIDs {
			missing = ReasonNoPermission
		}
		if !r.claims.awaits(done) {
			return missing, done, nil
		}
	}
}

// walkTime is how long a walk may take whatever the deadline.
const walkTime = 5 * time.Millisecond

// leastTime moves a deadline that leaves less than walkTime. A context that was
// cancelled stays so.
func leastTime(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok || time.Until(deadline) >= walkTime || errors.Is(ctx.Err(), context.Canceled) {
		return ctx, func() {}
	}
	return context.WithTimeout(context.WithoutCancel(ctx), walkTime)
}

// Why says in one sentence why processes that hold sockets were not found, and what
// to do about it; "" if the walk could see every process.
func (s *Stats) Why() string {
	switch {
	case s.PrivatePIDs:
		return "the collector is in a PID namespace of its own and sees no process outside of it (hostPID: true in Kubernetes, --pid=host in Docker)"
	case s.Hidden:
		return "processes are hidden from the collector (" + Remedy + ")"
	case s.Denied > 0:
		return "the descriptors of some processes may not be read (" + Remedy + ")"
	}
	return ""
}

// due tells whether interval has passed since last. A wall clock that was set
// back makes it due, too.
func due(now, last time.Time, interval time.Duration) bool {
	passed := now.Sub(last)
	return last.IsZero() || passed >= interval || passed < 0
}

// userName returns the name of a user, or the number where there is none.
func (r *Resolver) userName(uid uint32) string {
	if name, ok := r.users[uid]; ok {
		return name
	}
	name := strconv.FormatUint(uint64(uid), 10)
	u, err := user.LookupId(name)
	if _, unknown := err.(user.UnknownUserIdError); err != nil && !unknown && r.host != nil && r.host.release() {
		u, err = user.LookupId(name) // it wanted a descriptor
		r.host.reserve()
	}
	if err == nil && u.Username != "" {
		name = text([]byte(u.Username))
	}
	r.users[uid] = name
	return name
}
