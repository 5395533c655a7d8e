package receiver

import (
	"context"
	"errors"
	"fmt"
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
	executables executables

	selector *source.Selector
	narrowed source.Source // the one that has the filter
	table    *table.Table
	resolver *process.Resolver // nil without attribution
	writer   *otlp.Writer

	groups *group.Set // nil if disabled

	// batches is the context of what the pipeline is handed. It outlives that of
	// the scrape, so that a shutdown does not tear a batch from the pipeline.
	batches      context.Context
	abandonBatch context.CancelFunc

	connectionsTier, groupsTier, systemTier tier

	// mu is held by a scrape, and by the watch of closes while it counts between
	// two scrapes.
	mu     sync.Mutex
	watch  *closeWatch                 // nil if the source is not told of closes, or nobody asks
	closes []tcp.Socket                // reused: the notices that were counted last
	owners map[uint16]*process.Process // who listens on each port, and so accepts there

	states otlp.States         // of the last dump
	kept   []*table.Connection // reused: those that are written
	denied bool                // some sockets have no owner for want of permission
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
		owners:          make(map[uint16]*process.Process),
		writer:          otlp.NewWriter(cfg.MetricsBuilderConfig, set, boot),
		connectionsTier: newTier(cfg.Connections.Interval, cfg.CollectionInterval),
		groupsTier:      newTier(cfg.Groups.Interval, cfg.CollectionInterval),
		systemTier:      newTier(cfg.System.Interval, cfg.CollectionInterval),
	}
	s.batches, s.abandonBatch = context.WithCancel(context.Background())
	s.table = table.New(boot, s.closed)
	if cfg.Groups.Enabled {
		s.groups = group.NewSet(group.Config{
			By:             by,
			Limit:          cfg.Groups.Limit,
			PeerPrefixIPv4: cfg.Groups.PeerPrefix.IPv4,
			PeerPrefixIPv6: cfg.Groups.PeerPrefix.IPv6,
			Expiry:         cfg.Groups.Expiry,
			Distributions:  s.writer.Group(by, cfg.Groups.rttBounds()),
		}, now)
	}
	s.selector = source.NewSelector(factories, source.Choice{Name: cfg.Source, Require: require}, set.Logger, s.sourceChanged)
	if err := s.selector.Open(ctx, now); err != nil {
		s.abandonBatch()
		t.shutdown()
		return nil, err
	}
	if cfg.Process.Attribution {
		// A tick that comes a little early would put a walk off by a whole one.
		refresh := max(0, cfg.Process.RefreshInterval-cfg.CollectionInterval/2)
		s.resolver, err = process.NewResolver(process.Options{RefreshInterval: refresh, Holders: openHolders(set.Logger)})
		if err != nil {
			set.Logger.Warn("sockets cannot be joined with their processes", zap.Error(err))
		}
	}
	return s, nil
}

// close gives back what the scraper holds.
func (s *scraper) close() error {
	s.abandonBatch()
	s.endWatch()
	err := s.selector.Close()
	if s.resolver != nil {
		err = errors.Join(err, s.resolver.Close())
	}
	s.telemetry.shutdown()
	return err
}

// sourceChanged forgets the connections: their identities are the other
// source's.
func (s *scraper) sourceChanged(from, to string) {
	s.table.Reset()
	if s.groups != nil {
		s.groups.Forget()
	}
	s.watchSource()
	s.telemetry.sourceChanged(from, to)
}

