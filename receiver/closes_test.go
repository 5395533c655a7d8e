// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"

	"github.com/netpulse/tcpstatsreceiver/internal/metadatatest"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// telling is a scripted source that has notices of closes, too.
type telling struct {
	scripted
	mu      sync.Mutex
	notices []tcp.Notice
	lost    uint64
	err     error
	refuse  error
	asked   int // for notices
	open    int
	wake    chan struct{}
	closed  chan struct{}
}

func (s *telling) Capabilities() source.Capabilities { return source.RTT | source.Closes }

func (s *telling) factory() source.Factory {
	f := s.scripted.factory()
	f.Capabilities = s.Capabilities()
	open := f.Open
	f.Open = func(ctx context.Context) (source.Source, error) {
		if _, err := open(ctx); err != nil {
			return nil, err
		}
		return s, nil
	}
	return f
}

func (s *telling) Closes() (source.CloseStream, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if s.refuse != nil {
		return nil, s.refuse
	}
	s.open++
	s.wake, s.closed = make(chan struct{}, 1), make(chan struct{})
	return tellingStream{s}, nil
}

type tellingStream struct{ source *telling }

func (s tellingStream) Wait() error {
	select {
	case <-s.source.wake:
		return nil
	case <-s.source.closed:
		return os.ErrClosed
	}
}

func (s tellingStream) Drain(visit func(*tcp.Notice) error) (uint64, error) {
	s.source.mu.Lock()
	defer s.source.mu.Unlock()
	for i := range s.source.notices {
		if err := visit(&s.source.notices[i]); err != nil {
			return 0, err
		}
	}
	s.source.notices = nil
	lost, err := s.source.lost, s.source.err
	s.source.lost = 0
	return lost, err
}

func (s tellingStream) Close() error {
	s.source.mu.Lock()
	defer s.source.mu.Unlock()
	s.source.open--
	close(s.source.closed)
	return nil
}

// tell sends notices, which the next scrape counts if nobody does before.
func (s *telling) tell(notices ...tcp.Notice) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notices = append(s.notices, notices...)
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// ended is the notice of an established client, with its FINs.
func ended(s tcp.Socket, sent, received uint64) tcp.Notice {
	s.State, s.Role = tcp.Closed, tcp.Client
	s.BytesSent, s.BytesReceived, s.BytesAcked, s.SegmentsReceived = sent, received+1, sent+2, 5
	s.Fields = s.Fields.With(tcp.FieldBytesAcked)
	return tcp.Notice{Socket: s}
}

func TestClosesAreCounted(t *testing.T) {
	src := &telling{scripted: scripted{name: "a"}}
	cfg := groupConfig("tcp.role")
	cfg.Filter.PeerPorts = []any{"1-100"}
	r := newRig(t, cfg, &refusing{}, src)
	src.sockets = []tcp.Socket{established(1, 1000)}
	r.scrapeOnce(t)
	src.tell(ended(established(1, 0), 1500, 7), ended(established(2, 0), 70, 3), ended(established(200, 0), 5, 5))
	src.sockets = nil
	r.sink.Reset()
	r.scrapeOnce(t)
	points, sent := r.sums("tcp.io")
	assert.Equal(t, 2, points)
	assert.Equal(t, 500.0+7+70+3, sent, "what was before the receiver and what the filter does not want is not in it")
	_, opens := r.sums("tcp.opens")
	assert.Equal(t, 1.0, opens)
	_, closes := r.sums("tcp.closes")
	assert.Equal(t, 2.0, closes)
}

func TestNoticesOfBeforeTheFirstDump(t *testing.T) {
	src := &telling{scripted: scripted{name: "a"}}
	r := newRig(t, groupConfig("tcp.role"), &refusing{}, src)
	src.sockets = []tcp.Socket{established(1, 1000)}
	r.open(t)
	src.tell(ended(established(2, 0), 70, 3))
	r.scrapeOnce(t)
	_, opens := r.sums("tcp.opens")
	assert.Zero(t, opens, "it may be older than all counters")
}

func TestManyClosesBetweenTwoScrapes(t *testing.T) {
	const n = 8192
	src := &telling{scripted: scripted{name: "a"}}
	r := newRig(t, groupConfig("tcp.role"), &refusing{}, src)
	r.scrapeOnce(t)
	for i := range n {
		src.tell(ended(established(uint64(i+1), 0), 10, 0))
	}
	r.sink.Reset()
	r.scrapeOnce(t)
	_, closes := r.sums("tcp.closes")
	assert.Equal(t, float64(n), closes)
}

