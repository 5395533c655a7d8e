// SPDX-License-Identifier: Apache-2.0

package page

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.uber.org/goleak"

	"github.com/netpulse/tcpstatsreceiver/internal/engine"
	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scripted is a source that has the sockets that a test gives it.
type scripted struct{ sockets []tcp.Socket }

func (s *scripted) Name() string                      { return "scripted" }
func (s *scripted) Capabilities() source.Capabilities { return source.RTT | source.Bytes }
func (s *scripted) Close() error                      { return nil }

func (s *scripted) Sockets(_ context.Context, visit func(*tcp.Socket) error) error {
	for _, one := range s.sockets {
		if err := visit(&one); err != nil {
			return err
		}
	}
	return nil
}

func (s *scripted) Counters(context.Context) (tcp.Counters, error) {
	var c tcp.Counters
	c.Set(tcp.SegmentsSent, 1000)
	c.Set(tcp.Retransmits, 10)
	return c, nil
}

// socket is an established connection of a client here to port 443.
func socket(n int) tcp.Socket {
	s := tcp.Socket{
		ID:    tcp.Identity{Cookie: uint64(n + 1)},
		Local: netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), uint16(10_000+n%50_000)),
		Peer:  netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, byte(n >> 8), byte(n)}), 443),
		State: tcp.Established, Role: tcp.Client,
		SmoothedRTT: time.Millisecond * time.Duration(1+n%50), BytesSent: uint64(1000 * n), BytesReceived: 5, SegmentsSent: 100, Retransmits: 2,
	}
	s.Fields = s.Fields.With(tcp.FieldSmoothedRTT).With(tcp.FieldBytesSent).With(tcp.FieldBytesReceived).With(tcp.FieldSegmentsSent).With(tcp.FieldRetransmits)
	return s
}

func listening(port uint16, length, limit uint32) tcp.Socket {
	s := tcp.Socket{
		ID: tcp.Identity{Cookie: 1 << 40}, State: tcp.Listen, QueueLength: length, QueueLimit: limit,
		Local: netip.AddrPortFrom(netip.MustParseAddr("0.0.0.0"), port), Peer: netip.MustParseAddrPort("0.0.0.0:0"),
	}
	s.Fields = s.Fields.With(tcp.FieldQueueLength).With(tcp.FieldQueueLimit)
	return s
}

// rig is an engine without a clock, with a page.
type rig struct {
	tb     testing.TB
	source *scripted
	page   *Page
	engine *engine.Engine
	tick   int64
}

func newRig(tb testing.TB, sockets ...tcp.Socket) *rig {
	s := &scripted{sockets}
	return newRigOf(tb, s, s)
}

// newRigOf has an engine that reads src, whose sockets are those of s.
func newRigOf(tb testing.TB, s *scripted, src source.Source) *rig {
	r := &rig{tb: tb, source: s}
	r.page = New(Config{Server: confighttp.NewDefaultServerConfig(), History: time.Minute, Interval: time.Second, Telemetry: componenttest.NewNopTelemetrySettings()})
	r.engine = newEngine(tb, src, false)
	r.engine.Listen(r.page)
	r.engine.AddView(r.page)
	require.NoError(tb, r.engine.Open(context.Background()))
	tb.Cleanup(func() { require.NoError(tb, r.engine.Close()) })
	return r
}

func newEngine(tb testing.TB, s source.Source, detailed bool) *engine.Engine {
	telemetry := componenttest.NewNopTelemetrySettings()
	builder, err := metadata.NewTelemetryBuilder(telemetry)
	require.NoError(tb, err)
	tb.Cleanup(builder.Shutdown)
	return engine.New(engine.Config{
		Interval: time.Second, Detailed: detailed, Boot: time.Now(), Logger: telemetry.Logger, Telemetry: builder, Source: source.Choice{Name: source.Auto},
		Factories: []source.Factory{{Name: "scripted", Capabilities: s.Capabilities(), Open: func(context.Context) (source.Source, error) { return s, nil }}},
	})
}

func (r *rig) scrape() {
	require.NoError(r.tb, r.engine.Once(context.Background(), r.tick))
	r.tick++
}

// follow sends what happens, as a started page does.
func (r *rig) follow() {
	done := make(chan struct{})
	go func() { defer close(done); r.page.follow() }()
	r.tb.Cleanup(func() { close(r.page.stopping); <-done })
}

// get asks the page without a network.
func (r *rig) get(target string, headers ...string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(http.MethodGet, target, nil)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	r.page.Handler().ServeHTTP(w, req)
	return w
}
