// SPDX-License-Identifier: Apache-2.0

//go:build linux || freebsd

package process

import (
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// maxSeen is how many ended processes are remembered between two checks, so that
// all their connections share one value.
const maxSeen = 4096

// Seen returns the process that a source saw with a socket. Of one that has ended
// only what the source saw is known: no parent, command, date or cgroup.
func (r *Resolver) Seen(now time.Time, h *tcp.Holder) *Process {
	is := func(k *known) bool { return k != nil && k.stamp.isOf(h, k.process.Executable) }
	if k := r.known[h.PID]; is(k) {
		return k.process
	}
	if p, ok := r.seen[h]; ok {
		return p
	}
	if r.host != nil && h.PID != 0 {
		// An error says no more than that it has ended, or may not be read.
		if p, err := r.read(now, h.PID, r.host.place(h.PID)); err == nil && is(r.known[h.PID]) {
			return p
		}
	}
	p := &Process{PID: h.PID, Executable: h.Executable, Owner: r.userName(h.UID)}
	if len(r.seen) >= maxSeen {
		clear(r.seen)
	}
	r.seen[h] = p
	return p
}
