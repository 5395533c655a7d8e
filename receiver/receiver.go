// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/receiver"
	"go.uber.org/zap"

	"github.com/netpulse/tcpstatsreceiver/internal/engine"
	"github.com/netpulse/tcpstatsreceiver/internal/group"
	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/otlp"
	"github.com/netpulse/tcpstatsreceiver/internal/page"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/table"
)

// tcpStats is the running receiver: an engine, and what makes metrics and records of
// it.
//
// It does not use the collector's scraper controller, which takes all metrics
// of a scrape as one batch: a hundred thousand connections are far more than
// one request can carry.
type tcpStats struct {
	cfg       *Config
	set       receiver.Settings
	next      consumer.Metrics // nil: it stands in no metrics pipeline
	nextLogs  consumer.Logs    // nil: it stands in no logs pipeline
	logsSet   receiver.Settings
	factories []source.Factory

	telemetry *metadata.TelemetryBuilder
	engine    *engine.Engine
	view      *otlp.Metrics // nil without metrics
	records   *records      // nil without logs
	page      *page.Page    // nil: none

	// counted are the findings by rule, pageFindings those for the page, findingsTo
	// where they become records; nil: nowhere.
	counted      *otlp.Findings
	pageFindings chan page.Finding
	findingsTo   atomic.Pointer[records]
}

func newTCPStats(cfg *Config, set receiver.Settings, next consumer.Metrics, factories []source.Factory) *tcpStats {
	return &tcpStats{cfg: cfg, set: set, next: next, factories: factories}
}

// Start implements component.Component. It fails if no source opens that meets
// the configuration. On a system for which there is no source yet it says so
// and reads nothing, so that one configuration can serve a mixed fleet.
func (r *tcpStats) Start(ctx context.Context, host component.Host) error {
	if len(r.factories) == 0 {
		err := fmt.Errorf("no source of TCP sockets for %s yet: nothing is read here", runtime.GOOS)
		r.set.Logger.Error(err.Error() + " (there are sources for linux: bpf, sock_diag, procfs; and for freebsd: kmod, sysctl)")
		componentstatus.ReportStatus(host, componentstatus.NewPermanentErrorEvent(err))
		return nil
	}
	e, err := r.newEngine()
	if err != nil {
		return err
	}
	if err := e.Start(ctx); err != nil {
		r.telemetry.Shutdown()
		return err
	}
	r.engine = e
	switch {
	case r.records != nil:
		r.records.start()
	case r.cfg.recordsSet:
		r.set.Logger.Warn("records are configured, but nobody reads them: the receiver stands in no logs pipeline (add it to the receivers of one under service::pipelines)")
	}
	if r.page != nil {
		if err := r.page.Start(ctx, host); err != nil {
			return errors.Join(err, r.Shutdown(ctx))
		}
	}
	return nil
}

// Shutdown implements component.Component.
func (r *tcpStats) Shutdown(ctx context.Context) error {
	if r.engine == nil {
		return nil
	}
	var err error
	if r.page != nil {
		err = r.page.Shutdown(ctx)
	}
	err = errors.Join(err, r.engine.Shutdown(ctx))
	if r.records != nil {
		err = errors.Join(err, r.records.end(ctx))
	}
	r.telemetry.Shutdown()
	r.engine, r.view, r.records, r.page = nil, nil, nil, nil
	return err
}

