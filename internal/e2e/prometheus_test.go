// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"fmt"
	"maps"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// both runs a test of each Prometheus.
func both(t *testing.T, sent, scraping *Prometheus, test func(t *testing.T, p *Prometheus)) {
	t.Helper()
	t.Run("sent by OTLP", func(t *testing.T) { test(t, sent) })
	t.Run("scraped", func(t *testing.T) { test(t, scraping) })
}

// one is the value of an answer of one row without labels.
func one(answer map[string]float64) float64 { return answer["{}"] }

// TestBirthsAndDeaths looks at series in a Prometheus that begin and end between two
// collections.
func TestBirthsAndDeaths(t *testing.T) {
	server := startProcess(t, "d-server", 0)
	l, short := server.Listen(t, ListenArgs{At: loopback, Backlog: 16}), server.Listen(t, ListenArgs{At: loopback, Backlog: 16})
	sent, scraping, c := watched(t, "connections: {enabled: true, limit: 0}, groups: {expiry: 10s}")
	c.Sink.Next(t)

	// A process that makes five connections and goes.
	const made = 5
	t.Run("the process", func(t *testing.T) {
		five := startProcess(t, "d-five", 0)
		for range made {
			comeAndGo(t, five, short, true)
		}
	})

	// Connections that come and go, beside some that stay.
	client := startProcess(t, "d-client", 0)
	const stay, leave = 4, 6
	var pairs []Pair
	for range stay + leave {
		pairs = append(pairs, connect(t, client, l, ConnectArgs{}))
	}
	live := fmt.Sprintf(`count(tcp_connection_age_seconds{network_local_port="%d", network_connection_state="established"})`, l.Local.Port())
	both(t, sent, scraping, func(t *testing.T, p *Prometheus) {
		is := func(n float64) func(map[string]float64) bool {
			return func(answer map[string]float64) bool { return one(answer) == n }
		}
		assert.EqualValues(t, stay+leave, one(p.Await(t, live, patience, is(stay+leave))), "connections that are there")
	})
	for _, p := range pairs[:leave] {
		p.Client.Reset(t)
		p.Server.Close(t)
	}
	short.Close(t)
	gone := time.Now()
	listener := fmt.Sprintf(`count(tcp_listener_queue_limit{network_local_port="%d"})`, short.Local.Port())

	// Two intervals, of the receiver and of Prometheus: nothing is shown that is not.
	time.Sleep(time.Until(gone.Add(2*time.Second + 500*time.Millisecond)))
	at := time.Now()
	both(t, sent, scraping, func(t *testing.T, p *Prometheus) {
		assert.EqualValues(t, stay, one(p.Query(t, live, at)), "connections that are left, after %s", at.Sub(gone))
		assert.Empty(t, p.Query(t, listener, at), "the listener is gone, after %s", at.Sub(gone))
		// Extrapolated by an interval at most at its end, as any counter's.
		opens := p.Query(t, `sum(increase(tcp_opens_total{process_executable_name="d-five"}[1m]))`, at)
		assert.InDelta(t, made, one(opens), .25*made)
		assert.GreaterOrEqual(t, one(opens), float64(made)-1e-6)
		t.Logf("increase() of %d is %v", made, one(opens))
		raw := p.Query(t, `sum(max_over_time(tcp_opens_total{process_executable_name="d-five"}[1m]) - min_over_time(tcp_opens_total{process_executable_name="d-five"}[1m]))`, at)
		assert.EqualValues(t, made, one(raw), "it began with 0")
	})

	// Its group ends with all its series, and what it counted stays counted.
	both(t, sent, scraping, func(t *testing.T, p *Prometheus) {
		const group = `{process_executable_name="d-five"}`
		shown := p.Await(t, `count({__name__=~"tcp_.*", process_executable_name="d-five"})`, patience, func(answer map[string]float64) bool { return len(answer) == 0 })
		assert.Empty(t, shown, "its group has ended")
		assert.InDelta(t, made, one(p.Query(t, "sum(increase(tcp_opens_total"+group+"[2m]))", time.Now())), .25*made)
	})
}

// load opens and closes connections, some twenty a second, until it is told to stop,
// and knows when it opened which.
type load struct {
	opened []time.Time
	stop   chan struct{}
	done   chan struct{}
}

func startLoad(t *testing.T, client *Process, to *Held) *load {
	t.Helper()
	l := &load{stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(l.done)
		for {
			select {
			case <-l.stop:
				return
			case <-time.After(40 * time.Millisecond):
			}
			l.opened = append(l.opened, time.Now())
			comeAndGo(t, client, to, true)
		}
	}()
	return l
}

// end returns how many were opened.
func (l *load) end() float64 {
	close(l.stop)
	<-l.done
	return float64(len(l.opened))
}

