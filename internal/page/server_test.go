// SPDX-License-Identifier: Apache-2.0

package page

import (
	"compress/gzip"
	"context"
	"encoding/csv"
	"encoding/json"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/confignet"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// A name in DNS may be made to resolve to this host by anybody (DNS rebinding); an
// address may not.
func TestHostHeader(t *testing.T) {
	for host, want := range map[string]bool{
		"127.0.0.1:8890": true, "127.0.0.1": true, "localhost:8890": true, "LOCALHOST": true, "x.localhost:1": true, "[::1]:8890": true, "[::1]": true,
		"192.0.2.1:80": true, "web-3:8890": true, "web-3.example.com": true, "localhost.": true,
		"evil.example:8890": false, "": false, "localhost.evil.example": false, "127.0.0.1.evil.example": false, "localhost:x": false, "evil.example": false,
	} {
		check := hostCheck(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8890}, "127.0.0.1:8890", "web-3.example.com")
		assert.Equal(t, want, check(host), "%q", host)
	}
	assert.True(t, hostCheck(&net.UnixAddr{Net: "unix"}, "/run/x.sock", "web-3")("anything"), "no browser opens a Unix socket")
}

func TestGuard(t *testing.T) {
	r := newRig(t, socket(1))
	r.page.allowed = hostCheck(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}, "127.0.0.1:8890", "web-3")
	r.scrape()
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions, "TRACE"} {
		for _, path := range []string{"/", "/connections.json", "/events", "/nowhere"} {
			w := httptest.NewRecorder()
			req := httptest.NewRequest(method, path, nil)
			req.Host = "localhost"
			r.page.Handler().ServeHTTP(w, req)
			assert.Equal(t, http.StatusMethodNotAllowed, w.Code, "%s %s", method, path)
		}
	}
	for _, path := range []string{"/", "/connections.json", "/events", "/top", "/app.js"} {
		w := r.get("http://evil.example" + path)
		assert.Equal(t, http.StatusMisdirectedRequest, w.Code, path)
		assert.NotContains(t, w.Body.String(), "198.51")
	}
	for _, path := range []string{"/", "/connections.json", "/app.js", "/nowhere"} {
		w := r.get("http://localhost"+path, "Origin", "https://evil.example")
		policy := w.Header().Get("Content-Security-Policy")
		assert.Contains(t, policy, "default-src 'none'")
		assert.NotContains(t, policy, "unsafe")
		assert.NotContains(t, policy, "http")
		assert.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
		for name := range w.Header() {
			assert.NotContains(t, name, "Access-Control", "no other origin may read it")
		}
	}
	assert.Equal(t, http.StatusForbidden, r.get("http://localhost/connections.json", "Sec-Fetch-Site", "cross-site").Code)
	assert.Equal(t, http.StatusForbidden, r.get("http://localhost/events", "Sec-Fetch-Site", "same-site").Code)
	assert.Equal(t, http.StatusOK, r.get("http://localhost/connections.json", "Sec-Fetch-Site", "same-origin").Code)
}

// The page has no script or style in its HTML, which its policy would refuse, names
// no other origin, and is small.
func TestStaticFiles(t *testing.T) {
	r := newRig(t)
	size := 0
	require.NoError(t, fs.WalkDir(static, "static", func(path string, d fs.DirEntry, err error) error {
		require.NoError(t, err)
		if d.IsDir() {
			return nil
		}
		text, err := fs.ReadFile(static, path)
		require.NoError(t, err)
		size += len(text)
		w := r.get("http://localhost/" + strings.TrimPrefix(path, "static/"))
		assert.Equal(t, http.StatusOK, w.Code, path)
		assert.Equal(t, len(text), w.Body.Len(), path)
		if strings.Contains(path, "uplot") {
			return nil
		}
		for _, unsafe := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "https://", " style=", "onclick="} {
			assert.NotContains(t, string(text), unsafe, path)
		}
		if filepath.Ext(path) == ".html" {
			assert.NotContains(t, string(text), "<style")
			assert.NotContains(t, strings.ReplaceAll(string(text), "<script src=", ""), "<script")
		}
		return nil
	}))
	assert.LessOrEqual(t, size, 200_000)
	assert.Equal(t, http.StatusNotFound, r.get("http://localhost/page.go").Code)
	assert.Equal(t, "text/html; charset=utf-8", r.get("http://localhost/").Header().Get("Content-Type"))
}

