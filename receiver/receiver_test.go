// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

func TestRunsByTheClockAndStops(t *testing.T) {
	src := &scripted{name: "a", sockets: sample(10, tcp.Established)}
	r := newRig(t, testConfig(), &refusing{}, src)
	require.NoError(t, r.Start(context.Background(), componenttest.NewNopHost()))
	assert.Eventually(t, func() bool { return len(r.sink.AllMetrics()) >= 6 }, 5*time.Second, time.Millisecond)
	require.NoError(t, r.Shutdown(context.Background()))
	assert.Equal(t, 1, src.closed)
	n := len(r.sink.AllMetrics())
	time.Sleep(30 * time.Millisecond)
	assert.Len(t, r.sink.AllMetrics(), n, "nothing after the shutdown")
}

func TestShutdownBeforeTheFirstScrape(t *testing.T) {
	cfg := testConfig()
	cfg.InitialDelay = time.Hour
	r := newRig(t, cfg, &refusing{}, &scripted{name: "a"})
	require.NoError(t, r.Shutdown(context.Background()), "never started")
	require.NoError(t, r.Start(context.Background(), componenttest.NewNopHost()))
	require.NoError(t, r.Shutdown(context.Background()))
	assert.Zero(t, r.sink.DataPointCount())
}

// blocking is a pipeline under back-pressure: it takes a batch when it is told
// to, or gives up when its context ends.
type blocking struct {
	refusing
	entered chan struct{}
	once    sync.Once
	release chan struct{}
}

func (b *blocking) ConsumeMetrics(ctx context.Context, md pmetric.Metrics) error {
	b.once.Do(func() { close(b.entered) })
	select {
	case <-b.release:
		return b.refusing.ConsumeMetrics(ctx, md)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// blockedRig is a receiver whose first batch waits in the pipeline.
func blockedRig(t *testing.T) (*rig, *blocking) {
	t.Helper()
	next := &blocking{entered: make(chan struct{}), release: make(chan struct{})}
	r := newRig(t, testConfig(), &next.refusing, &scripted{name: "a", sockets: sample(3, tcp.Established)})
	r.next = next
	require.NoError(t, r.Start(context.Background(), componenttest.NewNopHost()))
	<-next.entered
	return r, next
}

func TestShutdownLetsThePipelineTakeTheBatch(t *testing.T) {
	r, next := blockedRig(t)
	go func() {
		time.Sleep(20 * time.Millisecond)
		close(next.release)
	}()
	require.NoError(t, r.Shutdown(context.Background()))
	assert.Len(t, r.sink.AllMetrics(), 4, "the connections and the host's numbers of that scrape and of the last one")
	assert.Empty(t, r.logs.FilterMessage("the scrape is partial").All(), "a shutdown is no trouble to be told of")
}

func TestShutdownFreesABlockedPipeline(t *testing.T) {
	r, _ := blockedRig(t)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	require.NoError(t, r.Shutdown(ctx))
	assert.Empty(t, r.sink.AllMetrics())
}

func TestStartFailsWithoutASource(t *testing.T) {
	r := newRig(t, testConfig(), &refusing{}, &scripted{name: "a", openErr: errors.New("permission denied (grant it)")})
	assert.EqualError(t, r.Start(context.Background(), componenttest.NewNopHost()), "no source of TCP sockets can be opened: a: permission denied (grant it)")
	require.NoError(t, r.Shutdown(context.Background()))
}

// statusHost keeps what components report.
type statusHost struct {
	component.Host
	events []*componentstatus.Event
}

func (h *statusHost) Report(e *componentstatus.Event) { h.events = append(h.events, e) }

func TestASystemThatHasNoSourceYet(t *testing.T) {
	r := newRig(t, testConfig(), &refusing{})
	host := &statusHost{Host: componenttest.NewNopHost()}
	require.NoError(t, r.Start(context.Background(), host), "one configuration serves a mixed fleet")
	require.Len(t, host.events, 1)
	assert.Equal(t, componentstatus.StatusPermanentError, host.events[0].Status())
	require.Len(t, r.messages(), 1)
	require.NoError(t, r.Shutdown(context.Background()))
}

func TestNothingDueReadsNothing(t *testing.T) {
	src := &scripted{name: "a", results: []error{errors.New("was dumped")}}
	cfg := testConfig()
	cfg.Connections.Interval, cfg.System.Interval = 2*cfg.CollectionInterval, 2*cfg.CollectionInterval
	r := newRig(t, cfg, &refusing{}, src)
	r.scrapeOnce(t)
	r.messages()
	src.results = []error{errors.New("was dumped again")}
	r.scrapeOnce(t)
	assert.Empty(t, r.messages())
	r.scrapeOnce(t)
	assert.Len(t, src.results, 1)
}
