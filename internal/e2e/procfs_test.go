// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestProcfs reads /proc/net instead of netlink: the same sockets, states and
// processes, and nothing that is not there.
func TestProcfs(t *testing.T) {
	cast := newCast(t, 0, 0)
	c := startCollector(t, every(quick, "source: procfs, connections: {enabled: true, limit: 0}, "+everyState+everything(t)), 0)
	v := watch(t, c, cast)
	v.withoutZones()
	t.Run("Known", v.knownToProcfs)
	t.Run("Processes", v.processes)
	t.Run("States", v.states)
	t.Run("Counters", v.counters)
	p := readPages(t, c)
	t.Run("Prometheus", p.prometheus)
	t.Run("Telemetry", func(t *testing.T) { p.telemetry(t, "procfs", 0) })
}

// withoutZones takes the zones off link-local addresses, which /proc/net does not
// have.
func (v *view) withoutZones() {
	for i := range v.cast.Known {
		tuple := &v.cast.Known[i].Tuple
		tuple.Local, tuple.Peer = withoutZone(tuple.Local), withoutZone(tuple.Peer)
	}
}

func withoutZone(at netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(at.Addr().WithZone(""), at.Port())
}

func (v *view) knownToProcfs(t *testing.T) {
	for _, k := range v.cast.Known {
		about := fmt.Sprintf("%s: %s", k.What, k.Tuple)
		c := v.scrape.Connections[k.Tuple]
		if !assert.NotNil(t, c, "%s is not there", about) {
			continue
		}
		assert.Equal(t, k.State, c.State, about)
		values := numbers(c.Values)
		if k.Held != nil {
			r := v.before.reports[k.Held]
			assert.EqualValues(t, r.Unread, values["tcp.connection.buffer.usage receive"], "%s: not read", about)
			assert.EqualValues(t, unackedPayload(r), values["tcp.connection.buffer.usage transmit"], "%s: not acknowledged", about)
		}
		want := []string{"tcp.connection.age"}
		if !k.Bare {
			want = append(want, "tcp.connection.buffer.usage receive", "tcp.connection.buffer.usage transmit")
		}
		assert.Equal(t, want, slices.Sorted(maps.Keys(c.Values)), "%s: all that /proc/net has", about)
	}
	for _, k := range v.cast.Listeners {
		local := withoutZone(wire(k.Held.Local))
		l := v.scrape.Listeners[listenerKey(local, k.Held.PID)]
		if assert.NotNil(t, l, "%s: %s is not there", k.What, local) {
			assert.Equal(t, map[string]float64{"tcp.listener.queue.usage": float64(k.Usage)}, numbers(l.Values), k.What)
			ofProcess(t, k.What, k.Held.Process, l.Resource)
		}
	}
}
