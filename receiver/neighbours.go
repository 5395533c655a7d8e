package receiver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.uber.org/zap"

	"github.com/netpulse/tcpstatsreceiver/internal/netns"
	"github.com/netpulse/tcpstatsreceiver/internal/otlp"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
)

// procDir is where the processes of the namespaces are found.
const procDir = "/proc"

// neighbours are the network namespaces beside the collector's own.
type neighbours struct {
	followed bool // they are wanted and can be read
	own      uint64
	spaces   []*space // by inode

	// found is when they were last looked for. What is found later was not there
	// then: its processes, which can be looked at now, could be then.
	found  time.Time
	denied bool // that some processes cannot was logged

	opened uint64 // connections, by the kernel's count, in namespaces that are gone
}

// followNamespaces learns whether other namespaces are wanted and can be read.
func (s *scraper) followNamespaces() {
	if s.cfg.NetworkNamespaces != allNamespaces {
		return
	}
	own, err := netns.Own()
	if err == nil {
		err = netns.Supported()
	}
	if err != nil {
		s.log.Warn("network_namespaces: only the collector's own network namespace is read", zap.Error(err))
		return
	}
	s.others.followed, s.others.own = true, own
}

// findOthers finds the namespaces that came and those that lost their last
// process, no more often than processes are walked.
func (s *scraper) findOthers(ctx context.Context, now time.Time) error {
	if !s.others.followed || !s.others.found.IsZero() && now.Sub(s.others.found) < s.refreshInterval() {
		return nil
	}
	found, denied, err := netns.Find(ctx, procDir)
	if err != nil {
		return err
	}
	if some := denied > 0; some != s.others.denied {
		s.others.denied = some
		if some {
			s.log.Warn("some network namespaces may be missing because not every process may be looked at (it takes CAP_SYS_PTRACE, see README, Permissions)",
				zap.Int("processes_denied", denied))
		}
	}
	since := s.others.found
	s.others.found = now

	var errs []error
	for _, sp := range s.others.spaces {
		sp.emptied = !slices.ContainsFunc(found, func(f netns.Found) bool { return f.ID == sp.place.Namespace })
	}
	for _, f := range found {
		if f.ID == s.others.own {
			continue
		}
		i, have := slices.BinarySearchFunc(s.others.spaces, f.ID, func(sp *space, id uint64) int {
			return cmp.Compare(sp.place.Namespace, id)
		})
		if !have {
			sp, err := s.enter(f, since)
			if errors.Is(err, netns.ErrGone) {
				continue
			}
			if err != nil {
				errs = append(errs, err)
				continue
			}
			s.others.spaces = slices.Insert(s.others.spaces, i, sp)
		}
		s.describe(now, s.others.spaces[i], f)
	}
	if s.resolver != nil && !s.cfg.Process.Attribution {
		// Nobody else makes it forget processes that have ended.
		if _, err := s.resolver.Stale(ctx, now); err != nil {
			errs = append(errs, err)
		}
	}
	s.placesChanged()
	return firstOf(len(found), "network namespaces could not be entered", errs)
}