// Notices come from the first moment on, while the first scrape is still to
// come: nothing is counted then, and nothing races.
func TestClosesBeforeTheFirstScrape(t *testing.T) {
	src := &telling{scripted: scripted{name: "a"}}
	cfg := groupConfig("tcp.role")
	cfg.InitialDelay = 500 * time.Millisecond // a busy machine takes its time to send them
	r := newRig(t, cfg, &refusing{}, src)
	var notices []tcp.Notice
	for i := range 8192 {
		notices = append(notices, ended(established(uint64(i+1), 0), 10, 0))
	}
	require.NoError(t, r.Start(t.Context(), componenttest.NewNopHost()))
	src.tell(notices...)
	require.Eventually(t, func() bool { return len(r.sink.AllMetrics()) > 2 }, 5*time.Second, time.Millisecond)
	require.NoError(t, r.Shutdown(t.Context()))
	_, closes := r.sums("tcp.closes")
	assert.Zero(t, closes)
}

func TestLostNotices(t *testing.T) {
	src := &telling{scripted: scripted{name: "a"}, lost: 12}
	r := newRig(t, groupConfig("tcp.role"), &refusing{}, src)
	r.scrapeOnce(t)
	r.scrapeOnce(t)
	assert.Len(t, r.logs.FilterMessageSnippet("notices of closes are lost").All(), 1)
	metadatatest.AssertEqualReceiverTcpstatsEventsLost(t, r.telemetry, []metricdata.DataPoint[int64]{
		{Value: 12, Attributes: attribute.NewSet(attribute.String("source", "a"))},
	}, metricdatatest.IgnoreTimestamp())
}

func TestAWatchThatBreaks(t *testing.T) {
	src := &telling{scripted: scripted{name: "a", sockets: []tcp.Socket{established(1, 5)}}}
	r := newRig(t, groupConfig("tcp.role"), &refusing{}, src)
	r.scrapeOnce(t)
	src.mu.Lock()
	src.err = errors.New("socket gone")
	src.mu.Unlock()
	r.scrapeOnce(t)
	r.scrapeOnce(t)
	assert.Len(t, r.logs.FilterMessageSnippet("no more notices of closes").All(), 1)
	assert.Zero(t, src.open)
	src.sockets = nil
	r.scrapeOnce(t)
	_, closes := r.sums("tcp.closes")
	assert.Equal(t, 1.0, closes, "dumps tell of closes again")
}

func TestAWatchThatDoesNotBegin(t *testing.T) {
	src := &telling{scripted: scripted{name: "a"}, refuse: errors.New("not permitted")}
	r := newRig(t, groupConfig("tcp.role"), &refusing{}, src)
	r.scrapeOnce(t)
	assert.Len(t, r.logs.FilterMessageSnippet("are not counted").All(), 1)
}

func TestTheWatchFollowsTheSource(t *testing.T) {
	better := &telling{scripted: scripted{name: "better", rank: 2}}
	worse := &scripted{name: "worse", rank: 1}
	r := newRig(t, groupConfig("tcp.role"), &refusing{})
	r.factories = []source.Factory{better.factory(), worse.factory()}
	r.scrapeOnce(t)
	assert.Equal(t, 1, better.open)
	better.openErr, better.results = errors.New("gone"), []error{errors.New("gone")}
	r.scrapeOnce(t)
	assert.Equal(t, 0, better.open)

	cfg := groupConfig("tcp.role")
	cfg.Groups.Enabled = false
	idle := &telling{scripted: scripted{name: "idle"}}
	newRig(t, cfg, &refusing{}, idle).scrapeOnce(t)
	assert.Zero(t, idle.open, "without groups nobody asks")
}

// How connections end is told by role.
func TestEnds(t *testing.T) {
	cfg := groupConfig("tcp.role")
	cfg.System.Enabled = true
	cfg.Metrics.SystemNetworkTCPRtt.Enabled = true
	cfg.Metrics.SystemNetworkTCPConnectionDuration.Enabled = true
	cfg.Metrics.SystemNetworkTCPConnectionFailures.Enabled = true
	src := &telling{scripted: scripted{name: "a"}}
	r := newRig(t, cfg, &refusing{}, src)
	r.scrapeOnce(t)
	lived := ended(established(1, 0), 10, 0)
	lived.SmoothedRTT, lived.Age = 3*time.Millisecond, 20*time.Second
	lived.Fields = lived.Fields.With(tcp.FieldSmoothedRTT).With(tcp.FieldAge)
	refused := tcp.Notice{Socket: established(2, 0), Failure: tcp.Refused}
	never := tcp.Notice{Socket: established(3, 0), NeverEstablished: true}
	src.tell(lived, refused, refused, never)
	r.sink.Reset()
	r.scrapeOnce(t)

	var told []string
	for _, md := range r.sink.AllMetrics() {
		for _, rm := range md.ResourceMetrics().All() {
			for _, m := range rm.ScopeMetrics().At(0).Metrics().All() {
				switch {
				case m.Type() == pmetric.MetricTypeHistogram && strings.HasPrefix(m.Name(), "system."):
					for _, dp := range m.Histogram().DataPoints().All() {
						told = append(told, fmt.Sprint(m.Name(), " ", dp.Attributes().AsRaw(), " ", dp.Count(), " ", dp.Sum()))
					}
				case m.Name() == "system.network.tcp.connection.failures":
					for _, dp := range m.Sum().DataPoints().All() {
						told = append(told, fmt.Sprint(m.Name(), " ", dp.Attributes().AsRaw(), " ", dp.IntValue()))
					}
				}
			}
		}
	}
	assert.ElementsMatch(t, []string{
		"system.network.tcp.rtt map[tcp.role:client] 1 0.003",
		"system.network.tcp.connection.duration map[tcp.role:client] 1 20",
		"system.network.tcp.connection.failures map[error.type:connection_refused tcp.role:client] 2",
	}, told)
}

