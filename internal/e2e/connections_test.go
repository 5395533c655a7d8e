// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestConnections watches sockets in every state, held by several processes.
func TestConnections(t *testing.T) {
	for _, source := range []string{"auto", "sock_diag"} {
		t.Run(source, func(t *testing.T) { testConnections(t, source) })
	}
}

func testConnections(t *testing.T, source string) {
	cast := newCast(t, 0, 0)
	c := startCollector(t, every("1s", "source: "+source+", connections: {enabled: true, limit: 0}, "+everyState+everything(t)), 0)
	if source == "auto" {
		source = c.best(t)
		t.Logf("auto is %s", source)
	}

	v := watch(t, c, cast)
	t.Run("Known", v.known)
	t.Run("Processes", v.processes)
	t.Run("Listeners", v.listeners)
	t.Run("States", v.states)
	t.Run("Counters", v.counters)
	t.Run("Documented", v.documented)
	t.Run("SS", v.ss)

	p := readPages(t, c)
	t.Run("Prometheus", p.prometheus)
	t.Run("Telemetry", func(t *testing.T) { p.telemetry(t, source, 0) })
	t.Run("Secrets", func(t *testing.T) { p.noSecrets(t, c) })
}

// view is a scrape, and what was seen right before it began and right after it.
type view struct {
	cast          *Cast
	scrape        *Scrape
	before, after sight
}

// sight is what others say of the sockets.
type sight struct {
	reports  map[*Held]Report
	ss       []SS // nil where there is no ss
	counters map[string]float64
}

func watch(t *testing.T, c *Collector, cast *Cast) *view {
	t.Helper()
	look := func() sight {
		s := sight{reports: make(map[*Held]Report), counters: procNet(t)}
		for _, k := range cast.Known {
			if k.Held != nil {
				s.reports[k.Held] = k.Held.Report(t)
			}
		}
		if _, err := exec.LookPath("ss"); err == nil {
			s.ss = ss(t)
		}
		return s
	}
	before := look()
	scrape := c.Sink.Next(t)
	return &view{cast: cast, scrape: scrape, before: before, after: look()}
}

// known compares each known socket with what its process says.
func (v *view) known(t *testing.T) {
	for _, k := range v.cast.Known {
		c := v.scrape.Connections[k.Tuple]
		if !assert.NotNil(t, c, "%s: %s is not there", k.What, k.Tuple) {
			continue
		}
		about := fmt.Sprintf("%s: %s", k.What, k.Tuple)
		assert.Equal(t, k.State, c.State, about)
		if k.Bare {
			assert.Equal(t, []string{"tcp.connection.age"}, slices.Collect(maps.Keys(c.Values)), about)
			continue
		}
		for name, value := range c.Values {
			if value.Cumulative {
				// Nobody knows what was before the first scrape, which found it.
				assert.WithinDuration(t, boot(t), value.Start, 2*time.Second, "%s: start of %s", about, name)
			}
		}
		values := numbers(c.Values)
		received := k.Received
		if k.Held != nil {
			received = v.compareReport(t, k, values)
		}
		assert.EqualValues(t, received, values["tcp.connection.io receive"], "%s: received", about)
		if k.Twin != nil {
			twin := v.before.reports[k.Twin]
			assert.EqualValues(t, twin.Written-unackedPayload(twin), received, "%s: what one end sent, the other received", about)
		}

		if k.State == "syn_sent" {
			for _, unmeasured := range []string{
				"tcp.connection.rtt", "tcp.connection.rtt.min", "tcp.connection.rtt.variation", "tcp.connection.delivery_rate",
				"tcp.connection.idle data_sent", "tcp.connection.idle data_received", "tcp.connection.idle ack_received",
			} {
				assert.NotContains(t, c.Values, unmeasured, about)
			}
		} else {
			assert.Positive(t, values["tcp.connection.rtt"], "%s: a round-trip time", about)
		}
	}
	if v.cast.Lossy == nil {
		return
	}
	lossy := v.scrape.Connections[Tuple{v.cast.Lossy.Client.Local, v.cast.Lossy.Client.Peer}]
	require.NotNil(t, lossy)
	for _, name := range []string{"retransmits", "retransmit.io", "slow_start_threshold"} {
		assert.Positive(t, lossy.Values["tcp.connection."+name].Number, "%s after losses", name)
	}
}

