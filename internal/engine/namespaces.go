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
	"github.com/netpulse/tcpstatsreceiver/internal/table"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// procDir is where the processes of the namespaces are found.
const procDir = "/proc"

// followNamespaces learns whether other namespaces are wanted and can be read.
func (e *Engine) followNamespaces() {
	if !e.cfg.AllNamespaces {
		return
	}
	own, err := netns.Own()
	if err == nil {
		err = netns.Supported()
	}
	if errors.Is(err, errors.ErrUnsupported) || e.others.spanning != nil {
		e.others.spans = true // by a source, if at all
		return
	}
	if err != nil {
		e.log.Warn("network_namespaces: only the collector's own network namespace is read", zap.Error(err))
		return
	}
	e.others.followed, e.others.own = true, own
}

// findOthers finds the namespaces that came and those that lost their last
// process, no more often than processes are walked.
func (e *Engine) findOthers(ctx context.Context, now time.Time) error {
	if !e.others.followed || !e.others.found.IsZero() && now.Sub(e.others.found) < e.refreshInterval() {
		return nil
	}
	found, denied, err := netns.Find(ctx, procDir)
	if err != nil {
		return err
	}
	if denied > 0 {
		e.others.denied.raise(1, func() {
			e.log.Warn("some network namespaces may be missing because not every process may be looked at (it takes CAP_SYS_PTRACE, see docs/sources.md, Permissions)",
				zap.Int("processes_denied", denied))
		})
	} else {
		e.others.denied.clear(1, func(uint64) {})
	}
	since := e.others.found
	e.others.found = now

	var errs []error
	for _, sp := range e.others.spaces {
		sp.emptied = !slices.ContainsFunc(found, func(f netns.Found) bool { return f.ID == sp.place.Namespace })
	}
	for _, f := range found {
		if f.ID == e.others.own {
			continue
		}
		i, have := e.others.search(f.ID)
		if !have {
			sp, err := e.enter(ctx, f, since)
			if errors.Is(err, netns.ErrGone) {
				continue
			}
			if err != nil {
				errs = append(errs, err)
				continue
			}
			e.others.spaces = slices.Insert(e.others.spaces, i, sp)
		}
		e.describe(now, e.others.spaces[i], f)
	}
	if e.resolver != nil && !e.cfg.Attribution {
		// Nobody else makes it forget processes that have ended.
		if _, err := e.resolver.Stale(ctx, now); err != nil {
			errs = append(errs, err)
		}
	}
	e.telemetry.namespaces(1 + len(e.others.spaces))
	return firstOf(len(found), "network namespaces could not be entered", errs)
}

// enter opens a namespace through one of its processes.
func (e *Engine) enter(ctx context.Context, f netns.Found, since time.Time) (*space, error) {
	err := netns.ErrGone
	for _, pid := range f.PIDs {
		var ns *netns.Namespace
		if ns, err = netns.Open(procDir, pid, f.ID); err == nil {
			sp := e.newSpace(since)
			sp.namespace, sp.place.Namespace = ns, f.ID
			if sp.cookie, err = ns.Cookie(); err != nil {
				e.log.Debug("the cookie of a network namespace is not known", zap.Stringer("in", sp), zap.Error(err))
			}
			sp.start = e.cfg.Boot
			if !since.IsZero() { // nothing was opened before
				sp.start, sp.based = since, true
			}
			e.openPeers(ctx, sp)
			return sp, nil
		}
	}
	return nil, err
}

// sandbox is the program that holds the network namespace of a pod; its
// container is not among those that Kubernetes lists.
const sandbox = "pause"

// describe names the namespace and a container in it: that of the process with
// the lowest id that is in one. It stays the same, save that the sandbox of a pod
// makes way for a container that comes later.
func (e *Engine) describe(now time.Time, sp *space, f netns.Found) {
	sp.place.Name = f.Name
	if e.resolver == nil || sp.place.ContainerID != "" && !sp.sandboxed {
		return
	}
	for _, pid := range f.PIDs {
		p, err := e.resolver.Describe(now, pid)
		if err != nil || p.ContainerID == "" {
			continue // it has ended, or is in no container
		}
		sp.place.ContainerID, sp.sandboxed = p.ContainerID, p.Executable == sandbox
		if !sp.sandboxed {
			return
		}
	}
}

// dumpOthers reads the sockets of the other namespaces.
func (e *Engine) dumpOthers(ctx context.Context) error {
	var errs []error
	for _, sp := range e.others.spaces {
		if sp.spanned {
			if e.others.spanning == nil {
				sp.unread()
			}
			continue // it was in the dump of the collector's own
		}
		if err := e.dumpOther(ctx, sp); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", sp, err))
		}
	}
	return firstOf(len(e.others.spaces), "network namespaces could not be read, or not to their end", errs)
}

func (e *Engine) dumpOther(ctx context.Context, sp *space) error {
	if err := ctx.Err(); err != nil {
		sp.unread()
		return err
	}
	src, err := e.sourceOf(ctx, sp)
	if src == nil {
		sp.unread()
		return err
	}
	_, err = e.dumpFrom(ctx, sp, src)
	return err
}