// A watch that broke is opened again at the next scrape, and later and later if that
// breaks, too; what it notices from then on is counted.
func TestAWatchComesBack(t *testing.T) {
	src := &telling{scripted: scripted{name: "a", sockets: []tcp.Socket{established(1, 5)}}}
	r := newRig(t, groupConfig("tcp.role"), &refusing{}, src)
	r.scrapeOnce(t)
	src.mu.Lock()
	src.err = errors.New("module unloaded")
	src.mu.Unlock()
	r.scrapeOnce(t)
	assert.Zero(t, src.open)
	src.mu.Lock()
	src.err = nil
	src.mu.Unlock()
	r.scrapeOnce(t)
	assert.Equal(t, 1, src.open, "it is opened again")
	src.tell(ended(established(2, 0), 70, 3))
	r.sink.Reset()
	r.scrapeOnce(t)
	_, closes := r.sums("tcp.closes")
	assert.Equal(t, 1.0, closes, "of a connection that no dump had")
	metadatatest.AssertEqualReceiverTcpstatsSourceErrors(t, r.telemetry, []metricdata.DataPoint[int64]{
		{Value: 1, Attributes: attribute.NewSet(attribute.String("source", "a"), attribute.String("error.type", "read"))},
	}, metricdatatest.IgnoreTimestamp())
	assert.Len(t, r.logs.FilterMessageSnippet("no more notices of closes").All(), 1)

	// It flaps: the next try comes at once, the one after that does not.
	src.mu.Lock()
	src.err, src.open = errors.New("module unloaded"), 1
	src.mu.Unlock()
	for range 5 {
		r.scrapeOnce(t)
	}
	src.mu.Lock()
	src.err = nil
	src.mu.Unlock()
	r.scrapeOnce(t)
	assert.Zero(t, src.open, "it waits")
	assert.Len(t, r.logs.FilterMessageSnippet("no more notices of closes").All(), 1, "and says it once")
}

// One that cannot be opened again is not tried at every scrape: that costs much.
func TestAWatchThatDoesNotComeBack(t *testing.T) {
	src := &telling{scripted: scripted{name: "a"}}
	r := newRig(t, groupConfig("tcp.role"), &refusing{}, src)
	r.scrapeOnce(t)
	src.mu.Lock()
	src.err, src.refuse = errors.New("module unloaded"), errors.New("no such device")
	src.mu.Unlock()
	for range 5 {
		r.scrapeOnce(t)
	}
	assert.Equal(t, 1+1, src.asked, "at the next scrape, and not before ten seconds have passed")
}

// A watch that another source brings has lasted since that was opened.
func TestAWatchThatComesBackWithAnotherSource(t *testing.T) {
	better := &telling{scripted: scripted{name: "better", rank: 2}, refuse: errors.New("no such device")}
	worse := &telling{scripted: scripted{name: "worse", rank: 1}}
	r := newRig(t, groupConfig("tcp.role"), &refusing{})
	r.factories = []source.Factory{better.factory(), worse.factory()}
	r.scrapeOnce(t)
	better.openErr, better.results = errors.New("gone"), []error{errors.New("gone")}
	r.scrapeOnce(t)
	assert.Equal(t, 1, worse.open)
	r.scrapeOnce(t)
	assert.Empty(t, r.logs.FilterMessageSnippet("notices of closes come again").All(), "it has not lasted for a minute")
}

// What was noticed before another source takes over is counted.
func TestNoticesOfASourceThatIsLost(t *testing.T) {
	better := &telling{scripted: scripted{name: "better", rank: 2}}
	worse := &scripted{name: "worse", rank: 1}
	r := newRig(t, groupConfig("tcp.role"), &refusing{})
	r.factories = []source.Factory{better.factory(), worse.factory()}
	r.scrapeOnce(t)
	better.notices = []tcp.Notice{ended(established(2, 0), 70, 3)} // which the failing dump takes
	better.openErr, better.results = errors.New("gone"), []error{errors.New("gone")}
	r.sink.Reset()
	r.scrapeOnce(t)
	_, closes := r.sums("tcp.closes")
	assert.Equal(t, 1.0, closes)
}