// closed counts the end of a connection in its group.
func (s *scraper) closed(c *table.Connection) {
	if s.groups == nil || c.State == tcp.Listen {
		return
	}
	if c.Owner.Process == nil && c.Group == 0 {
		c.Owner.Process = s.ownerOf(c)
	}
	if c.Group != 0 || s.wanted(c) {
		s.groups.Close(c)
	}
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
	var states *otlp.States
	if due.connections || s.groups != nil || s.wantsSockets() {
		whole, err := s.dump(readCtx)
		if whole {
			states = &s.states
		}
		errs = append(errs, err, s.attribute(readCtx))
		s.countCloses()
	}
	if due.groups {
		errs = append(errs, s.writeGroups(ctx))
	}
	if due.connections {
		errs = append(errs, s.writeConnections(ctx))
	}
	if due.system {
		errs = append(errs, s.writeSystem(ctx, readCtx, states))
	}
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

// dump reads the sockets into the table. If the source is lost it goes on with
// the next one. whole tells whether every socket was visited, save for those
// that err says could not be read.
func (s *scraper) dump(ctx context.Context) (whole bool, err error) {
	defer s.telemetry.phase(s.selector, metadata.AttributePhaseDump)()
	for {
		src := s.selector.Current()
		if src == nil {
			return false, errors.New("no source of TCP sockets is open")
		}
		err := s.dumpFrom(ctx, src)
		s.telemetry.sourceErrors(src.Name(), err)
		var partial *source.PartialError
		switch {
		case err == nil, errors.Is(err, source.ErrInterrupted), errors.As(err, &partial):
			s.selector.Succeeded()
			return true, wrap(src, err)
		case ctx.Err() != nil:
			return false, wrap(src, err)
		case !s.selector.Failed(ctx, time.Now(), err):
			return false, wrap(src, err)
		}
	}
}

func wrap(src source.Source, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("source %s: %w", src.Name(), err)
}

// dumpFrom makes one dump, and another if the kernel says that it was
// interrupted.
func (s *scraper) dumpFrom(ctx context.Context, src source.Source) error {
	if err := s.narrow(src); err != nil {
		return err
	}
	var err error
	for range maxDumps {
		s.states = otlp.States{}
		s.table.Begin(time.Now())
		err = src.Sockets(ctx, s.visit)
		if !errors.Is(err, source.ErrInterrupted) {
			break
		}
	}
	s.table.End(err == nil)
	var seen int64
	for _, n := range s.states {
		seen += n
	}
	s.telemetry.sockets(src.Name(), seen)
	return err
}

// narrow hands the filter to a source that can make use of it, once.
func (s *scraper) narrow(src source.Source) error {
	narrower, ok := src.(source.Narrower)
	if !ok || src == s.narrowed || s.filter.IsZero() {
		return nil
	}
	if err := narrower.Narrow(s.filter); err != nil {
		return err
	}
	s.narrowed = src
	return nil
}

// visit counts a socket and, if it is wanted, takes it into the table. What is
// filtered out costs neither a place there nor a look for its process.
func (s *scraper) visit(socket *tcp.Socket) error {
	s.states[socket.State]++
	wanted := s.cfg.Connections.Enabled || s.groups != nil
	if socket.State == tcp.Listen {
		wanted = s.wantsListeners() || s.groups != nil
		if s.groups != nil {
			s.groups.Listening(socket.Local.Port())
		}
	}
	if wanted && s.filter.Match(socket) {
		s.table.Observe(socket)
	}
	return nil
}

// attribute joins the sockets in the table with their processes.
func (s *scraper) attribute(ctx context.Context) error {
	if s.resolver == nil {
		return nil
	}
	defer s.telemetry.phase(s.selector, metadata.AttributePhaseAttribute)()
	now := time.Now()
	stale, errStale := s.resolver.Stale(ctx, now)
	claims := s.table.Claims(func(p *process.Process) bool { return stale[p] })
	stats, errResolve := s.resolver.Resolve(ctx, now, s.table.Freed(), claims)
	unattributed := make(map[process.Reason]int64, 3)
	clear(s.owners)
	for c := range s.table.All() {
		switch {
		case c.Owner.Process == nil:
			unattributed[c.Reason]++
			if c.Reason == process.ReasonNoOwner && s.table.Awaits(c) {
				c.Reason = process.ReasonPending // its group waits for it
			}
		case c.State == tcp.Listen:
			s.owners[c.Local.Port()] = c.Owner.Process
		}
	}
	s.telemetry.unattributed(unattributed)
	if denied := unattributed[process.ReasonNoPermission] > 0; stats.Walked && denied != s.denied {
		s.denied = denied
		if denied {
			s.log.Warn("some sockets have no owner because the descriptors of some processes may not be read "+
				"(it takes CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, see README, Permissions)",
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
