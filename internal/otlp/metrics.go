// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/receiverhelper"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/netpulse/tcpstatsreceiver/internal/beneath"
	"github.com/netpulse/tcpstatsreceiver/internal/dns"
	"github.com/netpulse/tcpstatsreceiver/internal/engine"
	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/group"
	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/netns"
	"github.com/netpulse/tcpstatsreceiver/internal/table"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// MetricsConfig says what metrics are written, and when.
type MetricsConfig struct {
	metadata.MetricsBuilderConfig
	// Connections, Groups and System are disabled where their Every is 0.
	Connections ConnectionsConfig
	Groups      GroupsConfig
	System      SystemConfig
	// Lookups are counted where a metric of them is enabled.
	Lookups group.LookupsConfig
	// ProcessOnPoints puts what is known of the process of a connection or listener on
	// each of its points, not on a resource of its own.
	ProcessOnPoints bool
	// Beneath reads what is wanted of what the host counts beneath TCP.
	Beneath func(ctx context.Context, want beneath.Parts) (beneath.Numbers, error)
	// Boot is when the host was started.
	Boot time.Time
	// Findings are counted by whoever has them reported; nil: there are none.
	Findings *Findings

	Receiver  receiver.Settings
	Next      consumer.Metrics
	Telemetry *metadata.TelemetryBuilder
}

// ConnectionsConfig says which connections get series of their own.
type ConnectionsConfig struct {
	Every int64 // ticks
	Limit int   // 0: all
	// States are those that the user asked for by name.
	States    []tcp.State
	OrderBy   table.Order
	BatchSize int
	// Unchanged is how many ticks a connection with which nothing happens is not
	// written for, at most; 0: it is written like every other.
	Unchanged int64
	// PeerAttributes are what their points have of the other end, where it is known.
	PeerAttributes []group.Attribute
}

// GroupsConfig says how connections are grouped.
type GroupsConfig struct {
	Every int64 // ticks
	group.Config
	// RTTBounds, in seconds, are the buckets of times; without them, all histograms
	// are exponential.
	RTTBounds []float64
}

// SystemConfig says how often the host's own numbers are written.
type SystemConfig struct {
	Every int64 // ticks
}

// Metrics writes the metrics of each scrape to a pipeline. It is a view of an
// engine, and listens to it with its groups.
type Metrics struct {
	cfg       MetricsConfig
	writer    *Writer
	obsreport *receiverhelper.ObsReport
	groups    *group.Set     // nil if disabled
	ends      *group.Ends    // nil if nobody asks
	lookups   *group.Lookups // likewise
	detailed  bool

	connectionsTier, groupsTier, systemTier tier
	due                                     due // at the tick under way
	kept                                    []*table.Connection
	written                                 written
	// spaces are the other namespaces that were written last, by inode.
	spaces map[uint64]lastSpace
	// wantsBeneath are the parts of what lies beneath TCP of which a metric is enabled.
	wantsBeneath  beneath.Parts
	beneathFailed bool
}

// due is what is written at a tick.
type due struct{ connections, groups, system bool }

// NewMetrics returns a view that is not attached yet.
func NewMetrics(cfg MetricsConfig, now time.Time) (*Metrics, error) {
	obsreport, err := receiverhelper.NewObsReport(receiverhelper.ObsReportSettings{ReceiverID: cfg.Receiver.ID, ReceiverCreateSettings: cfg.Receiver})
	if err != nil {
		return nil, fmt.Errorf("report on metrics: %w", err)
	}
	m := &Metrics{
		cfg: cfg, obsreport: obsreport, writer: NewWriter(cfg.MetricsBuilderConfig, cfg.Receiver, cfg.Boot),
		connectionsTier: tier{every: cfg.Connections.Every}, groupsTier: tier{every: cfg.Groups.Every}, systemTier: tier{every: cfg.System.Every},
	}
	m.writer.processOnPoints, m.writer.peerAttributes = cfg.ProcessOnPoints, attributesOf(cfg.Connections.PeerAttributes)
	m.written.peers = m.writer.peerAttributes
	if cfg.Connections.Every > 0 {
		m.written.every = uint64(cfg.Connections.Unchanged / cfg.Connections.Every)
	}
	if cfg.Beneath != nil {
		m.wantsBeneath = beneathParts(&cfg.Metrics)
	}
	if wantsLookups(&cfg.Metrics) && cfg.System.Every > 0 {
		m.lookups = group.NewLookups(cfg.Lookups, now)
	}
	m.detailed = cfg.Connections.Every > 0
	if cfg.Groups.Every > 0 {
		config := cfg.Groups.Config
		config.Distributions = m.writer.Group(config.By, cfg.Groups.RTTBounds)
		m.detailed = m.detailed || slices.ContainsFunc(config.Distributions, func(d group.Distribution) bool { return d.Detailed })
		m.groups = group.NewSet(config, now)
		if m.writer.WantsEnds() {
			m.ends = group.NewEnds(now, cfg.Groups.RTTBounds)
		}
	}
	return m, nil
}

