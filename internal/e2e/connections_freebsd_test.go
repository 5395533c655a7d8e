// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	endian "encoding/binary"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// nobody is a user without any privilege.
const nobody = 65534

// device is there where the kernel module is loaded.
const device = "/dev/tcpstats"

// TestConnections watches sockets in every state, held by several processes.
func TestConnections(t *testing.T) {
	for _, source := range []string{"sysctl", "kmod"} {
		t.Run(source, func(t *testing.T) {
			if _, err := os.Stat(device); source == "kmod" && err != nil {
				t.Skipf("the kernel module is not loaded: %v", err)
			}
			t.Run("SameUser", func(t *testing.T) { watchAll(t, source, 0) })
			t.Run("AnotherUser", func(t *testing.T) {
				switch {
				case os.Geteuid() != 0:
					t.Skip("not root: there is no second user to be")
				case source == "kmod":
					t.Skip("the device is for root and its group")
				}
				watchAll(t, source, nobody)
			})
		})
	}
}

// watchAll runs the collector as a user, and the client's process, too.
func watchAll(t *testing.T, source string, user int) {
	cast := newCast(t, 0, user)
	c := startCollector(t, every("1s", "source: "+source+", connections: {enabled: true, limit: 0}, "+everyState+everything(t)), user)
	assert.EqualValues(t, 1, c.source(t, source))
	v := watch(t, c, cast, source)
	t.Run("Known", v.known)
	t.Run("Processes", v.processes)
	t.Run("Listeners", v.listeners)
	t.Run("States", v.states)
	t.Run("Counters", v.counters)
	t.Run("Documented", v.documented)
	p := readPages(t, c)
	t.Run("Prometheus", p.prometheus)
	t.Run("Telemetry", func(t *testing.T) { p.telemetry(t, source, 0) })
	t.Run("Secrets", func(t *testing.T) { p.noSecrets(t, c) })
}

// view is a scrape, and what was seen right before it began and right after it.
type view struct {
	cast          *Cast
	documentation Documented
	source        string
	scrape        *Scrape
	before, after sight
}

// sight is what others say of the sockets.
type sight struct {
	reports  map[*Held]Report
	counters map[string]uint64
}

func watch(t *testing.T, c *Collector, cast *Cast, source string) *view {
	t.Helper()
	look := func() sight {
		s := sight{reports: make(map[*Held]Report), counters: counters(t)}
		for _, k := range cast.Known {
			if k.Held != nil {
				s.reports[k.Held] = k.Held.Report(t)
			}
		}
		return s
	}
	before := look()
	scrape := c.Sink.Next(t)
	return &view{cast: cast, documentation: documented(t), source: source, scrape: scrape, before: before, after: look()}
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
		for name, value := range c.Values {
			if value.Cumulative {
				assert.False(t, value.Start.Before(boot(t).Add(-2*time.Second)), "%s: start of %s", about, name)
			}
		}
		switch {
		case k.Held != nil:
			v.compareReport(t, k, c)
		case v.source == "kmod" && !k.Bare:
			assert.EqualValues(t, k.Received, c.Values["tcp.connection.io receive"].Number, "%s: received", about)
		}
	}
}

// compareReport compares a connection's values with what the process that holds it
// reports.
func (v *view) compareReport(t *testing.T, k Known, c *Connection) {
	t.Helper()
	about := fmt.Sprintf("%s: %s", k.What, k.Tuple)
	before, after := v.before.reports[k.Held], v.after.reports[k.Held]
	values := numbers(c.Values)
	same := func(of float64, name, what string) {
		t.Helper()
		got, ok := values[name]
		if assert.True(t, ok, "%s: no %s", about, name) {
			assert.EqualValues(t, of, got, "%s: %s", about, what)
		}
	}
	if before.Unread == after.Unread {
		same(float64(before.Unread), "tcp.connection.buffer.usage receive", "not read")
	}
	if before.Unacked == after.Unacked {
		same(float64(before.Unacked), "tcp.connection.buffer.usage transmit", "not acknowledged")
	}
	for name, was := range before.More {
		switch got, ok := values[name]; {
		case after.More[name] != was:
		case ok:
			assert.InDelta(t, was, got, 1e-6, "%s: %s", about, name)
		case !v.writes(name), name == "tcp.connection.slow_start_threshold": // which may be infinite
		case k.State == "syn_sent": // before the first answer there is nothing to tell
		default:
			assert.Fail(t, "not there", "%s: %s is %v", about, name, was)
		}
	}
	if v.source != "kmod" || k.Restless {
		return
	}
	same(float64(before.Written), "tcp.connection.io transmit", "sent")
	same(float64(before.Read+before.Unread), "tcp.connection.io receive", "received")
}

