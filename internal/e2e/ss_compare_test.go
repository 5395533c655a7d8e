// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
)

// same says which of our values is which of ss's.
type same struct {
	ours string
	ss   func(SS) float64
	// moves: it grows while nothing is sent or received, too.
	moves bool
	// slack is how far ss rounds, in our unit, and how far a clock of the kernel is
	// behind another.
	slack float64
}

// shown is one of ss's values, times a factor that makes its unit ours.
func shown(key string, factor float64) func(SS) float64 {
	return func(s SS) float64 { return s.Values[key] * factor }
}

// sames are all values that ss shows in a way that can be compared.
var sames = []same{
	{ours: "tcp.connection.rtt", ss: shown("rtt", 1e-3), slack: 1e-6},
	{ours: "tcp.connection.rtt.variation", ss: shown("rtt/1", 1e-3), slack: 1e-6},
	{ours: "tcp.connection.rtt.min", ss: shown("minrtt", 1e-3), slack: 1e-6},
	{ours: "tcp.connection.rto", ss: shown("rto", 1e-3), slack: 1e-6},
	{ours: "tcp.connection.congestion_window", ss: func(s SS) float64 { return s.Values["cwnd"] * s.Values["mss"] }},
	{ours: "tcp.connection.mss transmit", ss: shown("mss", 1)},
	{ours: "tcp.connection.mss receive", ss: shown("rcvmss", 1)},
	{ours: "tcp.connection.io transmit", ss: shown("bytes_sent", 1)},
	// ss shows the kernel's raw numbers, in which a FIN is a byte.
	{ours: "tcp.connection.io receive", ss: func(s SS) float64 {
		return s.Values["bytes_received"] - oneIf(s.State, "close_wait", "closing", "last_ack")
	}},
	{ours: "tcp.connection.acked", ss: func(s SS) float64 { return s.Values["bytes_acked"] - oneIf(s.State, "fin_wait_2") }},
	{ours: "tcp.connection.retransmit.io", ss: shown("bytes_retrans", 1)},
	{ours: "tcp.connection.segments transmit", ss: shown("segs_out", 1)},
	{ours: "tcp.connection.segments receive", ss: shown("segs_in", 1)},
	{ours: "tcp.connection.retransmits", ss: shown("retrans/1", 1)},
	{ours: "tcp.connection.spurious_retransmits", ss: shown("dsack_dups", 1)},
	{ours: "tcp.connection.out_of_order", ss: shown("rcv_ooopack", 1)},
	{ours: "tcp.connection.lost", ss: shown("lost", 1)},
	{ours: "tcp.connection.unsent", ss: shown("notsent", 1)},
	{ours: "tcp.connection.window transmit", ss: shown("snd_wnd", 1)},
	// Bits, to whole ones.
	{ours: "tcp.connection.delivery_rate", ss: shown("delivery_rate", 1./8), slack: 1},
	{ours: "tcp.connection.pacing_rate", ss: shown("pacing_rate", 1./8), slack: 1},
	{ours: "tcp.connection.buffer.limit transmit", ss: shown("skmem.tb", 1)},
	{ours: "tcp.connection.buffer.limit receive", ss: shown("skmem.rb", 1)},
	{ours: "tcp.connection.buffer.usage transmit", ss: func(s SS) float64 {
		return s.SendQ - oneIf(s.State, "syn_sent", "fin_wait_1", "closing", "last_ack")
	}},
	// The FIN waits like a byte until the process has read it.
	{ours: "tcp.connection.buffer.usage receive", ss: func(s SS) float64 {
		return max(0, s.RecvQ-oneIf(s.State, "close_wait", "closing", "last_ack"))
	}},
	{ours: "tcp.connection.time receiver", ss: shown("rwnd_limited", 1e-3), moves: true, slack: 2e-3},
	{ours: "tcp.connection.time send_buffer", ss: shown("sndbuf_limited", 1e-3), moves: true, slack: 2e-3},
	{ours: "tcp.connection.time network", moves: true, slack: 4e-3, ss: func(s SS) float64 {
		return (s.Values["busy"] - s.Values["rwnd_limited"] - s.Values["sndbuf_limited"]) * 1e-3
	}},
	// The kernel counts these in ticks, of which there are at least 100 a second.
	{ours: "tcp.connection.idle data_sent", ss: shown("lastsnd", 1e-3), moves: true, slack: 20e-3},
	{ours: "tcp.connection.idle data_received", ss: shown("lastrcv", 1e-3), moves: true, slack: 20e-3},
	{ours: "tcp.connection.idle ack_received", ss: shown("lastack", 1e-3), moves: true, slack: 20e-3},
}