// Detailed reports whether the view wants all that is known of each connection.
func (m *Metrics) Detailed() bool { return m.detailed }

// Exact reports whether the view writes numbers of connections that change while
// nothing is sent or received, and that only reading them gives: for how long each was
// limited by its peer or the network.
func (m *Metrics) Exact() bool {
	return m.cfg.Connections.Every > 0 && m.cfg.Metrics.TCPConnectionTime.Enabled
}

// AwaitsProcesses reports whether groups want a connection's process before they
// count it.
func (m *Metrics) AwaitsProcesses() bool {
	return m.groups != nil && slices.ContainsFunc(m.cfg.Groups.By, group.Attribute.OfProcess)
}

// WantsPeerProcesses reports whether the view writes which process has the other end
// of a connection.
func (m *Metrics) WantsPeerProcesses() bool {
	return m.groups != nil && slices.ContainsFunc(m.cfg.Groups.By, group.Attribute.OfPeerProcess) ||
		m.cfg.Connections.Every > 0 && slices.ContainsFunc(m.cfg.Connections.PeerAttributes, group.Attribute.OfPeerProcess)
}

// Follows are the counters of connections that it wants followed.
func (m *Metrics) Follows() []event.Kind { return m.writer.Follows() }

// Listeners are what is to hear of connections.
func (m *Metrics) Listeners() (all []event.Listener) {
	if m.groups != nil {
		all = append(all, m.groups)
	}
	if m.ends != nil {
		all = append(all, m.ends)
	}
	return all
}

// Observers are what is to hear of DNS lookups.
func (m *Metrics) Observers() (all []dns.Observer) {
	if m.lookups != nil {
		all = append(all, m.lookups.Lookup)
	}
	return all
}

// Needs implements engine.View.
func (m *Metrics) Needs(tick int64) engine.Needs {
	m.due = due{
		connections: m.connectionsTier.isDue(tick),
		groups:      m.groupsTier.isDue(tick),
		system:      m.systemTier.isDue(tick),
	}
	return engine.Needs{
		Sockets:   m.due.connections || m.due.groups,
		Listeners: m.due.system && m.wantsListeners(),
		States:    m.due.system && m.cfg.Metrics.SystemNetworkConnectionCount.Enabled,
		Counters:  m.due.system,
	}
}

func (m *Metrics) wantsListeners() bool {
	return m.cfg.Metrics.TCPListenerQueueUsage.Enabled || m.cfg.Metrics.TCPListenerQueueLimit.Enabled || m.cfg.Metrics.TCPListenerDrops.Enabled
}

// Scrape implements engine.View.
func (m *Metrics) Scrape(s *engine.Scrape) (send func(context.Context) error) {
	m.connectionsTier.done(s.Tick, m.due.connections)
	m.groupsTier.done(s.Tick, m.due.groups)
	m.systemTier.done(s.Tick, m.due.system)
	m.writer.locate, m.writer.complete = s.Place, s.Complete
	var sends []func(context.Context) error
	if m.due.groups {
		sends = append(sends, m.sendAll("groups", m.writeGroups(s)))
	}
	if m.due.connections {
		sends = append(sends, m.sendConnections(s))
	}
	if m.due.system {
		sends = append(sends, m.sendAll("the host's numbers", m.writeSystem(s)))
		if m.wantsBeneath != 0 {
			sends = append(sends, m.sendBeneath)
		}
		if m.lookups != nil {
			sends = append(sends, m.sendAll("DNS lookups", []pmetric.Metrics{m.writer.Lookups(m.lookups, s.Now)}))
		}
	}
	return func(ctx context.Context) error {
		var errs []error
		for _, send := range sends {
			errs = append(errs, send(ctx))
		}
		return errors.Join(errs...)
	}
}

func (m *Metrics) writeGroups(s *engine.Scrape) []pmetric.Metrics {
	defer m.phase(s, metadata.AttributePhaseGroup)()
	m.groups.Collect(s.Now)
	ctx := context.Background()
	m.cfg.Telemetry.ReceiverTcpstatsGroups.Record(ctx, int64(m.groups.Len()))
	m.cfg.Telemetry.ReceiverTcpstatsOverflowedConnections.Record(ctx, m.groups.Overflowed())
	batches := m.writer.Groups(m.groups, s.Complete, s.Now)
	m.groups.End(s.Complete)
	return batches
}

