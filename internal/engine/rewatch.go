// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"time"

	"go.uber.org/zap"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
)

// A watch of closes that broke, or that could not be opened, is tried again at the
// next scrape, then after minRewatch and twice as long each time, until one has
// lasted for maxRewatch.
const (
	minRewatch = 10 * time.Second
	maxRewatch = 10 * time.Minute
)

// brokenWatch is what is remembered of a watch of closes that broke.
type brokenWatch struct {
	alarm
	at     time.Time // when it is tried again; zero: never
	wait   time.Duration
	since  time.Time // when the first of them broke
	opened time.Time // when the one that there is was opened; zero: there is none
	// unseen is how many connections nobody had seen when the first of them broke.
	unseen uint64
}

// watchBroke notes that there are no more notices of closes in a namespace.
func (e *Engine) watchBroke(sp *space, cause error) {
	now, b := time.Now(), &sp.broken
	if !b.opened.IsZero() && now.Sub(b.opened) >= maxRewatch {
		b.wait = 0
	}
	b.opened = time.Time{}
	b.at = now.Add(b.wait)
	b.wait = min(max(2*b.wait, minRewatch), maxRewatch)
	e.telemetry.sourceError(sp.sourceName(e), source.ErrorRead, 1)
	if !b.on {
		b.since, b.unseen = now, e.unseen
	}
	b.raise(1, func() {
		e.log.Warn("there are no more notices of closes: connections that open and close between two scrapes are not counted until they come again",
			zap.Stringer("in", sp), zap.Error(cause))
	})
}

// rewatch tries again to watch the closes in a namespace, if that is due, and logs
// when notices have come for a while again.
func (e *Engine) rewatch(sp *space, src source.Source) {
	now, b := time.Now(), &sp.broken
	switch {
	case !b.on:
	case sp.watch != nil:
		if now.Sub(b.opened) < quietFor {
			return
		}
		without := b.opened.Sub(b.since)
		b.clear(1, func(times uint64) {
			e.log.Info("notices of closes come again", zap.Stringer("in", sp), zap.Uint64("broke", times),
				zap.Duration("without", without), zap.Uint64("unseen_connections", e.unseen-min(b.unseen, e.unseen)))
		})
	case b.at.IsZero() || now.Before(b.at):
	default:
		notifier := e.notifierOf(src)
		if notifier == nil {
			return
		}
		if err := e.watch(sp, notifier); err != nil {
			e.watchBroke(sp, err)
		}
	}
}