// between returns how many of them were opened between two times.
func (l *load) between(from, to time.Time) (n float64) {
	for _, at := range l.opened {
		if at.After(from) && at.Before(to) {
			n++
		}
	}
	return n
}

// TestRestart stops the collector for 12 s under load: what is not counted happened
// while it was stopped, and the kernel's own counters miss nothing.
func TestRestart(t *testing.T) {
	server, client := startProcess(t, "r-server", 0), startProcess(t, "r-client", 0)
	l := server.Listen(t, ListenArgs{At: loopback, Backlog: 16})
	sent, scraping, c := watched(t, "groups: {expiry: 1m}")
	c.Sink.Next(t)
	load := startLoad(t, client, l)
	time.Sleep(4 * time.Second)
	down := time.Now()
	c.Restart(t, 12*time.Second)
	c.Sink.Next(t)
	up := time.Now()
	time.Sleep(4 * time.Second)
	all := load.end()
	lost := load.between(down, up)
	// By its scrape, Prometheus does not get the last collection: what came after its
	// last scrape is lost, too.
	unscraped := load.between(down.Add(-time.Second), down)
	time.Sleep(2500 * time.Millisecond)
	at := time.Now()
	t.Logf("%v connections, %v of them while it was stopped for %s", all, lost, up.Sub(down).Round(time.Millisecond))
	both(t, sent, scraping, func(t *testing.T, p *Prometheus) {
		counted := one(p.Query(t, `sum(increase(tcp_opens_total{process_executable_name="r-client"}[2m]))`, at))
		least := all - lost
		if p == scraping {
			least -= unscraped
		}
		t.Logf("counted %v of %v, lost %v", counted, all, all-counted)
		assert.GreaterOrEqual(t, counted, least-1)
		assert.LessOrEqual(t, counted, all*1.1, "nothing is made up, but for what Prometheus extrapolates")
	})
}

// TestTwoHosts has two hosts write through one gateway: they differ in nothing but
// their names, and stay two. Each writes one connection of many, and says how many it
// leaves out.
func TestTwoHosts(t *testing.T) {
	const n = 6
	server, client := startProcess(t, "t-server", 0), startProcess(t, "t-client", 0)
	l := server.Listen(t, ListenArgs{At: loopback, Backlog: n})
	for range n {
		connect(t, client, l, ConnectArgs{})
	}
	entrance := freeEndpoint(t)
	sent := startPrometheus(t, nil)
	gateway := startCollectorWith(t, "{}\n  otlp: {protocols: {grpc: {endpoint: "+entrance+"}}}", 0,
		"  otlp_http/prometheus: {endpoint: "+sent.OTLP()+"}\n", "{metrics: {receivers: [otlp], exporters: [otlp_http/prometheus, prometheus]}}")
	gateway.missing = true
	var host *Collector
	for _, name := range []string{"beta", "alpha"} {
		t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "host.name="+name)
		host = startCollectorWith(t, fmt.Sprintf("{initial_delay: 0s, collection_interval: 1s, connections: {enabled: true, limit: 1}, filter: {local_ports: [%d]}}", l.Local.Port()), 0,
			"  otlp_grpc/gateway: {endpoint: "+entrance+", tls: {insecure: true}}\nprocessors:\n  resource_detection: {detectors: [env, system], system: {hostname_sources: [os]}}\n",
			"{metrics: {receivers: [tcp_stats], processors: [resource_detection], exporters: [otlp_grpc/gateway]}}")
		host.missing = true
	}
	scraping := startPrometheus(t, map[string]string{"gateway": gateway.page, "otelcol": host.telemetry})
	began := time.Now()
	both(t, sent, scraping, func(t *testing.T, p *Prometheus) {
		want := map[string]float64{row("host_name", "alpha"): n, row("host_name", "beta"): n}
		got := p.Await(t, fmt.Sprintf(`sum by (host_name) (tcp_count{server_port="%d", tcp_role="server", network_connection_state="established"})`, l.Local.Port()), patience,
			func(answer map[string]float64) bool { return maps.Equal(answer, want) })
		assert.Equal(t, want, got)
	})

	// What the receiver loses, a question of docs/questions.md: all but one of its
	// connections, at each collection.
	time.Sleep(time.Until(began.Add(8 * time.Second)))
	at := time.Now()
	got := scraping.Query(t, questions(t)["What does the receiver lose?"], at)
	dropped := got[row("lost", "series")]
	assert.GreaterOrEqual(t, dropped, n-1.0)
	assert.LessOrEqual(t, dropped, (n-1)*(at.Sub(began).Seconds()+1)*1.2)
	assert.Zero(t, math.Mod(one(scraping.Query(t, "sum(otelcol_receiver_tcpstats_dropped_series)", at)), n-1), "each time all but one")
	assert.Zero(t, got[row("lost", "events")])
	t.Log(got)
}
