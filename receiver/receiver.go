package receiver

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/receiver"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
)

// tcpStats is the running receiver: a scraper and the clock that drives it.
//
// It does not use the collector's scraper controller, which takes all metrics
// of a scrape as one batch: a hundred thousand connections are far more than
// one request can carry.
type tcpStats struct {
	cfg       *Config
	set       receiver.Settings
	next      consumer.Metrics
	factories []source.Factory

	scraper *scraper
	stop    context.CancelFunc
	done    chan struct{}
	grace   time.Duration
}

// shutdownGrace is how long a shutdown waits for a pipeline that holds a batch
// up: the pipeline is shut down after its receivers, so it can still take it.
const shutdownGrace = 5 * time.Second

func newTCPStats(cfg *Config, set receiver.Settings, next consumer.Metrics, factories []source.Factory) *tcpStats {
	return &tcpStats{cfg: cfg, set: set, next: next, factories: factories, grace: shutdownGrace}
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
	s, err := newScraper(ctx, r.cfg, r.set, r.next, r.factories)
	if err != nil {
		return err
	}
	// The context of Start ends with Start.
	loopCtx, stop := context.WithCancel(context.Background())
	r.scraper, r.stop, r.done = s, stop, make(chan struct{})
	go r.loop(loopCtx)
	return nil
}

// Shutdown implements component.Component. A scrape under way is cut short, but
// for the batch that the pipeline has been handed already.
func (r *tcpStats) Shutdown(ctx context.Context) error {
	if r.stop == nil {
		return nil
	}
	r.stop()
	select {
	case <-r.done:
		return r.scraper.close()
	case <-time.After(r.grace):
	case <-ctx.Done():
	}
	r.scraper.abandonBatch()
	<-r.done
	return r.scraper.close()
}

// loop scrapes at every tick. A scrape that takes longer, or a pipeline that
// blocks, makes it miss ticks; they are not made up for.
func (r *tcpStats) loop(ctx context.Context) {
	defer close(r.done)
	select {
	case <-time.After(r.cfg.InitialDelay):
	case <-ctx.Done():
		return
	}
	began := time.Now()
	ticker := time.NewTicker(r.cfg.CollectionInterval)
	defer ticker.Stop()
	for {
		r.scraper.scrape(ctx, r.due(time.Since(began)))
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// due tells what is to be written at a time after the first scrape.
func (r *tcpStats) due(elapsed time.Duration) due {
	// Half an interval makes up for a ticker that is a little early.
	tick := int64((elapsed + r.cfg.CollectionInterval/2) / r.cfg.CollectionInterval)
	return due{
		connections: r.cfg.Connections.Enabled && r.scraper.connectionsTier.due(tick),
		groups:      r.cfg.Groups.Enabled && r.scraper.groupsTier.due(tick),
		system:      r.cfg.System.Enabled && r.scraper.systemTier.due(tick),
	}
}

// tier is something that is written at every so many ticks.
type tier struct {
	every int64 // ticks
	last  int64 // the period in which it was written last, from 1
}

func newTier(interval, tick time.Duration) tier {
	return tier{every: max(1, int64(interval/tick))}
}

// due tells whether the tick, counted from 0, is the first of a period. Periods
// whose first tick was missed are due at a later one.
func (t *tier) due(tick int64) bool {
	period := tick/t.every + 1
	if period == t.last {
		return false
	}
	t.last = period
	return true
}
