//go:build !linux

package process

import (
	"context"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// search walks: nothing else lists the holders of sockets here.
func (r *Resolver) search(ctx context.Context, now time.Time, stats *Stats) error {
	return r.walk(ctx, now, stats)
}

// Seen returns nil: no source sees a process with a socket here.
func (*Resolver) Seen(time.Time, *tcp.Holder) *Process { return nil }
