package receiver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/receiver"
	"go.uber.org/zap"

	"github.com/netpulse/tcpstatsreceiver/internal/group"
	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/otlp"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/table"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// maxDumps is how often a dump is made in one scrape if the kernel says that
// it was interrupted.
const maxDumps = 3

// scraper does what one scrape does: dump, attribute, write.
type scraper struct {
	cfg         *Config
	log         *zap.Logger
	next        consumer.Metrics
	telemetry   *telemetry
	order       table.Order
	filter      source.Filter
	narrow      *source.Filter // what the kernel may apply of it; nil: nothing
	counted     bool           // all sockets are to be counted in this scrape
	executables executables

	selector *source.Selector
	resolver *process.Resolver // nil if processes cannot be read, or nobody asks
	writer   *otlp.Writer

	own    *space
	others neighbours
	groups *group.Set  // nil if disabled
	ends   *group.Ends // nil if nobody asks

	// batches is the context of what the pipeline is handed. It outlives that of
	// the scrape, so that a shutdown does not tear a batch from the pipeline.
	batches      context.Context
	abandonBatch context.CancelFunc

	connectionsTier, groupsTier, systemTier tier

	// mu is held by a scrape, and by the watch of closes while it counts between
	// two scrapes.
	mu sync.Mutex

	boot     time.Time
	detailed bool                // connections are remembered with all that is known of them
	kept     []*table.Connection // reused: those that are written
	claims   []process.Claim     // reused
	denied   bool                // some sockets have no owner for want of permission
}

// due is what a scrape is to write.
type due struct{ connections, groups, system bool }

func newScraper(ctx context.Context, cfg *Config, set receiver.Settings, next consumer.Metrics, factories []source.Factory) (*scraper, error) {
	// Validate has refused all that cannot be parsed.
	order, errOrder := table.ParseOrder(cfg.Connections.OrderBy)
	filter, errFilter := cfg.Filter.sockets()
	executables, errExecutables := cfg.Filter.executables()
	require, errRequire := cfg.require()
	by, errBy := cfg.Groups.by()
	if err := errors.Join(errOrder, errFilter, errExecutables, errRequire, errBy); err != nil {
		return nil, err
	}
	now := time.Now()
	boot, err := process.BootTime()
	if err != nil {
		set.Logger.Warn("the host's boot time is not known: counters of connections that are older than the receiver start with it", zap.Error(err))
		boot = now
	}
	t, err := newTelemetry(set)
	if err != nil {
		return nil, err
	}
	s := &scraper{
		cfg:             cfg,
		log:             set.Logger,
		next:            next,
		telemetry:       t,
		order:           order,
		filter:          filter,
		executables:     executables,
		boot:            boot,
		writer:          otlp.NewWriter(cfg.MetricsBuilderConfig, set, boot),
		connectionsTier: newTier(cfg.Connections.Interval, cfg.CollectionInterval),
		groupsTier:      newTier(cfg.Groups.Interval, cfg.CollectionInterval),
		systemTier:      newTier(cfg.System.Interval, cfg.CollectionInterval),
	}
	s.batches, s.abandonBatch = context.WithCancel(context.Background())
	s.detailed = cfg.Connections.Enabled
	if cfg.Groups.Enabled {
		distributions := s.writer.Group(by, cfg.Groups.rttBounds())
		s.detailed = s.detailed || slices.ContainsFunc(distributions, func(d group.Distribution) bool { return d.Detailed })
		s.groups = group.NewSet(group.Config{
			By:             by,
			Limit:          cfg.Groups.Limit,
			PeerPrefixIPv4: cfg.Groups.PeerPrefix.IPv4,
			PeerPrefixIPv6: cfg.Groups.PeerPrefix.IPv6,
			Expiry:         cfg.Groups.Expiry,
			Distributions:  distributions,
		}, now)
		if s.writer.WantsEnds() {
			s.ends = group.NewEnds(now, cfg.Groups.rttBounds())
		}
	}
	if s.filter.Any() {
		s.narrow = &s.filter
	}
	s.own = s.newSpace(time.Time{})
	s.selector = source.NewSelector(factories, source.Choice{Name: cfg.Source, Require: require}, set.Logger, s.sourceChanged)
	if err := s.selector.Open(ctx, now); err != nil {
		s.abandonBatch()
		t.shutdown()
		return nil, err
	}
	s.followNamespaces()
	if cfg.Process.Attribution || s.others.followed {
		s.resolver, err = process.NewResolver(process.Options{RefreshInterval: s.refreshInterval(), Holders: openHolders(set.Logger)})
		if err != nil {
			set.Logger.Warn("sockets cannot be joined with their processes", zap.Error(err))
		}
	}
	return s, nil
}