// CSV is equal to JSON is equal to what the source has.
func TestFormatsAgree(t *testing.T) {
	sockets := []tcp.Socket{socket(1), socket(2), socket(3), listening(8080, 3, 10)}
	sockets[1].Fields = 0 // nothing is known of it
	r := newRig(t, sockets...)
	r.scrape()
	r.scrape()

	var objects []map[string]any
	w := r.get("http://localhost/connections.json")
	require.Equal(t, "application/json", w.Header().Get("Content-Type"))
	decoder := json.NewDecoder(w.Body)
	decoder.UseNumber()
	require.NoError(t, decoder.Decode(&objects))
	require.Len(t, objects, 3)
	records, err := csv.NewReader(r.get("http://localhost/connections.csv").Body).ReadAll()
	require.NoError(t, err)
	require.Len(t, records, 4)
	assert.Len(t, objects[0], len(records[0]), "the same columns")
	for i, object := range objects {
		for k, name := range records[0] {
			want := ""
			switch v := object[name].(type) {
			case json.Number:
				want = v.String()
			case string:
				want = v
			case bool:
				want = map[bool]string{true: "true", false: "false"}[v]
			}
			assert.Equal(t, want, records[i+1][k], name)
		}
	}
	assert.Equal(t, json.Number("1000"), objects[0]["bytes_sent"])
	assert.Equal(t, json.Number("2000"), objects[0]["rtt_us"])
	assert.Equal(t, "198.51.0.1", objects[0]["peer_address"])
	assert.Equal(t, json.Number("443"), objects[0]["peer_port"])
	assert.Nil(t, objects[1]["rtt_us"], "what is not known is null, not 0")
	assert.Nil(t, objects[0]["rto_us"])

	var one []map[string]any
	require.NoError(t, json.Unmarshal(r.get("http://localhost/connections.json?id=4").Body.Bytes(), &one))
	require.Len(t, one, 1)
	assert.Equal(t, "198.51.0.3", one[0]["peer_address"])
	assert.JSONEq(t, "[]", r.get("http://localhost/connections.json?id=no").Body.String())

	var listeners []map[string]any
	require.NoError(t, json.Unmarshal(r.get("http://localhost/listeners.json").Body.Bytes(), &listeners))
	require.Len(t, listeners, 1)
	assert.EqualValues(t, 3, listeners[0]["queue_length"])
	assert.EqualValues(t, 10, listeners[0]["queue_limit"])

	var groups []map[string]any
	require.NoError(t, json.Unmarshal(r.get("http://localhost/groups.json").Body.Bytes(), &groups))
	require.Len(t, groups, 1)
	assert.EqualValues(t, 3, groups[0]["connections"])
	assert.EqualValues(t, 443, groups[0]["port"])
}

func TestCompressed(t *testing.T) {
	var sockets []tcp.Socket
	for i := range 50 {
		sockets = append(sockets, socket(i))
	}
	r := newRig(t, sockets...)
	r.scrape()
	plain := r.get("http://localhost/connections.json").Body.Bytes()
	w := r.get("http://localhost/connections.json", "Accept-Encoding", "gzip")
	assert.Less(t, w.Body.Len(), len(plain)/4)
	z, err := gzip.NewReader(w.Body)
	require.NoError(t, err)
	text, err := io.ReadAll(z)
	require.NoError(t, err)
	assert.Equal(t, plain, text)
}

func TestBeforeTheFirstScrape(t *testing.T) {
	r := newRig(t)
	assert.Equal(t, http.StatusServiceUnavailable, r.get("http://localhost/connections.json").Code)
	assert.Equal(t, http.StatusOK, r.get("http://localhost/").Code)
}

