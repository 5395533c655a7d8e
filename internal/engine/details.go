// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"time"
)

// keepDetails has all tables keep the Details of each connection, or give them up.
// Connections that are there already get them with the next dump, which has all
// sockets as long as Details are kept.
func (e *Engine) keepDetails(yes bool) {
	if e.detailed == yes {
		return
	}
	e.detailed = yes
	for sp := range e.spaces() {
		sp.table.KeepDetails(yes)
	}
}

// ErrClosed is returned for a read after the engine was shut down.
var ErrClosed = errors.New("the receiver has been shut down")

// WithDetails calls f with a scrape whose connections have their Details, under the
// engine's lock. Where no view has needed these, the sockets are read again now,
// between two scrapes: it takes as long as a scrape. The view must need Details at the
// next tick, or they are given up then.
//
// f may get a scrape that is not complete. The next scrape logs why, if that lasts.
func (s *Scrape) WithDetails(ctx context.Context, f func(*Scrape)) error {
	e := s.engine
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.batches.Err() != nil {
		return ErrClosed
	}
	if e.detailed {
		f(s)
		return nil
	}
	// A viewer who goes away does not cut the dump short for the others.
	readCtx, cancel := e.limited(e.batches)
	defer cancel()
	if err := ctx.Err(); err != nil {
		return err
	}
	e.keepDetails(true)
	began := time.Now()
	complete, _ := e.read(readCtx, Needs{Sockets: true, Listeners: true, States: true, Details: true}, false)
	f(e.finished(began, s.Tick, complete))
	return nil
}