// refreshInterval is a little less than configured: a tick that comes early would
// put a walk off by a whole one.
func (s *scraper) refreshInterval() time.Duration {
	return max(0, s.cfg.Process.RefreshInterval-s.cfg.CollectionInterval/2)
}

// close gives back what the scraper holds.
func (s *scraper) close() error {
	s.abandonBatch()
	s.endWatch(s.own)
	err := errors.Join(s.leaveAll(), s.selector.Close())
	if s.resolver != nil {
		err = errors.Join(err, s.resolver.Close())
	}
	s.telemetry.shutdown()
	return err
}

// sourceChanged forgets the connections: their identities are the other
// source's.
func (s *scraper) sourceChanged(from, to string) {
	for sp := range s.spaces() {
		sp.table.Reset()
	}
	if s.groups != nil {
		s.groups.Forget()
	}
	s.reopenOthers()
	s.watchSpace(s.own, s.selector.Current())
	s.telemetry.sourceChanged(from, to)
}

// scrape reads and writes what is due. What fails costs only its own part.
// Groups want a dump at every tick: the more there are, the fewer connections
// open and close unseen.
func (s *scraper) scrape(ctx context.Context, due due) {
	if !due.connections && !due.system && s.groups == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	readCtx, cancel := ctx, context.CancelFunc(func() {})
	if s.cfg.Timeout > 0 {
		readCtx, cancel = context.WithTimeout(ctx, s.cfg.Timeout)
	}
	defer cancel()
	s.selector.TryBetter(readCtx, time.Now())

	var errs []error
	errs = append(errs, s.findOthers(readCtx, time.Now()))
	if due.system {
		errs = append(errs, s.readCounters(readCtx))
	}
	if due.connections || s.groups != nil || s.wantsSockets() {
		// The counts of sockets in each state do not know of the filter.
		s.counted = due.system && s.cfg.Metrics.SystemNetworkConnectionCount.Enabled
		errs = append(errs, s.dump(readCtx), s.attribute(readCtx))
		for sp := range s.spaces() {
			s.countCloses(sp)
		}
	}
	if due.groups {
		errs = append(errs, s.writeGroups(ctx))
	}
	if due.connections {
		errs = append(errs, s.writeConnections(ctx))
	}
	if due.system {
		errs = append(errs, s.writeSystem(ctx))
	}
	if due.system && due.groups {
		s.tellUnseen(readCtx)
	}
	errs = append(errs, s.leaveEmptied())
	if err := errors.Join(errs...); err != nil && ctx.Err() == nil {
		s.log.Warn("the scrape is partial", zap.Error(err))
	}
}

// wantsSockets tells whether the host's own numbers need a dump.
func (s *scraper) wantsSockets() bool {
	return s.cfg.Metrics.SystemNetworkConnectionCount.Enabled || s.wantsListeners()
}

func (s *scraper) wantsListeners() bool {
	return s.cfg.System.Enabled && (s.cfg.Metrics.TCPListenerQueueUsage.Enabled || s.cfg.Metrics.TCPListenerQueueLimit.Enabled)
}

// dump reads the sockets of every network namespace into its table.
func (s *scraper) dump(ctx context.Context) error {
	defer s.telemetry.phase(s.selector, metadata.AttributePhaseDump)()
	var err error
	s.own.whole, err = s.dumpOwn(ctx)
	err = errors.Join(err, s.dumpOthers(ctx))
	if src := s.selector.Current(); src != nil {
		var seen int64
		for sp := range s.spaces() {
			for _, n := range sp.states {
				seen += n
			}
		}
		s.telemetry.sockets(src.Name(), seen)
	}
	return err
}

// dumpOwn reads the collector's own network namespace. If the source is lost it
// goes on with the next one. whole tells whether every socket was visited, save
// for those that err says could not be read.
func (s *scraper) dumpOwn(ctx context.Context) (whole bool, err error) {
	for {
		src := s.selector.Current()
		if src == nil {
			return false, errors.New("no source of TCP sockets is open")
		}
		whole, err := s.dumpFrom(ctx, s.own, src)
		switch {
		case whole:
			s.selector.Succeeded()
			return true, err
		case ctx.Err() != nil:
			return false, err
		case !s.selector.Failed(ctx, time.Now(), err):
			return false, err
		}
	}
}