// Names may be any bytes, and are text wherever they are written.
func TestNamesAreText(t *testing.T) {
	for _, name := range []string{`<img src=x onerror=alert(1)>`, "</script><script>", "\x00\x1b[2J\n", "\xff\xfe", "\u2028", `"\`, "=cmd()", "päckchen"} {
		n := &snapshot{point: &point{}, rows: []row{{process: &process.Process{Executable: name, PID: 7}}}}
		s := socket(1)
		n.rows[0].Local, n.rows[0].Peer, n.rows[0].State = s.Local, s.Peer, s.State
		text := appendRows(nil, columns(), n.rows)
		assert.NotContains(t, string(text), "<")
		var objects []map[string]any
		require.NoError(t, json.Unmarshal(text, &objects), "%q", name)
		assert.Equal(t, strings.ToValidUTF8(name, "\ufffd"), strings.ReplaceAll(objects[0]["process"].(string), "\ufffd\ufffd", "\ufffd"))
		var message map[string]any
		require.NoError(t, json.Unmarshal(append((&difference{}).append([]byte("{"), n, false), '}'), &message))
		records, err := csv.NewReader(strings.NewReader(string(csvOf(columns(), n.rows)))).ReadAll()
		require.NoError(t, err)
		assert.NotEqual(t, "=cmd()", records[1][2], "a spreadsheet would run it")
		_, top := (&Page{}).top(httptest.NewRequest(http.MethodGet, "/top", nil), n)
		assert.NotContains(t, string(top), "\x1b")
		assert.Equal(t, 6, strings.Count(string(top), "\n"), "%q stays on its line", name)
	}
}

func TestTop(t *testing.T) {
	r := newRig(t, socket(1), socket(2), socket(60))
	r.scrape()
	for i := range r.source.sockets {
		r.source.sockets[i].BytesSent += uint64(1e6 * (i + 1))
	}
	time.Sleep(time.Millisecond)
	r.scrape()
	plain := r.get("http://localhost/top").Body.String()
	assert.NotContains(t, plain, "\x1b")
	lines := strings.Split(plain, "\n")
	assert.Contains(t, lines[1], "3 total, 3 established")
	assert.Contains(t, lines[5], "198.51.0.60:443", "the busiest comes first")
	assert.Contains(t, lines[5], "2.0 %")
	assert.Contains(t, r.get("http://localhost/top?color").Body.String(), "\x1b[33m")
	assert.Contains(t, r.get("http://localhost/top?n=1").Body.String(), "and 2 more")
}

// Who opens connections and asks for nothing does not take all of the collector's
// descriptors, and those that have one keep it.
func TestTooManyClients(t *testing.T) {
	r := newRig(t, socket(1))
	r.page.cfg.Server = serverConfig("127.0.0.1:0", confignet.TransportTypeTCP)
	require.NoError(t, r.page.Start(context.Background(), nil))
	defer func() { require.NoError(t, r.page.Shutdown(context.Background())) }()
	r.scrape()
	var idle []net.Conn
	defer func() {
		for _, c := range idle {
			_ = c.Close()
		}
	}()
	dial := func() net.Conn {
		c, err := net.Dial("tcp", r.page.address.String())
		require.NoError(t, err)
		idle = append(idle, c)
		return c
	}
	for range maxClients {
		dial()
	}
	require.Eventually(t, func() bool { return r.page.clients.Load() == maxClients }, 10*time.Second, time.Millisecond)
	for range 3 {
		c := dial()
		require.NoError(t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
		_, err := c.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF, "it is closed at once")
	}
	first := idle[0]
	_, err := io.WriteString(first, "GET /connections.json HTTP/1.1\r\nHost: localhost\r\n\r\n")
	require.NoError(t, err)
	answer := make([]byte, 12)
	_, err = io.ReadFull(first, answer)
	require.NoError(t, err)
	assert.Equal(t, "HTTP/1.1 200", string(answer))
	require.NoError(t, idle[1].Close())
	require.Eventually(t, func() bool { return r.page.clients.Load() == maxClients-1 }, 10*time.Second, time.Millisecond, "its place is free again")
}

func TestTooManyRequests(t *testing.T) {
	r := newRig(t, socket(1))
	r.scrape()
	for range maxRequests {
		r.page.requests <- struct{}{}
	}
	for _, path := range []string{"/", "/top", "/connections.csv"} {
		w := r.get("http://localhost" + path)
		assert.Equal(t, http.StatusServiceUnavailable, w.Code, path)
		assert.NotEmpty(t, w.Header().Get("Retry-After"))
	}
	<-r.page.requests
	assert.Equal(t, http.StatusOK, r.get("http://localhost/top").Code)
}

// The history is bounded in time and in points, and the page says how far it goes.
func TestHistoryIsBounded(t *testing.T) {
	for _, tt := range []struct {
		history, interval, want time.Duration
		points                  int
	}{
		{10 * time.Minute, time.Second, 10 * time.Minute, 601},
		{24 * time.Hour, time.Second, 3599 * time.Second, maxHistory},
		{time.Second, time.Minute, time.Second, 2},
	} {
		p := New(Config{History: tt.history, Interval: tt.interval})
		assert.Equal(t, tt.want, p.cfg.History)
		assert.Equal(t, tt.points, p.sampler.history.limit)
	}
}

func TestServe(t *testing.T) {
	t.Run("unix", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "page.sock")
		p, logs := start(t, path, confignet.TransportTypeUnix)
		assert.Equal(t, "unix:"+path, p.URL())
		client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}}}
		defer client.CloseIdleConnections()
		answer, err := client.Get("http://tcpstats/")
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		assert.Equal(t, http.StatusOK, answer.StatusCode)
		assert.Zero(t, logs.FilterLevelExact(zap.WarnLevel).Len())
	})
	t.Run("loopback", func(t *testing.T) {
		p, logs := start(t, "127.0.0.1:0", confignet.TransportTypeTCP)
		assert.Zero(t, logs.FilterLevelExact(zap.WarnLevel).Len())
		assert.Equal(t, 1, logs.FilterMessage("live page: "+p.URL()).Len())
	})
	t.Run("everywhere", func(t *testing.T) {
		_, logs := start(t, "0.0.0.0:0", confignet.TransportTypeTCP)
		require.Equal(t, 1, logs.FilterLevelExact(zap.WarnLevel).Len())
		assert.Contains(t, logs.FilterLevelExact(zap.WarnLevel).All()[0].Message, "page::auth")
	})
	t.Run("taken", func(t *testing.T) {
		p, _ := start(t, "127.0.0.1:0", confignet.TransportTypeTCP)
		other := New(Config{Server: serverConfig(p.address.String(), confignet.TransportTypeTCP), Telemetry: componenttest.NewNopTelemetrySettings()})
		assert.ErrorContains(t, other.Start(context.Background(), nil), "set page::endpoint to a free one")
	})
}

func serverConfig(endpoint string, transport confignet.TransportType) confighttp.ServerConfig {
	server := confighttp.NewDefaultServerConfig()
	server.NetAddr.Endpoint, server.NetAddr.Transport = endpoint, transport
	return server
}

func start(t *testing.T, endpoint string, transport confignet.TransportType) (*Page, *observer.ObservedLogs) {
	core, logs := observer.New(zap.InfoLevel)
	telemetry := componenttest.NewNopTelemetrySettings()
	telemetry.Logger = zap.New(core)
	p := New(Config{Server: serverConfig(endpoint, transport), History: time.Minute, Interval: time.Second, Telemetry: telemetry})
	require.NoError(t, p.Start(context.Background(), componenttest.NewNopHost()))
	t.Cleanup(func() { require.NoError(t, p.Shutdown(context.Background())) })
	return p, logs
}

func FuzzText(f *testing.F) {
	f.Add("a\xffb<\u2028\"")
	f.Fuzz(func(t *testing.T, s string) {
		var got string
		require.NoError(t, json.Unmarshal(appendText(nil, s), &got))
		want, err := json.Marshal(s)
		require.NoError(t, err)
		var back string
		require.NoError(t, json.Unmarshal(want, &back))
		assert.Equal(t, back, got)
	})
}