// namespacesAtOnce is how many namespaces a batch has: some 2000 points.
const namespacesAtOnce = 50

func (m *Metrics) writeSystem(s *engine.Scrape) (batches []pmetric.Metrics) {
	defer m.phase(s, metadata.AttributePhaseSystem)()
	if m.wantsListeners() {
		for c := range s.Listeners() {
			m.writer.AddListener(c)
		}
	}
	n, spaces := 0, make(map[uint64]lastSpace, len(m.spaces))
	// batch is where the next namespace goes.
	batch := func() pmetric.Metrics {
		if n%namespacesAtOnce == 1 {
			batches = append(batches, pmetric.NewMetrics())
		}
		return batches[len(batches)-1]
	}
	for space := range s.Spaces() {
		if n == 0 {
			md := m.writer.System(space.Counters, space.States, s.Now)
			if m.cfg.Findings != nil {
				m.writer.Findings(md, m.cfg.Findings, s.Now)
			}
			if m.ends != nil {
				m.writer.Ends(md, m.ends, s.Now)
			}
			batches = append(batches, md)
		} else {
			m.writer.Namespace(batch(), space.Place, space.Start, space.Counters, space.States, s.Now)
			last := lastSpace{place: space.Place, start: space.Start, counters: *space.Counters}
			if space.States != nil {
				last.states, last.counted = *space.States, true
			}
			spaces[space.Namespace] = last
		}
		n++
	}
	for namespace, last := range m.spaces {
		if _, ok := spaces[namespace]; ok || n == 0 {
			continue
		}
		m.writer.NamespaceEnded(batch(), last.place, last.start, &last.counters, last.known(), s.Now)
		n++
	}
	m.spaces = spaces
	return batches
}

// lastSpace are the numbers of a namespace that were written last.
type lastSpace struct {
	place    netns.Place
	start    time.Time
	counters tcp.Counters
	states   tcp.States
	counted  bool // the states are known
}

func (s *lastSpace) known() *tcp.States {
	if !s.counted {
		return nil
	}
	return &s.states
}

// sendAll sends batches that have been built. One that is refused does not cost
// the others.
func (m *Metrics) sendAll(what string, batches []pmetric.Metrics) func(context.Context) error {
	return func(ctx context.Context) error {
		var errs []error
		for i, md := range batches {
			batches[i] = pmetric.Metrics{} // what was taken need not be kept
			if err := m.consume(ctx, md); err != nil {
				errs = append(errs, fmt.Errorf("hand %s to the pipeline: %w", what, err))
			}
		}
		return errors.Join(errs...)
	}
}

// consume hands a batch to the pipeline and waits until it took it.
func (m *Metrics) consume(ctx context.Context, md pmetric.Metrics) error {
	points := md.DataPointCount()
	if points == 0 {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	apart(md)
	op := m.obsreport.StartMetricsOp(ctx)
	err := m.cfg.Next.ConsumeMetrics(op, md)
	m.obsreport.EndMetricsOp(op, metadata.Type.String(), points, err)
	return err
}

func (m *Metrics) dropped(reason metadata.AttributeReason, connections int) {
	if connections > 0 {
		m.cfg.Telemetry.ReceiverTcpstatsDroppedSeries.Add(context.Background(), int64(connections),
			metric.WithAttributes(attribute.String("reason", reason.String())))
	}
}

// phase measures a part of the work on a scrape, from now to the call of what it
// returns.
func (m *Metrics) phase(s *engine.Scrape, phase metadata.AttributePhase) (stop func()) {
	began, source := time.Now(), s.Source
	return func() {
		m.cfg.Telemetry.ReceiverTcpstatsScrapeDuration.Record(context.Background(), time.Since(began).Seconds(),
			metric.WithAttributes(attribute.String("source", source), attribute.String("phase", phase.String())))
	}
}

// tier is something that is written at every so many ticks.
type tier struct {
	every int64 // ticks; 0: never
	last  int64 // the period in which it was written last, from 1
}

// isDue reports whether the tick, counted from 0, is the first of a period.
// Periods whose first tick was missed are due at a later one. At the last tick all
// that there is is due.
func (t *tier) isDue(tick int64) bool {
	return t.every > 0 && (tick == engine.FinalTick || tick/t.every+1 != t.last)
}

// done notes that it was written at a tick.
func (t *tier) done(tick int64, written bool) {
	if written {
		t.last = tick/t.every + 1
	}
}
