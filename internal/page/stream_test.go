// SPDX-License-Identifier: Apache-2.0

package page

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/engine"
	"github.com/netpulse/tcpstatsreceiver/internal/table"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// sse is one server-sent event.
type sse struct {
	name, id string
	data     map[string]any
}

// reader reads a stream.
type reader struct {
	t      *testing.T
	lines  *bufio.Scanner
	cancel context.CancelFunc
}

func (r *rig) listen(server *httptest.Server, query, lastID string) *reader {
	t := r.tb.(*testing.T)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/events"+query, nil)
	require.NoError(t, err)
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	answer, err := server.Client().Do(req)
	require.NoError(t, err)
	t.Cleanup(func() { cancel(); _ = answer.Body.Close() })
	require.Equal(t, "text/event-stream; charset=utf-8", answer.Header.Get("Content-Type"))
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, 64<<20)
	return &reader{t, lines, cancel}
}

// next returns the next event of a name.
func (s *reader) next(names ...string) sse {
	s.t.Helper()
	var e sse
	for s.lines.Scan() {
		key, value, _ := strings.Cut(s.lines.Text(), ": ")
		switch key {
		case "event":
			e.name = value
		case "id":
			e.id = value
		case "data":
			require.NoError(s.t, json.Unmarshal([]byte(value), &e.data), value)
		case "":
			for _, name := range names {
				if e.name == name {
					return e
				}
			}
			e = sse{}
		}
	}
	require.FailNow(s.t, "the stream has ended", "waiting for %v: %v", names, s.lines.Err())
	return e
}

func served(r *rig) *httptest.Server {
	server := httptest.NewUnstartedServer(r.page.Handler())
	// Small buffers: who does not read is behind after some messages, not megabytes.
	server.Config.ConnState = func(c net.Conn, state http.ConnState) {
		if state == http.StateNew {
			_ = c.(*net.TCPConn).SetWriteBuffer(4096)
		}
	}
	server.Start()
	r.tb.Cleanup(server.Close)
	return server
}

// Whoever begins gets everything, then what changes, and after a break what was
// missed.
func TestStream(t *testing.T) {
	r := newRig(t, socket(1), socket(2), listening(8080, 1, 10))
	r.scrape()
	server := served(r)
	stream := r.listen(server, "?rows", "")
	full := stream.next("full")
	assert.Len(t, full.data["born"], 2)
	assert.Len(t, full.data["rows"], 2)
	assert.Len(t, full.data["listeners"], 1)
	assert.Len(t, full.data["history"], 1)

	r.source.sockets[0].BytesSent += 5000
	r.source.sockets = append(r.source.sockets, socket(3))
	r.scrape()
	rows := stream.next("rows")
	assert.Len(t, rows.data["born"], 1)
	assert.Len(t, rows.data["rows"], 2, "the one that sent, and the new one")

	r.scrape()
	rows = stream.next("rows")
	assert.Empty(t, rows.data["born"])
	assert.Len(t, rows.data["rows"], 2, "their rates fall to 0")
	r.scrape()
	rows = stream.next("rows")
	assert.Empty(t, rows.data["rows"], "nothing happened")
	stream.cancel()

	r.source.sockets = r.source.sockets[1:]
	r.scrape()
	r.scrape()
	again := r.listen(server, "?rows", rows.id)
	rows = again.next("full", "rows")
	assert.Equal(t, "rows", rows.name, "it goes on where it was")
	assert.Equal(t, []any{0.}, rows.data["gone"])
	again.cancel()

	for _, id := range []string{"other-3", "junk", r.page.stream.epoch + "-999999", r.page.stream.epoch + "--1"} {
		anew := r.listen(server, "?rows", id)
		assert.Equal(t, "full", anew.next("full", "rows").name, id)
		anew.cancel()
	}
}

// The events for curl: openings, ends with their causes, totals; no rows.
func TestEvents(t *testing.T) {
	r := newRig(t, socket(1))
	r.follow()
	r.scrape()
	stream := r.listen(served(r), "", "")
	stream.next("hello")
	r.source.sockets = []tcp.Socket{socket(1), socket(2)}
	r.scrape()
	opened := stream.next("opened")
	assert.Equal(t, "198.51.0.2", opened.data["peer_address"])
	scrape := stream.next("scrape", "rows")
	assert.Equal(t, "scrape", scrape.name)
	assert.NotContains(t, scrape.data, "rows")
	r.source.sockets = nil
	r.scrape()
	ended := stream.next("ended")
	assert.Contains(t, ended.data, "cause")
	assert.Contains(t, ended.data, "bytes_sent")

	r.page.found(Finding{Time: time.Now(), Rule: "scan.outbound", Severity: "warn", Title: "nmap tries many ports"})
	assert.Equal(t, "nmap tries many ports", stream.next("finding").data["title"])
	assert.Len(t, r.listen(served(r), "?rows", "").next("full").data["findings"], 1, "who comes later sees it, too")
}