// writes tells whether the source has a metric, or that of a series of one, as
// documented. Where nothing is said of FreeBSD, it is a sum over connections.
func (v *view) writes(series string) bool {
	d := v.documentation
	name, _, _ := strings.Cut(series, " ")
	for _, name := range []string{name, strings.Replace(name, "tcp.", "tcp.connection.", 1)} {
		for line := range strings.Lines(d.Text[name]) {
			switch {
			case strings.HasPrefix(line, "- FreeBSD has no such"), strings.HasPrefix(line, "- FreeBSD: not "),
				strings.Contains(line, "FreeBSD: nothing is emitted there"):
				return false
			case strings.HasPrefix(line, "- FreeBSD ("):
				return strings.Contains(line, v.source)
			case strings.HasPrefix(line, "- FreeBSD"):
				return true
			}
		}
		// Of what ends, which only Linux tells.
		if strings.Contains(d.Text[name], "where closes are told") || strings.Contains(d.Text[name], "\n- Linux (bpf): ") {
			return false
		}
	}
	return true
}

// processes compares the resources with the processes.
func (v *view) processes(t *testing.T) {
	for _, k := range v.cast.Known {
		c := v.scrape.Connections[k.Tuple]
		switch {
		case c == nil: // Known has told
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
		assert.Equal(t, map[string]float64{
			"tcp.listener.queue.usage": float64(k.Usage),
			"tcp.listener.queue.limit": float64(k.Limit),
		}, numbers(l.Values), k.What)
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
}

// counters compares the host's counters with net.inet.tcp.stats.
func (v *view) counters(t *testing.T) {
	for name, kernel := range map[string]string{
		"system.network.tcp.connection.opens client": "tcps_connattempt",
		"system.network.tcp.connection.opens server": "tcps_accepts",
		"system.network.tcp.connection.resets":       "tcps_drops",
		"system.network.tcp.timeouts retransmit":     "tcps_rexmttimeo",
		"system.network.tcp.delayed_acks":            "tcps_delack",
		"system.network.tcp.keepalive.probes":        "tcps_keepprobe",
		"system.network.tcp.timeouts persist":        "tcps_persisttimeo",
		"system.network.tcp.timeouts keepalive":      "tcps_keeptimeo",
	} {
		got, ok := v.scrape.System[name]
		if !assert.True(t, ok, "%s is not there", name) {
			continue
		}
		assert.GreaterOrEqual(t, got.Number, float64(v.before.counters[kernel]), "%s: %s", name, kernel)
		assert.LessOrEqual(t, got.Number, float64(v.after.counters[kernel]), "%s: %s", name, kernel)
		assert.WithinDuration(t, boot(t), got.Start, 2*time.Second, name)
	}
	assert.Positive(t, v.scrape.System["system.network.tcp.connection.opens client"].Number)
}

// counters reads the first counters of struct tcpstat of <netinet/tcp_var.h>, which
// are the same ones in 13 and 15.
func counters(t *testing.T) map[string]uint64 {
	t.Helper()
	all, err := unix.SysctlRaw("net.inet.tcp.stats")
	require.NoError(t, err)
	counters := make(map[string]uint64)
	for i, name := range []string{
		"tcps_connattempt", "tcps_accepts", "tcps_connects", "tcps_drops", "tcps_conndrops", "tcps_minmssdrops",
		"tcps_closed", "tcps_segstimed", "tcps_rttupdated", "tcps_delack", "tcps_timeoutdrop", "tcps_rexmttimeo",
		"tcps_persisttimeo", "tcps_keeptimeo", "tcps_keepprobe", "tcps_keepdrops",
	} {
		require.GreaterOrEqual(t, len(all), 8*(i+1))
		counters[name] = endian.NativeEndian.Uint64(all[8*i:])
	}
	return counters
}

// documented checks that each metric is there that is documented for the source, and
// no other.
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
	d := v.documentation
	for _, name := range d.Metrics {
		old := release(t) < 1400000 && (strings.Contains(d.Text[name], "not in 13") || strings.Contains(d.Text[name], "15 or later"))
		switch {
		case name == "system.network.connection.count":
		case name == "tcp.connection.slow_start_threshold", name == "tcp.connection.pacing_rate": // may be infinite everywhere
		case !v.writes(name):
			assert.False(t, seen[name], "%s: not of %s", name, v.source)
		case old, atEvents[name]:
		case strings.HasPrefix(name, "system.network.bpf."): // where a device is open
		default:
			assert.True(t, seen[name], "%s is documented and not there", name)
		}
		delete(seen, name)
	}
	assert.Empty(t, seen, "not documented")
}