// newEngine returns the engine of the configuration, with what makes metrics of
// it.
func (r *tcpStats) newEngine() (*engine.Engine, error) {
	now := time.Now()
	boot, err := process.BootTime()
	if err != nil {
		r.set.Logger.Warn("the host's boot time is not known: counters of connections that are older than the receiver start with it", zap.Error(err))
		boot = now
	}
	if r.telemetry, err = metadata.NewTelemetryBuilder(r.set.TelemetrySettings); err != nil {
		return nil, err
	}
	observe, err := r.cfg.engine()
	if err != nil {
		return nil, err
	}
	if observe.Peers, err = r.cfg.peers(r.set.Logger, r.nextLogs != nil); err != nil {
		return nil, err
	}
	observe.Boot, observe.Factories, observe.Logger, observe.Telemetry = boot, r.factories, r.set.Logger, r.telemetry
	found, err := newFindings(r.cfg.Detect, r.found)
	if err != nil {
		return nil, err
	}
	if found != nil {
		r.counted = otlp.NewFindings(now)
		found.observe(&observe.Peers, r.set.Logger)
		telemetry := r.telemetry
		found.lost = func(n uint64) { telemetry.ReceiverTcpstatsDetectLostEvents.Add(context.Background(), int64(n)) }
	}
	observe.OpenHolders = func() process.Holders { return openHolders(r.set.Logger) }
	if r.next != nil {
		if r.view, err = r.newMetrics(boot, now); err != nil {
			return nil, err
		}
		observe.Detailed, observe.Exact, observe.Follow = r.view.Detailed(), r.view.Exact(), r.view.Follows()
		observe.AwaitProcesses = r.view.AwaitsProcesses()
		observe.Peers.Observers = append(observe.Peers.Observers, r.view.Observers()...)
	}
	if r.nextLogs != nil {
		observe.Prompt = true
		observe.Exact = observe.Exact || r.recordsNeedDetails()
	}
	// What nobody writes is not looked for.
	observe.Peers.Processes = observe.Peers.Processes && (r.nextLogs != nil || r.view != nil && r.view.WantsPeerProcesses())
	r.page = r.newPage()
	observe.Exact = observe.Exact || found != nil && found.Detailed()
	observe.Detailed = observe.Detailed || observe.Exact
	observe.AwaitProcesses = observe.AwaitProcesses || found != nil || r.page != nil || observe.Wanted != nil || r.nextLogs != nil
	if found != nil {
		for _, kind := range found.follows() {
			if !slices.Contains(observe.Follow, kind) {
				observe.Follow = append(observe.Follow, kind)
			}
		}
	}
	e := engine.New(observe)
	if r.view != nil {
		for _, l := range r.view.Listeners() {
			e.Listen(l)
		}
		e.AddView(r.view)
	}
	if r.nextLogs != nil {
		if r.records, err = r.newRecords(e); err != nil {
			return nil, err
		}
		r.records.listen(e)
		r.findingsTo.Store(r.records)
	}
	if found != nil {
		e.Listen(found)
		e.AddView(found)
	}
	if r.page != nil {
		e.Listen(r.page)
		e.AddView(r.page)
	}
	return e, nil
}

// engine is what the configuration says of observing. Validate has refused all
// that cannot be parsed.
func (c *Config) engine() (engine.Config, error) {
	filter, errFilter := c.Filter.sockets()
	executables, errExecutables := c.Filter.executables()
	require, errRequire := c.require()
	cfg := engine.Config{
		Interval: c.CollectionInterval, InitialDelay: c.InitialDelay, Timeout: c.Timeout,
		Source:        source.Choice{Name: c.Source, Require: require},
		AllNamespaces: c.NetworkNamespaces == allNamespaces,
		Attribution:   c.Process.Attribution, RefreshInterval: c.Process.RefreshInterval,
		Filter: filter,
	}
	if executables.any() {
		cfg.Wanted = executables.match
	}
	return cfg, errors.Join(errFilter, errExecutables, errRequire)
}

// metrics is what the configuration says of the metrics signal.
func (c *Config) metrics() (otlp.MetricsConfig, error) {
	order, errOrder := table.ParseOrder(c.Connections.OrderBy)
	by, errBy := c.Groups.by()
	peerAttributes, errPeer := c.Connections.peerAttributes()
	filter, errFilter := c.Filter.sockets()
	return otlp.MetricsConfig{
		MetricsBuilderConfig: c.MetricsBuilderConfig,
		ProcessOnPoints:      c.Process.Attributes == onDataPoint,
		Connections: otlp.ConnectionsConfig{
			Every:     c.ticks(c.Connections.Enabled, c.Connections.Interval),
			Unchanged: int64(c.Connections.UnchangedInterval / c.CollectionInterval),
			Limit:     c.Connections.Limit, OrderBy: order, BatchSize: c.Connections.BatchSize,
			States: filter.States, PeerAttributes: peerAttributes,
		},
		Groups: otlp.GroupsConfig{
			Every: c.ticks(c.Groups.Enabled, c.Groups.Interval),
			Config: group.Config{
				By: by, Limit: c.Groups.Limit, Expiry: c.Groups.Expiry,
				PeerPrefixIPv4: c.Groups.PeerPrefix.IPv4, PeerPrefixIPv6: c.Groups.PeerPrefix.IPv6,
			},
			RTTBounds: c.Groups.rttBounds(),
		},
		System: otlp.SystemConfig{Every: c.ticks(c.System.Enabled, c.System.Interval)},
		Lookups: group.LookupsConfig{
			Limit: c.Groups.Limit, Expiry: c.Groups.Expiry,
			Names: c.Peers.DNS.QuestionName, Exponential: c.Groups.Histogram == exponential,
		},
	}, errors.Join(errOrder, errBy, errPeer, errFilter)
}

// ticks is how many ticks an interval has, 0 for what is disabled.
func (c *Config) ticks(enabled bool, interval time.Duration) int64 {
	if !enabled {
		return 0
	}
	return max(1, int64(interval/c.CollectionInterval))
}