// sourceOf returns the source that reads a namespace, which it opens where it is
// not open yet. It is nil, without an error, if the collector's own namespace has
// none, which its dump reports.
func (e *Engine) sourceOf(ctx context.Context, sp *space) (source.Source, error) {
	if own := e.selector.Current(); sp == e.own || own == nil {
		return own, nil
	}
	if sp.source == nil {
		if err := e.openIn(ctx, sp); err != nil {
			return nil, err
		}
	}
	return sp.source, nil
}

// openIn opens a source in another namespace: the kind that reads the
// collector's own, or the next that can.
func (e *Engine) openIn(ctx context.Context, sp *space) error {
	factory, ok := e.selector.Best(source.Namespaces)
	if !ok {
		return fmt.Errorf("source %s cannot read other network namespaces, and there is none after it", e.selector.Current().Name())
	}
	var src source.Source
	err := sp.namespace.Do(func() (err error) {
		src, err = factory.Open(ctx)
		return err
	})
	if err != nil {
		e.telemetry.sourceError(factory.Name, source.ErrorRead, 1)
		return fmt.Errorf("open source %s: %w", factory.Name, err)
	}
	sp.source = source.Inside(sp.namespace.Do, src)
	e.watchSpace(sp, sp.source)
	return nil
}

// reopenOthers makes the next dumps open the source that is now in use.
func (e *Engine) reopenOthers() {
	for _, sp := range e.others.spaces {
		if err := e.closeIn(sp); err != nil {
			e.log.Warn("closing the source of "+sp.String(), zap.Error(err))
		}
	}
}

func (e *Engine) closeIn(sp *space) error {
	e.endWatch(sp)
	if sp.source == nil {
		return nil
	}
	src := sp.source
	sp.source = nil
	return src.Close()
}

// closeEmptied gives up the namespaces without processes: while they are open
// the kernel keeps them and their interfaces. Whatever connections were left
// there have ended.
func (e *Engine) closeEmptied() error {
	var errs []error
	before := len(e.others.spaces)
	e.others.spaces = slices.DeleteFunc(e.others.spaces, func(sp *space) bool {
		if !sp.emptied {
			return false
		}
		errs = append(errs, e.closeSpace(sp))
		return true
	})
	if len(e.others.spaces) < before {
		e.telemetry.namespaces(1 + len(e.others.spaces))
	}
	return errors.Join(errs...)
}

// closeSpace gives up a namespace in which everything has ended.
func (e *Engine) closeSpace(sp *space) error {
	e.drain(sp)
	e.countCloses(sp, true)
	e.others.leave(sp)
	err := e.leave(sp)
	sp.table.Begin(time.Now())
	sp.table.End(table.Complete)
	sp.table.Reset()
	return err
}

func (e *Engine) leaveAll() error {
	var errs []error
	for _, sp := range e.others.spaces {
		errs = append(errs, e.leave(sp))
	}
	e.others.spaces = nil
	return errors.Join(errs...)
}

func (e *Engine) leave(sp *space) error {
	err := errors.Join(e.closeIn(sp), e.closePeers(sp))
	if sp.namespace != nil {
		err = errors.Join(err, sp.namespace.Close())
	}
	return err
}

// leftSpace is what is remembered of a namespace that was given up.
type leftSpace struct {
	cookie   uint64 // 0: the kernel gives none
	start    time.Time
	counters tcp.Counters
	at       time.Time
}

// maxLeft is how many of them are remembered.
const maxLeft = 1024

// leave remembers a namespace that is given up: one that is kept by a file, as
// `ip netns` does, may come back with processes, and its counters go on then.
func (o *others) leave(sp *space) {
	now := opened(&sp.counters)
	o.opened += now - min(now, sp.base)
	o.seen += sp.table.Counts().Opened
	if sp.counters.Len() == 0 {
		return // they were never read
	}
	if o.left == nil {
		o.left = make(map[uint64]leftSpace)
	}
	if len(o.left) >= maxLeft {
		var oldest uint64
		for id, l := range o.left {
			if old, ok := o.left[oldest]; !ok || l.at.Before(old.at) {
				oldest = id
			}
		}
		delete(o.left, oldest)
	}
	o.left[sp.place.Namespace] = leftSpace{cookie: sp.cookie, start: sp.start, counters: sp.counters, at: time.Now()}
}

// cameBack learns, from the first counters of a namespace, whether it is one that
// was given up. A kernel uses the inode of one that is gone for the next one at
// once. Its cookie is another one; where the kernel gives none, counters that are
// lower than they were are another namespace's.
func (o *others) cameBack(sp *space) {
	l, ok := o.left[sp.place.Namespace]
	if !ok {
		return
	}
	delete(o.left, sp.place.Namespace)
	if sp.cookie != l.cookie {
		return
	}
	for c := range tcp.NumCounters {
		before, had := l.counters.Get(c)
		if now, _ := sp.counters.Get(c); had && now < before {
			return
		}
	}
	sp.start = l.start
	sp.based, sp.base = true, opened(&l.counters)
}
