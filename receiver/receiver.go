package receiver

import (
	"context"
	"errors"
	"fmt"
	"runtime"
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
	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/table"
)

// tcpStats is the running receiver: an engine, and what makes metrics of it.
//
// It does not use the collector's scraper controller, which takes all metrics
// of a scrape as one batch: a hundred thousand connections are far more than
// one request can carry.
type tcpStats struct {
	cfg       *Config
	set       receiver.Settings
	next      consumer.Metrics
	factories []source.Factory

	telemetry *metadata.TelemetryBuilder
	engine    *engine.Engine
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
	return nil
}

// Shutdown implements component.Component.
func (r *tcpStats) Shutdown(ctx context.Context) error {
	if r.engine == nil {
		return nil
	}
	err := r.engine.Shutdown(ctx)
	r.telemetry.Shutdown()
	r.engine = nil
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
	observe, errObserve := r.cfg.engine()
	write, errWrite := r.cfg.metrics()
	if err := errors.Join(errObserve, errWrite); err != nil {
		return nil, err
	}
	write.Boot, write.Receiver, write.Next, write.Telemetry = boot, r.set, r.next, r.telemetry
	view, err := otlp.NewMetrics(write, now)
	if err != nil {
		return nil, err
	}
	if observe.Peers, err = r.cfg.peers(r.set.Logger); err != nil {
		return nil, err
	}
	// What nobody writes is not looked for.
	observe.Peers.Processes = observe.Peers.Processes && view.WantsPeerProcesses()
	observe.Boot, observe.Factories, observe.Logger, observe.Telemetry = boot, r.factories, r.set.Logger, r.telemetry
	observe.Detailed, observe.AwaitProcesses = view.Detailed(), view.AwaitsProcesses() || observe.Wanted != nil
	observe.Follow = view.Follows()
	observe.OpenHolders = func() process.Holders { return openHolders(r.set.Logger) }
	e := engine.New(observe)
	for _, l := range view.Listeners() {
		e.Listen(l)
	}
	e.AddView(view)
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
	filter, errFilter := c.Filter.sockets()
	return otlp.MetricsConfig{
		MetricsBuilderConfig: c.MetricsBuilderConfig,
		Connections: otlp.ConnectionsConfig{
			Every: c.ticks(c.Connections.Enabled, c.Connections.Interval),
			Limit: c.Connections.Limit, OrderBy: order, BatchSize: c.Connections.BatchSize,
			States: filter.States,
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
	}, errors.Join(errOrder, errBy, errFilter)
}

// ticks is how many ticks an interval has, 0 for what is disabled.
func (c *Config) ticks(enabled bool, interval time.Duration) int64 {
	if !enabled {
		return 0
	}
	return max(1, int64(interval/c.CollectionInterval))
}