// oneIf is 1 in one of the states.
func oneIf(state string, states ...string) float64 {
	if slices.Contains(states, state) {
		return 1
	}
	return 0
}

// ss compares every socket that ss shows, ours and others', with the scrape.
func (v *view) ss(t *testing.T) {
	if v.before.ss == nil {
		t.Skip("there is no ss to compare with, which iproute2 has")
	}
	before, after := bySocket(v.before.ss), bySocket(v.after.ss)
	compared := 0
	for tuple, was := range before {
		is, stayed := after[tuple]
		if !stayed || was.State == "listen" || is.State == "listen" {
			continue
		}
		c := v.scrape.Connections[tuple]
		if !assert.NotNil(t, c, "%s, %s then %s: ss shows it", tuple, was.State, is.State) {
			continue
		}
		compared++
		if was.State != is.State {
			continue
		}
		assert.Equal(t, is.State, c.State, "%s", tuple)
		if slices.Equal(was.PIDs, is.PIDs) {
			v.compareOwner(t, c, is)
		}
		if len(c.Values) > 1 {
			compareValues(t, c, was, is)
		} else {
			assert.Empty(t, is.Values["bytes_sent"]+is.Values["bytes_received"]+is.Values["rtt"], "%s: ss knows more", tuple)
		}
	}
	assert.GreaterOrEqual(t, compared, len(v.cast.Known))
	t.Logf("%d connections compared", compared)
	if !ownNamespace() {
		return // others' sockets come and go
	}
	for tuple := range v.scrape.Connections {
		_, was := before[tuple]
		_, is := after[tuple]
		assert.True(t, was || is, "%s: ss does not show it", tuple)
	}
	v.compareListeners(t)
}

func (v *view) compareOwner(t *testing.T, c *Connection, s SS) {
	t.Helper()
	switch {
	case c.pid() != 0:
		assert.Contains(t, s.PIDs, c.pid(), "%s", c.Tuple)
	case ownNamespace():
		assert.Empty(t, s.PIDs, "%s: ss knows its process", c.Tuple)
	}
	if slices.Contains(s.PIDs, v.cast.Heir) {
		assert.Equal(t, v.cast.Server.PID, c.pid(), "%s: the oldest process owns it", c.Tuple)
	}
}

// compareValues compares one connection. Where nothing was sent or received
// meanwhile, nothing else can have changed, save for clocks.
func compareValues(t *testing.T, c *Connection, was, is SS) {
	t.Helper()
	quiet := was.Values["segs_out"] == is.Values["segs_out"] && was.Values["segs_in"] == is.Values["segs_in"]
	for _, s := range sames {
		ours, low, high := c.Values[s.ours], s.ss(was), s.ss(is)
		switch {
		case quiet && !s.moves:
			assert.InDelta(t, low, ours.Number, s.slack, "%s of %s, %s: ss has the same before and after", s.ours, c.Tuple, c.State)
			assert.InDelta(t, low, high, s.slack, "%s of %s changed while nothing was sent", s.ours, c.Tuple)
		case ours.Cumulative || quiet:
			assert.GreaterOrEqual(t, ours.Number, low-s.slack, "%s of %s, %s: ss had more before", s.ours, c.Tuple, c.State)
			assert.LessOrEqual(t, ours.Number, high+s.slack, "%s of %s, %s: ss has less after", s.ours, c.Tuple, c.State)
		}
	}
}

// compareListeners compares all listeners, those of one process that share an
// address summed.
func (v *view) compareListeners(t *testing.T) {
	queues := make(map[string][2]float64)
	listen := int64(0)
	for _, s := range v.after.ss {
		if s.State == "listen" {
			listen++
			pid := 0
			if len(s.PIDs) > 0 {
				pid = slices.Min(s.PIDs)
			}
			key := listenerKey(s.Tuple.Local, pid)
			// ss shows the backlog, which one more connection than that passes.
			queues[key] = [2]float64{queues[key][0] + s.RecvQ, queues[key][1] + s.SendQ + 1}
		}
	}
	ours := make(map[string][2]float64)
	for key, l := range v.scrape.Listeners {
		ours[key] = [2]float64{l.Values["tcp.listener.queue.usage"].Number, l.Values["tcp.listener.queue.limit"].Number}
	}
	assert.Equal(t, queues, ours)
	assert.Equal(t, listen, v.scrape.States["listen"])
}

func bySocket(sockets []SS) map[Tuple]SS {
	all := make(map[Tuple]SS)
	for _, s := range sockets {
		all[s.Tuple] = s
	}
	return all
}
