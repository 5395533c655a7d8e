// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/netpulse/tcpstatsreceiver/internal/netns"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// errNotSpanning is why network stacks are missing where only a source could read
// them.
var errNotSpanning = errors.New("it does not read other network stacks here (on FreeBSD kmod does, as root outside of jails)")

// span returns the source if it can read every network stack at once, and has it do
// so. It is nil, with a reason, if it cannot, and nil without one if nobody asks.
func (e *Engine) span(src source.Source) (source.Spanning, error) {
	if !e.cfg.AllNamespaces || src == nil {
		return nil, nil
	}
	spanning, ok := src.(source.Spanning)
	if !ok || src.Capabilities().Missing(source.Namespaces) != 0 {
		return nil, fmt.Errorf("source %s: %w", src.Name(), errNotSpanning)
	}
	if err := spanning.Span(); err != nil {
		return nil, fmt.Errorf("source %s: %w", src.Name(), err)
	}
	return spanning, nil
}

// findStacks finds the network stacks that came and those that are gone, where the
// source reads them all, and what is known of each.
func (e *Engine) findStacks(ctx context.Context, now time.Time) error {
	if !e.others.spans {
		return nil
	}
	// The source may have been opened anew since the last scrape.
	var why error
	if e.others.spanning, why = e.span(e.selector.Current()); e.others.spanning == nil {
		var errs []error
		for _, sp := range e.others.spaces {
			errs = append(errs, e.closeSpace(sp))
		}
		e.others.spaces, e.others.found = nil, time.Time{}
		if why != nil {
			e.others.confined.raise(1, func() {
				e.log.Warn("network_namespaces: only the collector's own network stack is read", zap.Error(why))
			})
		}
		return errors.Join(errs...)
	}
	e.others.confined.clear(1, func(uint64) { e.log.Info("network_namespaces: every network stack is read again") })
	stacks, err := e.others.spanning.Stacks(ctx)
	for _, sp := range e.others.spaces {
		sp.stack = nil
	}
	if err != nil {
		return err // nothing is known of what is gone
	}
	since := e.others.found
	e.others.found = now
	for _, sp := range e.others.spaces {
		sp.emptied = true
	}
	var errs []error
	for i := range stacks {
		sp, err := e.stack(&stacks[i], since)
		sp.emptied = false
		errs = append(errs, err)
	}
	e.telemetry.namespaces(1 + len(e.others.spaces))
	return errors.Join(errs...)
}

// stack returns the space of a network stack, which may be new since a time.
func (e *Engine) stack(s *source.Stack, since time.Time) (*space, error) {
	var err error
	i, have := e.others.search(s.Namespace)
	if have && e.others.spaces[i].cookie != 0 && e.others.spaces[i].cookie != s.Cookie {
		// Another jail has the id of one that is gone.
		err = e.closeSpace(e.others.spaces[i])
		e.others.spaces, have = slices.Delete(e.others.spaces, i, i+1), false
	}
	if !have {
		e.others.spaces = slices.Insert(e.others.spaces, i, e.newStack(s.Namespace, since))
	}
	sp := e.others.spaces[i]
	sp.cookie, sp.stack = s.Cookie, s
	if s.Name != "" { // a jail that is going may have none any more
		sp.place.Name = s.Name
	}
	return sp, err
}

// newStack returns what there is to remember of a network stack in which, at the
// time since, there was nothing yet; zero if that is not known.
func (e *Engine) newStack(namespace uint64, since time.Time) *space {
	sp := e.newSpace(since)
	sp.place = netns.Place{Namespace: namespace}
	sp.spanned = true
	sp.start = e.cfg.Boot
	if !since.IsZero() {
		sp.start, sp.based = since, true
	}
	if e.own.watch != nil {
		e.watchStack(sp)
	}
	return sp
}

// watchStack has notices for a network stack counted, which come with those of the
// collector's own.
func (e *Engine) watchStack(sp *space) {
	sp.table.Notified(true)
	sp.watch = &closeWatch{counted: sp.table.Begun()}
}

// dumpedBy returns the spaces that one dump of a space has.
func (e *Engine) dumpedBy(sp *space) []*space {
	e.dumped = append(e.dumped[:0], sp)
	if sp == e.own && e.others.spanning != nil {
		e.dumped = append(e.dumped, e.others.spaces...)
	}
	return e.dumped
}

// spaceOf returns the space of a socket in a dump of another; nil for one in a network
// stack that came after these were listed.
func (e *Engine) spaceOf(dumped *space, id tcp.Identity) *space {
	if id.Namespace == 0 || dumped != e.own || e.others.spanning == nil {
		return dumped
	}
	i, ok := e.others.search(id.Namespace)
	if !ok {
		return nil
	}
	return e.others.spaces[i]
}

// distribute hands the notices that belong to other network stacks to these, and
// returns those of the collector's own. A stack may have come and gone since they were
// listed.
func (e *Engine) distribute(notices []tcp.Notice) []tcp.Notice {
	if e.others.spanning == nil {
		return notices
	}
	own := notices[:0]
	for i := range notices {
		n := &notices[i]
		if n.ID.Namespace == 0 {
			own = append(own, *n)
			continue
		}
		at, ok := e.others.search(n.ID.Namespace)
		if !ok {
			sp := e.newStack(n.ID.Namespace, e.others.found)
			sp.emptied = true // unless it is listed
			e.others.spaces = slices.Insert(e.others.spaces, at, sp)
		}
		if w := e.others.spaces[at].watch; w != nil {
			w.put(n)
		}
	}
	return own
}