// dumpFrom makes one dump, and another if the kernel says that it was
// interrupted.
func (s *scraper) dumpFrom(ctx context.Context, sp *space, src source.Source) (whole bool, err error) {
	visit := func(socket *tcp.Socket) error { return s.visit(sp, socket) }
	if n, ok := src.(source.Narrower); ok {
		if err := n.Narrow(s.narrow, s.counted); err != nil {
			return false, fmt.Errorf("source %s: %w", src.Name(), err)
		}
	}
	for range maxDumps {
		sp.states = otlp.States{}
		sp.table.Begin(time.Now())
		err = src.Sockets(ctx, visit)
		if !errors.Is(err, source.ErrInterrupted) {
			break
		}
	}
	complete := source.Whole(err)
	sp.table.End(complete)
	sp.counted = s.counted || s.narrow == nil
	s.telemetry.sourceErrors(src.Name(), err)
	if complete {
		return true, nil
	}
	var partial *source.PartialError
	whole = errors.Is(err, source.ErrInterrupted) || errors.As(err, &partial)
	return whole, fmt.Errorf("source %s: %w", src.Name(), err)
}

// visit counts a socket and, if it is wanted, takes it into the table. What is
// filtered out costs neither a place there nor a look for its process. Nor does
// a socket that was never connected, which FreeBSD lists, too.
func (s *scraper) visit(sp *space, socket *tcp.Socket) error {
	sp.states[socket.State]++
	wanted := s.cfg.Connections.Enabled || s.groups != nil
	if socket.State == tcp.Closed && socket.Peer.Port() == 0 {
		return nil
	}
	if socket.State == tcp.Listen {
		wanted = s.wantsListeners() || s.groups != nil
		if s.groups != nil {
			s.groups.Listening(socket.ID.Namespace, socket.Local.Port())
		}
	}
	if wanted && s.filter.Match(socket) {
		sp.table.Observe(socket)
	}
	return nil
}

// maxSpareClaims is how many claims are kept room for: the first scrape claims
// every socket, the later ones those that are new.
const maxSpareClaims = 4096

// attribute joins the sockets in the tables with their processes.
func (s *scraper) attribute(ctx context.Context) error {
	if s.resolver == nil || !s.cfg.Process.Attribution {
		return nil
	}
	defer s.telemetry.phase(s.selector, metadata.AttributePhaseAttribute)()
	now := time.Now()
	stale, errStale := s.resolver.Stale(ctx, now)
	claims := s.claims[:0]
	var freed []process.Owner
	for sp := range s.spaces() {
		claims = sp.table.Claims(claims, func(p *process.Process) bool { return stale[p] })
		freed = append(freed, sp.table.Freed()...)
	}
	stats, errResolve := s.resolver.Resolve(ctx, now, freed, claims)
	clear(claims)
	if s.claims = claims; cap(claims) > maxSpareClaims {
		s.claims = nil
	}
	unattributed := make(map[process.Reason]int64, 3)
	for sp := range s.spaces() {
		clear(sp.owners)
		for c := range sp.table.All() {
			switch {
			case c.Owner.Process == nil:
				unattributed[c.Reason]++
				if c.Reason == process.ReasonNoOwner && sp.table.Awaits(c) {
					c.Reason = process.ReasonPending // its group waits for it
				}
			case c.State == tcp.Listen:
				sp.owners[c.Local.Port()] = c.Owner.Process
			}
		}
	}
	s.telemetry.unattributed(unattributed)
	if denied := unattributed[process.ReasonNoPermission] > 0; stats.Walked && denied != s.denied {
		s.denied = denied
		if denied {
			s.log.Warn("some sockets have no owner because the descriptors of some processes may not be read ("+process.Remedy+")",
				zap.Int64("sockets", unattributed[process.ReasonNoPermission]),
				zap.Int("processes_denied", stats.Denied), zap.Int("processes_read", stats.Processes), zap.Bool("processes_hidden", stats.Hidden))
		} else {
			s.log.Info("no socket lacks its owner for want of permission any more")
		}
	}
	if err := errors.Join(errStale, errResolve); err != nil {
		return fmt.Errorf("join sockets with processes: %w", err)
	}
	return nil
}

// wanted tells whether the owner of a connection or listener passes the filter.
func (s *scraper) wanted(c *table.Connection) bool {
	if !s.executables.any() {
		return true
	}
	if c.Owner.Process == nil {
		return s.executables.match("")
	}
	return s.executables.match(c.Owner.Process.Executable)
}