// A viewer that does not read is dropped: the others and the scrapes go on.
func TestSlowViewer(t *testing.T) {
	var sockets []tcp.Socket
	for i := range 300 {
		sockets = append(sockets, socket(i))
	}
	r := newRig(t, sockets...)
	r.scrape()
	server := served(r)
	good := r.listen(server, "?rows", "")
	good.next("full")

	slow, err := net.Dial("tcp", server.Listener.Addr().String())
	require.NoError(t, err)
	defer slow.Close()
	require.NoError(t, slow.(*net.TCPConn).SetReadBuffer(4096))
	_, err = slow.Write([]byte("GET /events?rows HTTP/1.1\r\nHost: localhost\r\n\r\n"))
	require.NoError(t, err)
	count := func() int {
		r.page.stream.mu.Lock()
		defer r.page.stream.mu.Unlock()
		return len(r.page.stream.viewers)
	}
	require.Eventually(t, func() bool { return count() == 2 }, 5*time.Second, time.Millisecond)
	for range 400 {
		for i := range r.source.sockets {
			r.source.sockets[i].BytesSent += 1000
		}
		began := time.Now()
		r.scrape()
		require.Less(t, time.Since(began), 2*time.Second, "nobody waits")
		good.next("rows")
		if count() == 1 {
			return
		}
	}
	t.Fatal("the viewer that does not read is still there")
}

// Thousands of connections that end together drop nobody who reads.
func TestManyEvents(t *testing.T) {
	r := newRig(t, socket(1))
	r.follow()
	r.scrape()
	stream := r.listen(served(r), "?rows", "")
	stream.next("full")
	for i := range 3000 {
		r.source.sockets = append(r.source.sockets, socket(10+i))
	}
	r.scrape()
	stream.next("rows")
	r.source.sockets = r.source.sockets[:1]
	r.scrape()
	for range 3000 {
		stream.next("ended")
	}
}

func TestTooManyViewers(t *testing.T) {
	r := newRig(t, socket(1))
	r.scrape()
	for range maxViewers {
		v, _ := r.page.join(context.Background(), kindRows, "")
		require.NotNil(t, v)
	}
	w := r.get("http://localhost/events?rows")
	assert.Equal(t, http.StatusServiceUnavailable, w.Code)
	assert.NotEmpty(t, w.Header().Get("Retry-After"))
}

// Whoever comes is sent everything, which takes a while with many connections. The
// scrape after the last viewer left does not wait for that: the engine's lock is held.
func TestAScrapeWaitsForNoViewer(t *testing.T) {
	r := newRig(t, socket(1))
	r.get("http://localhost/connections.json")
	r.scrape()
	r.page.lastAsked.Store(time.Now().Add(-2 * lookingFor).UnixNano())
	r.page.stream.mu.Lock() // as while everything is encoded
	done := make(chan error)
	go func() { done <- r.engine.Once(context.Background(), r.tick) }()
	newest := func() (*engine.Scrape, int64) {
		r.page.mu.Lock()
		defer r.page.mu.Unlock()
		return r.page.scrape, r.page.tick
	}
	assert.Eventually(t, func() bool {
		_, tick := newest()
		return tick == r.tick
	}, 5*time.Second, time.Millisecond, "the scrape waits")
	locked := make(chan struct{})
	go func() {
		defer close(locked)
		scrape, _ := newest()
		scrape.Later(func(func(tcp.Identity) *table.Connection) {})
	}()
	select {
	case <-locked:
	case <-time.After(5 * time.Second):
		assert.Fail(t, "the engine is locked")
	}
	r.page.stream.mu.Unlock()
	require.NoError(t, <-done)
	<-locked
}

// Who comes after the last viewer left, and before the stream rests, is not forgotten.
func TestAViewerComesAsTheStreamRests(t *testing.T) {
	r := newRig(t, socket(1))
	r.scrape()
	v, first := r.page.join(context.Background(), kindEvents|kindRows, "")
	require.Len(t, first, 1)
	r.page.stream.rest()
	assert.NotNil(t, r.page.stream.shown, "what the next difference is to")
	r.page.leave(v)
	r.page.stream.rest()
	assert.Nil(t, r.page.stream.shown)
}

// While nobody looks, nothing is copied, and what is kept is bounded.
func TestNobodyLooks(t *testing.T) {
	r := newRig(t, socket(1))
	r.scrape()
	assert.Nil(t, r.page.newest)
	assert.False(t, r.page.Needs(1).Counters)
	r.get("http://localhost/connections.json")
	assert.True(t, r.page.Needs(1).Counters)
	r.scrape()
	assert.NotNil(t, r.page.newest)
	r.page.lastAsked.Store(time.Now().Add(-2 * lookingFor).UnixNano())
	r.scrape()
	assert.Nil(t, r.page.newest)
	assert.Empty(t, r.page.stream.kept)
	for range 200 {
		r.source.sockets = []tcp.Socket{}
		r.scrape()
		for i := range 20 {
			r.source.sockets = append(r.source.sockets, socket(1000+int(r.tick)*20+i))
		}
		r.scrape()
	}
	assert.Len(t, r.page.sampler.history.points, r.page.sampler.history.limit)
	assert.LessOrEqual(t, len(r.page.recent.ends), maxEnded)
	assert.Empty(t, r.page.recent.events)
}