// compareReport compares a connection's values with what the process that holds it
// reports, and returns the payload that has come to it.
func (v *view) compareReport(t *testing.T, k Known, values map[string]float64) (received int64) {
	t.Helper()
	about := fmt.Sprintf("%s: %s", k.What, k.Tuple)
	r, later := v.before.reports[k.Held], v.after.reports[k.Held]
	// What is sent again counts again, what was not sent once does not.
	assert.EqualValues(t, r.Written,
		values["tcp.connection.io transmit"]-values["tcp.connection.retransmit.io"]+values["tcp.connection.unsent"], "%s: sent", about)
	assert.EqualValues(t, r.Unread, values["tcp.connection.buffer.usage receive"], "%s: not read", about)
	assert.EqualValues(t, unackedPayload(r), values["tcp.connection.buffer.usage transmit"], "%s: not acknowledged", about)
	acked := r.Written - unackedPayload(r)
	if k.Held.Process == v.cast.Client && k.State != "syn_sent" {
		acked++ // the SYN, documentation.md
	}
	assert.EqualValues(t, acked, values["tcp.connection.acked"], "%s: acknowledged", about)

	retransmits := values["tcp.connection.retransmits"]
	assert.LessOrEqual(t, float64(r.Retransmits), retransmits, "%s: retransmits", about)
	assert.GreaterOrEqual(t, float64(later.Retransmits), retransmits, "%s: retransmits", about)
	if r.RTT == later.RTT {
		assert.InDelta(t, r.RTT.Seconds(), values["tcp.connection.rtt"], 1e-9, "%s: round-trip time", about)
	}
	return r.Read + r.Unread
}

// unackedPayload is SIOCOUTQ without our FIN, which it counts as a byte as long as
// it is not acknowledged. (For a SYN it says 0, tcp_ioctl in net/ipv4/tcp.c.)
func unackedPayload(r Report) int64 {
	switch r.State {
	case "fin_wait_1", "closing", "last_ack":
		return r.Unacked - 1
	}
	return r.Unacked
}

// processes compares the resources with the processes.
func (v *view) processes(t *testing.T) {
	for _, k := range v.cast.Known {
		c := v.scrape.Connections[k.Tuple]
		switch {
		case c == nil:
		case k.Held == nil:
			assert.Empty(t, c.Resource, "%s has no process", k.What)
		default:
			ofProcess(t, k.What, k.Held.Process, c.Resource)
		}
	}
}

// listeners compares listeners with how they were made.
func (v *view) listeners(t *testing.T) {
	for _, k := range v.cast.Listeners {
		l := v.scrape.Listeners[listenerKey(wire(k.Held.Local), k.Held.PID)]
		if !assert.NotNil(t, l, "%s: %s is not there", k.What, k.Held.Local) {
			continue
		}
		got := numbers(l.Values)
		delete(got, "tcp.listener.drops") // sock_diag has them, the others do not
		assert.Equal(t, map[string]float64{
			"tcp.listener.queue.usage": float64(k.Usage),
			"tcp.listener.queue.limit": float64(k.Limit),
		}, got, k.What)
		ofProcess(t, k.What, k.Held.Process, l.Resource)
	}
}

