// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/netpulse/tcpstatsreceiver/internal/engine"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// A notice that does not show which end this host had waits for a dump. At the last
// scrape there will be none.
func TestTheLastScrapeLeavesNoNotice(t *testing.T) {
	src := &telling{scripted: scripted{name: "a"}}
	r := newRig(t, groupConfig("tcp.role"), &refusing{}, src)
	r.scrapeOnce(t)
	r.sink.Reset()
	n := ended(established(1, 0), 70, 3)
	n.Role, n.BytesAcked, n.Left = tcp.NoRole, 75, tcp.FinWait2
	src.tell(n)
	assert.NoError(t, r.observer.Once(context.Background(), engine.FinalTick))
	_, opens := r.sums("tcp.opens")
	assert.Equal(t, 1.0, opens)
	_, closes := r.sums("tcp.closes")
	assert.Equal(t, 1.0, closes)
}

// incremental is a source that leaves out established connections when it may.
type incremental struct {
	telling
	full, moved int
}

func (s *incremental) factory() source.Factory {
	f := s.telling.factory()
	open := f.Open
	f.Open = func(ctx context.Context) (source.Source, error) {
		if _, err := open(ctx); err != nil {
			return nil, err
		}
		return s, nil
	}
	return f
}

func (s *incremental) Sockets(ctx context.Context, visit func(*tcp.Socket) error) error {
	s.full++
	return s.telling.Sockets(ctx, visit)
}

func (s *incremental) Moved(context.Context, func(*tcp.Socket) error) (bool, error) {
	s.moved++
	return false, nil
}

// After notices were lost, dumps are of all sockets until it is known of each
// connection that was there whether it still is: others never find out.
func TestFullDumpsUntilNothingIsMissing(t *testing.T) {
	src := &incremental{telling: telling{scripted: scripted{name: "a"}}}
	r := newRig(t, groupConfig("tcp.role"), &refusing{}, src)
	src.sockets = []tcp.Socket{established(1, 5), established(2, 5)}
	r.scrapeOnce(t)
	r.scrapeOnce(t)
	assert.Equal(t, [2]int{1, 1}, [2]int{src.full, src.moved})
	src.sockets, src.lost = src.sockets[:1], 1
	for range 4 {
		r.scrapeOnce(t)
	}
	assert.Equal(t, [2]int{4, 2}, [2]int{src.full, src.moved}, "one is missing")
	src.tell(ended(established(2, 5), 5, 5))
	r.scrapeOnce(t)
	r.scrapeOnce(t)
	assert.Greater(t, src.moved, 2, "none is missing")
}

// A shutdown while a scrape is being sent does not cost the last one.
func TestTheLastScrapeWaitsForTheOneBefore(t *testing.T) {
	cfg := groupConfig("tcp.role")
	cfg.CollectionInterval = time.Hour
	entered := make(chan struct{}, 10)
	next := &refusing{refuse: func(pmetric.Metrics) error {
		entered <- struct{}{}
		time.Sleep(100 * time.Millisecond)
		return nil
	}}
	r := newRig(t, cfg, next, &telling{scripted: scripted{name: "a", sockets: []tcp.Socket{established(1, 5)}}})
	require.NoError(t, r.Start(t.Context(), componenttest.NewNopHost()))
	<-entered
	require.NoError(t, r.Shutdown(t.Context()))
	points, _ := r.sums("tcp.count")
	assert.Equal(t, 2, points)
}
