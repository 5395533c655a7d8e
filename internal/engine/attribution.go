// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
)

// maxSpareClaims is how many claims are kept room for: the first scrape claims
// every socket, the later ones those that are new.
const maxSpareClaims = 4096

// attribute joins the sockets in the tables with their processes.
func (e *Engine) attribute(ctx context.Context) error {
	if e.resolver == nil || !e.cfg.Attribution {
		return nil
	}
	defer e.telemetry.phase(e.selector, metadata.AttributePhaseAttribute)()
	now := time.Now()
	stale, errStale := e.resolver.Stale(ctx, now)
	claims := e.claims[:0]
	var freed []process.Owner
	for sp := range e.spaces() {
		claims = sp.table.Claims(claims, stale)
		freed = append(freed, sp.table.Freed()...)
	}
	claims = e.askers.claims(claims, stale)
	stats, errResolve := e.resolver.Resolve(ctx, now, freed, claims)
	clear(claims)
	if e.claims = claims; cap(claims) > maxSpareClaims {
		e.claims = nil
	}
	var unattributed [process.NumReasons]int64
	for sp := range e.spaces() {
		sp.table.SettleListeners()
		sp.table.Unattributed(&unattributed)
	}
	e.telemetry.unattributed(&unattributed)
	if stats.Walked && stats.Complete {
		e.sayDenied(&unattributed, &stats)
	}
	err := errors.Join(errStale, errResolve)
	e.sayWalks(stats.Walked && stats.Complete, errResolve)
	if err != nil {
		return fmt.Errorf("join sockets with processes: %w", err)
	}
	return nil
}

// sayDenied logs that sockets lack their owner for want of permission, once when
// it begins and once when it is over.
func (e *Engine) sayDenied(unattributed *[process.NumReasons]int64, stats *process.Stats) {
	denied := unattributed[process.ReasonNoPermission]
	if denied == 0 {
		e.denied.clear(1, func(uint64) { e.log.Info("no socket lacks its owner for want of permission any more") })
		return
	}
	e.denied.raise(1, func() {
		e.log.Warn("some sockets have no owner: "+stats.Why(),
			zap.Int64("sockets", denied),
			zap.Int("processes_denied", stats.Denied), zap.Int("processes_read", stats.Processes), zap.Bool("processes_hidden", stats.Hidden))
	})
}

// sayWalks logs that processes cannot be looked at to the end, so that
// connections are grouped and recorded without their process.
func (e *Engine) sayWalks(complete bool, err error) {
	switch {
	case errors.Is(err, context.Canceled): // by a shutdown
	case err != nil:
		e.walks.raise(1, func() {
			e.log.Warn("the walk over processes does not come to its end: connections whose process it has not found are grouped without one", zap.Error(err))
		})
	case complete:
		e.walks.clear(1, func(n uint64) {
			e.log.Info("the walk over processes comes to its end again", zap.Uint64("cut_short", n))
		})
	}
}