// states compares the counts with the sockets that are known.
func (v *view) states(t *testing.T) {
	count := make(map[string]int64)
	for _, k := range v.cast.Known {
		count[k.State]++
	}
	for state, n := range count {
		assert.GreaterOrEqual(t, v.scrape.States[state], n, state)
	}
	for _, state := range ssStates {
		if state != "closed" {
			assert.Contains(t, v.scrape.States, state)
		}
	}
	if !ownNamespace() {
		return
	}
	// What is counted is what is written, but for the listeners.
	written := make(map[string]int64)
	for _, c := range v.scrape.Connections {
		written[c.State]++
	}
	for state, n := range v.scrape.States {
		if state != "listen" {
			assert.Equal(t, written[state], n, state)
		}
	}
}

// counters compares the host's counters with /proc/net/snmp and netstat.
func (v *view) counters(t *testing.T) {
	for name, kernel := range map[string]string{
		"system.network.tcp.connection.opens client":    "ActiveOpens",
		"system.network.tcp.connection.opens server":    "PassiveOpens",
		"system.network.tcp.connection.attempts.failed": "AttemptFails",
		"system.network.tcp.connection.resets":          "EstabResets",
		"system.network.tcp.connection.drops.timeout":   "TCPAbortOnTimeout",
		"system.network.tcp.segments receive":           "InSegs",
		"system.network.tcp.segments transmit":          "OutSegs RetransSegs",
		"system.network.tcp.retransmits":                "RetransSegs",
		"system.network.tcp.retransmits.syn":            "TCPSynRetrans",
		"system.network.tcp.resets transmit":            "OutRsts",
		"system.network.tcp.errors checksum":            "InCsumErrors",
		"system.network.tcp.timeouts retransmit":        "TCPTimeouts",
		"system.network.tcp.accept_queue.overflows":     "ListenOverflows",
		"system.network.tcp.listen.drops":               "ListenDrops",
		"system.network.tcp.syn_cookies sent":           "SyncookiesSent",
		"system.network.tcp.out_of_order":               "TCPOFOQueue",
		"system.network.tcp.loss_probes":                "TCPLossProbes",
		"system.network.tcp.delayed_acks":               "DelayedACKs",
		"system.network.tcp.keepalive.probes":           "TCPKeepAlive",
	} {
		var before, after float64
		for _, word := range strings.Fields(kernel) {
			before += v.before.counters[word]
			after += v.after.counters[word]
		}
		got, ok := v.scrape.System[name]
		if assert.True(t, ok, "%s is not there", name) {
			assert.GreaterOrEqual(t, got.Number, before, "%s: %s", name, kernel)
			assert.LessOrEqual(t, got.Number, after, "%s: %s", name, kernel)
			assert.WithinDuration(t, boot(t), got.Start, 2*time.Second, name)
		}
	}
	assert.Positive(t, v.scrape.System["system.network.tcp.accept_queue.overflows"].Number, "SYNs were dropped")
}

// documented checks that each documented metric of this system is there, and no
// other.
func (v *view) documented(t *testing.T) {
	seen := make(map[string]bool)
	see := func(key string) {
		end := strings.IndexAny(key+" ", " {")
		seen[key[:end]] = true
	}
	for _, c := range v.scrape.Connections {
		for key := range c.Values {
			see(key)
		}
	}
	for _, l := range v.scrape.Listeners {
		for key := range l.Values {
			see(key)
		}
	}
	for key := range v.scrape.System {
		see(key)
	}
	for key := range v.scrape.Groups {
		see(key)
	}
	for key := range v.scrape.Beneath {
		see(key)
	}
	d := documented(t)
	for _, name := range d.Metrics {
		switch {
		case name == "system.network.connection.count":
		case atEvents[name]:
		case strings.HasPrefix(name, "system.network.conntrack."): // where that is loaded
		case strings.Contains(d.Text[name], "\n- Linux has no such"):
			assert.False(t, seen[name], "%s: Linux has none", name)
		case name == "tcp.connection.timeouts" && kernelBefore(t, 6, 7):
		case name == "tcp.connection.slow_start_threshold" && v.cast.Lossy == nil: // still infinite
		default:
			assert.True(t, seen[name], "%s is documented and not there", name)
		}
		delete(seen, name)
	}
	assert.Empty(t, seen, "not documented")
}