// enter opens a namespace through one of its processes.
func (s *scraper) enter(f netns.Found, since time.Time) (*space, error) {
	err := netns.ErrGone
	for _, pid := range f.PIDs {
		var ns *netns.Namespace
		if ns, err = netns.Open(procDir, pid, f.ID); err == nil {
			sp := s.newSpace(since)
			sp.namespace, sp.place.Namespace = ns, f.ID
			sp.based = !since.IsZero() // nothing was opened before
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
func (s *scraper) describe(now time.Time, sp *space, f netns.Found) {
	sp.place.Name = f.Name
	if s.resolver == nil || sp.place.ContainerID != "" && !sp.sandboxed {
		return
	}
	for _, pid := range f.PIDs {
		p, err := s.resolver.Describe(now, pid)
		if err != nil || p.ContainerID == "" {
			continue // it has ended, or is in no container
		}
		sp.place.ContainerID, sp.sandboxed = p.ContainerID, p.Executable == sandbox
		if !sp.sandboxed {
			return
		}
	}
}

// placesChanged tells the writer which namespaces there are.
func (s *scraper) placesChanged() {
	places := make(map[uint64]otlp.Place, len(s.others.spaces))
	for _, sp := range s.others.spaces {
		places[sp.place.Namespace] = sp.place
	}
	s.writer.Places(places)
	s.telemetry.namespaces(1 + len(s.others.spaces))
}

// dumpOthers reads the sockets of the other namespaces.
func (s *scraper) dumpOthers(ctx context.Context) error {
	var errs []error
	for _, sp := range s.others.spaces {
		var err error
		if sp.whole, err = s.dumpOther(ctx, sp); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", sp, err))
		}
	}
	return firstOf(len(s.others.spaces), "network namespaces could not be read, or not in whole", errs)
}

func (s *scraper) dumpOther(ctx context.Context, sp *space) (whole bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	src, err := s.sourceOf(ctx, sp)
	if src == nil {
		return false, err
	}
	return s.dumpFrom(ctx, sp, src)
}

// sourceOf returns the source that reads a namespace, which it opens where it is
// not open yet. It is nil, without an error, if the collector's own namespace has
// none, of which its dump tells.
func (s *scraper) sourceOf(ctx context.Context, sp *space) (source.Source, error) {
	if own := s.selector.Current(); sp == s.own || own == nil {
		return own, nil
	}
	if sp.source == nil {
		if err := s.openIn(ctx, sp); err != nil {
			return nil, err
		}
	}
	return sp.source, nil
}

// openIn opens a source in another namespace: the kind that reads the
// collector's own, or the next that can.
func (s *scraper) openIn(ctx context.Context, sp *space) error {
	factory, ok := s.selector.Best(source.Namespaces)
	if !ok {
		return fmt.Errorf("source %s cannot read other network namespaces, and there is none after it", s.selector.Current().Name())
	}
	var src source.Source
	err := sp.namespace.Do(func() (err error) {
		src, err = factory.Open(ctx)
		return err
	})
	if err != nil {
		s.telemetry.sourceError(factory.Name, source.ErrorRead, 1)
		return fmt.Errorf("open source %s: %w", factory.Name, err)
	}
	sp.source = source.Inside(sp.namespace.Do, src)
	s.watchSpace(sp, sp.source)
	return nil
}

// reopenOthers makes the next dumps open the source that is now in use.
func (s *scraper) reopenOthers() {
	for _, sp := range s.others.spaces {
		if err := s.closeIn(sp); err != nil {
			s.log.Warn("closing the source of "+sp.String(), zap.Error(err))
		}
	}
}

func (s *scraper) closeIn(sp *space) error {
	s.endWatch(sp)
	if sp.source == nil {
		return nil
	}
	src := sp.source
	sp.source = nil
	return src.Close()
}

// writeOthers writes the numbers of the other namespaces.
func (s *scraper) writeOthers(ctx context.Context) error {
	const atOnce = 50 // namespaces in a batch: some 2000 points
	var errs []error
	for spaces := range slices.Chunk(s.others.spaces, atOnce) {
		md := pmetric.NewMetrics()
		for _, sp := range spaces {
			if sp.source == nil {
				continue
			}
			s.writer.Namespace(md, sp.place.Namespace, &sp.counters, sp.known(), time.Now())
		}
		if err := s.send(ctx, md); err != nil {
			errs = append(errs, fmt.Errorf("hand the numbers of network namespaces to the pipeline: %w", err))
		}
	}
	return errors.Join(errs...)
}

// leaveEmptied gives up the namespaces without processes: while they are open
// the kernel keeps them and their interfaces. Whatever connections were left
// there have ended.
func (s *scraper) leaveEmptied() error {
	var errs []error
	left := len(s.others.spaces)
	s.others.spaces = slices.DeleteFunc(s.others.spaces, func(sp *space) bool {
		if sp.emptied {
			s.countCloses(sp)
			now := opened(&sp.counters)
			s.others.opened += now - min(now, sp.base)
			errs = append(errs, s.leave(sp))
			sp.table.Begin(time.Now())
			sp.table.End(true)
		}
		return sp.emptied
	})
	if len(s.others.spaces) < left {
		s.placesChanged()
	}
	return errors.Join(errs...)
}

func (s *scraper) leaveAll() error {
	var errs []error
	for _, sp := range s.others.spaces {
		errs = append(errs, s.leave(sp))
	}
	s.others.spaces = nil
	return errors.Join(errs...)
}

func (s *scraper) leave(sp *space) error {
	return errors.Join(s.closeIn(sp), sp.namespace.Close())
}

// firstOf makes one error of those of some namespaces.
func firstOf(all int, what string, errs []error) error {
	switch {
	case len(errs) == 0:
		return nil
	case all == 1:
		return errs[0]
	}
	return fmt.Errorf("%d of %d %s, the first: %w", len(errs), all, what, errs[0])
}
