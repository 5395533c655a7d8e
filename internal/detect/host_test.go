// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

var nginx = &process.Process{PID: 80, Executable: "nginx"}

func listener(port uint16, p *process.Process, length, limit uint32) *event.Connection {
	return &event.Connection{
		Local: netip.AddrPortFrom(here, port), State: tcp.Listen, Process: p, Traits: &event.Traits{},
		Fields:  tcp.Fields(0).With(tcp.FieldQueueLength).With(tcp.FieldQueueLimit),
		Details: &event.Details{Sample: tcp.Socket{QueueLength: length, QueueLimit: limit}},
	}
}

func TestNewListeners(t *testing.T) {
	r := newRig(t, nil, Listener)
	space := Space{FirstPort: 32768, LastPort: 60999}
	at := epoch
	next := func(all ...*event.Connection) {
		r.scrape(at, space, all...)
		at = at.Add(10 * time.Minute)
	}
	for range 7 { // the first hour learns
		next(listener(80, nginx, 0, 128))
	}
	require.Empty(t, r.found)
	next(listener(80, nginx, 0, 128), listener(4444, implant, 0, 1))
	require.Equal(t, []string{"listener"}, r.rules())
	assert.Equal(t, "implant on 192.0.2.10:4444", r.found[0].Subject)
	assert.Equal(t, implant, r.found[0].Process)
	for range 20 { // one that comes and goes is known
		next(listener(80, nginx, 0, 128))
		next(listener(80, nginx, 0, 128), listener(4444, implant, 0, 1))
	}
	require.Len(t, r.found, 1)

	// Ephemeral ports are one listener of their program.
	next(listener(40001, implant, 0, 1))
	next(listener(40002, implant, 0, 1))
	require.Equal(t, []string{"listener", "listener"}, r.rules())
	assert.Equal(t, "implant on 192.0.2.10, ephemeral ports", r.found[1].Subject)

	// A program that is found a scrape later is named.
	next(listener(5555, nil, 0, 1))
	require.Len(t, r.found, 2)
	next(listener(5555, implant, 0, 1))
	require.Len(t, r.found, 3)
	assert.Equal(t, "implant on 192.0.2.10:5555", r.found[2].Subject)
	for range 4 { // one that never is is reported nevertheless
		next(listener(6666, nil, 0, 1))
	}
	next(listener(6666, nginx, 0, 1)) // and is the same when it is named at last
	require.Len(t, r.found, 4)
	assert.Equal(t, "192.0.2.10 on 192.0.2.10:6666", r.found[3].Subject)
}

func TestAcceptQueue(t *testing.T) {
	r := newRig(t, nil, Saturation)
	at := epoch
	next := func(length uint32) {
		r.scrape(at, Space{}, listener(80, nginx, length, 128))
		at = at.Add(10 * time.Second)
	}
	for _, length := range []uint32{0, 127, 128, 128, 110, 128} {
		next(length)
	}
	require.Equal(t, []string{"saturation.accept_queue"}, r.rules())
	assert.Equal(t, event.Error, r.found[0].Severity)
	assert.Equal(t, nginx, r.found[0].Process)
	next(5)
	require.Equal(t, []string{"saturation.accept_queue", "-saturation.accept_queue"}, r.rules())
	assert.Equal(t, r.found[0].ID, r.found[1].ID)
	next(128) // within the time of suppress
	next(5)
	require.Len(t, r.found, 2)
	at = at.Add(time.Hour)
	next(128)
	require.Len(t, r.found, 3)
	r.scrape(at, Space{}) // the listener has gone
	require.Len(t, r.found, 4)
	assert.True(t, r.found[3].Ended)
}

func TestCounters(t *testing.T) {
	for counter, rule := range map[tcp.Counter]string{tcp.SYNCookiesSent: "saturation.syn_cookies", tcp.MemoryPressures: "saturation.memory"} {
		r := newRig(t, nil, Saturation)
		at := epoch
		for _, v := range []uint64{1000, 1000, 1050, 1060, 1060, 1060, 1060, 1060} {
			var space Space
			space.Counters.Set(counter, v)
			r.scrape(at, space)
			at = at.Add(10 * time.Second)
		}
		require.Equal(t, []string{rule, "-" + rule}, r.rules())
		assert.Equal(t, "this host", r.found[0].Subject)
	}
}

func TestConntrack(t *testing.T) {
	r := newRig(t, nil, Saturation)
	for i, tracked := range []uint64{100, 700, 900, 950, 700, 700, 700} {
		r.scrape(epoch.Add(time.Duration(i)*10*time.Second), Space{Tracked: tracked, TrackedLimit: 1000})
	}
	require.Equal(t, []string{"saturation.conntrack", "-saturation.conntrack"}, r.rules())
	assert.Equal(t, 0.9, evidence(t, r.found[0], "usage").Value)
}

// connections are some connections of a program with one peer.
func connections(n int, p *process.Process, peer netip.AddrPort, state tcp.State) (all []*event.Connection) {
	for i := range n {
		all = append(all, &event.Connection{
			Local: netip.AddrPortFrom(here, uint16(32768+i)), Peer: peer, Role: tcp.Client, State: state, Process: p,
			Traits: &event.Traits{}, Slot: uint32(i), ID: tcp.Identity{Cookie: uint64(i + 1)}, Details: &event.Details{},
		})
	}
	return all
}

func TestEphemeralPorts(t *testing.T) {
	r := newRig(t, nil, Saturation)
	space := Space{FirstPort: 32768, LastPort: 32867}
	for i, n := range []int{80, 81, 99, 10} {
		r.scrape(epoch.Add(time.Duration(i)*10*time.Second), space, connections(n, nginx, home, tcp.Established)...)
	}
	require.Equal(t, []string{"saturation.ephemeral_ports", "-saturation.ephemeral_ports"}, r.rules())
	assert.Equal(t, nginx, r.found[0].Process)
	assert.Equal(t, event.Warning, r.found[0].Severity)
}

func TestCloseWait(t *testing.T) {
	r := newRig(t, nil, Saturation)
	for i, n := range []int{5, 150, 90, 120, 130, 130, 140, 20} {
		r.scrape(epoch.Add(time.Duration(i)*10*time.Second), Space{}, connections(n, nginx, home, tcp.CloseWait)...)
	}
	require.Equal(t, []string{"saturation.close_wait", "-saturation.close_wait"}, r.rules())
	assert.Equal(t, 130.0, evidence(t, r.found[0], "close_wait").Value, "after three scrapes in which they did not fall")
}

func TestResolver(t *testing.T) {
	r := newRig(t, nil, Saturation)
	resolver := netip.MustParseAddrPort("192.0.2.53:53")
	at := epoch
	ask := func(n int, answered bool) {
		for range n {
			r.Queried(&Query{At: at, Local: here, Process: nginx, Resolver: resolver, Name: "example.org.", Answered: answered})
			at = at.Add(2 * time.Second)
		}
	}
	ask(100, true)
	ask(4, false)
	ask(30, true)
	require.Empty(t, r.found)
	at = at.Add(resolverWindow)
	ask(60, false)
	require.Equal(t, []string{"saturation.resolver"}, r.rules())
	at = at.Add(resolverWindow)
	ask(10, true)
	require.Equal(t, []string{"saturation.resolver", "-saturation.resolver"}, r.rules())
}

// flowing are connections that have sent so many segments and sent again so many.
func flowing(n int, segments, retransmits uint64, rtt time.Duration, window uint32) []*event.Connection {
	all := connections(n, nginx, home, tcp.Established)
	for _, c := range all {
		c.Fields = c.Fields.With(tcp.FieldSegmentsSent).With(tcp.FieldRetransmits).With(tcp.FieldSmoothedRTT).With(tcp.FieldSendWindow).With(tcp.FieldUnsent)
		c.Sample.SegmentsSent, c.Retransmits, c.SmoothedRTT = segments, retransmits, rtt
		c.Sample.SendWindow, c.Sample.Unsent = window, 1000
	}
	return all
}

func TestStalls(t *testing.T) {
	const ms = time.Millisecond
	r := newRig(t, nil, Stall)
	at, segments, again := epoch, uint64(0), uint64(0)
	next := func(lost uint64, rtt time.Duration, window uint32) {
		segments, again = segments+1000, again+lost
		r.scrape(at, Space{}, flowing(3, segments, again, rtt, window)...)
		at = at.Add(10 * time.Second)
	}
	for range 40 {
		next(10, 30*ms, 65535)
	}
	next(100, 30*ms, 65535) // two scrapes are none
	next(100, 30*ms, 65535)
	next(10, 30*ms, 65535)
	require.Empty(t, r.found)

	for range 5 {
		next(80, 30*ms, 65535)
	}
	require.Equal(t, []string{"stall.retransmits"}, r.rules())
	assert.Equal(t, "nginx, port 443", r.found[0].Subject)
	assert.Equal(t, 0.08, evidence(t, r.found[0], "retransmit_share").Value)
	for range 3 {
		next(0, 30*ms, 65535)
	}
	require.Equal(t, []string{"stall.retransmits", "-stall.retransmits"}, r.rules())

	r.found = nil
	for range 4 {
		next(0, 30*ms, 0)
	}
	next(0, 30*ms, 65535)
	require.Equal(t, []string{"stall.zero_window", "-stall.zero_window"}, r.rules())
	assert.Equal(t, 3.0, evidence(t, r.found[0], "connections").Value)

	r.found = nil
	for range 5 {
		next(0, 100*ms, 65535)
	}
	require.Equal(t, []string{"stall.rtt"}, r.rules())
	assert.Equal(t, "198.51.100.0/24", r.found[0].Subject)
	for range 3 {
		next(0, 31*ms, 65535)
	}
	require.Equal(t, []string{"stall.rtt", "-stall.rtt"}, r.rules())
}

// A slot that another connection has now says nothing of the one before.
func TestStallOfReusedSlot(t *testing.T) {
	r := newRig(t, nil, Stall)
	for i := range 10 {
		all := flowing(1, 1_000_000*uint64(1+i), 900_000*uint64(1+i), time.Millisecond, 65535)
		all[0].ID.Cookie = uint64(100 + i)
		r.scrape(epoch.Add(time.Duration(i)*10*time.Second), Space{}, all...)
	}
	assert.Empty(t, r.found)
}

func TestTunnels(t *testing.T) {
	hex := "0123456789abcdef"
	data := func(n int) string {
		b := make([]byte, 32)
		for i := range b {
			b[i] = hex[(n*31+i*i*7+n*i)%16]
		}
		return fmt.Sprintf("%s%04x", b, n)
	}
	for name, tt := range map[string]struct {
		name  func(n int) string
		found string
	}{
		"tunnel":            {func(n int) string { return data(n) + ".t.example.org." }, "tunneler by example.org"},
		"country's suffix":  {func(n int) string { return data(n) + ".example.co.uk" }, "tunneler by example.co.uk"},
		"short and random":  {func(n int) string { return fmt.Sprintf("a%db%dc%d.example.org", n%10, n, n*7) + "" }, "tunneler by example.org"},
		"hosts of a domain": {func(n int) string { return fmt.Sprintf("web%d.example.org", n) }, ""},
		"addresses":         {func(n int) string { return fmt.Sprintf("%d.2.0.192.in-addr.arpa", n) }, ""},
		"blocklist":         {func(n int) string { return fmt.Sprintf("%d.2.0.192.zen.example.org", n) }, ""},
		"own domains":       {func(n int) string { return fmt.Sprintf("d%dx%da%d.cloudfront.net", n, n, n) }, ""},
		"the same ones":     {func(n int) string { return data(n%40) + ".example.org" }, ""},
	} {
		r := newRig(t, nil, Names()...)
		p := &process.Process{PID: 5, Executable: "tunneler"}
		for n := range 300 {
			r.Queried(&Query{At: epoch.Add(time.Duration(n) * time.Second), Local: here, Process: p, Resolver: netip.MustParseAddrPort("192.0.2.53:53"), Name: tt.name(n), Answered: true})
		}
		if tt.found == "" {
			assert.Empty(t, r.found, name)
			continue
		}
		require.Equal(t, []string{"dns_tunnel"}, r.rules(), name)
		assert.Equal(t, tt.found, r.found[0].Subject)
		assert.Len(t, r.found[0].Peers, 5)
		assert.Equal(t, 50.0, evidence(t, r.found[0], "subdomains").Threshold, "nobody connects to it")
	}
}

// Not every query has a process: the finding names the one that was last known to ask.
func TestProcessOfQueries(t *testing.T) {
	r := newRig(t, nil, DNSTunnel, Saturation)
	p := &process.Process{PID: 5, Executable: "tunneler"}
	for n := range 60 {
		q := &Query{At: epoch.Add(time.Duration(n) * time.Second), Local: here, Resolver: netip.MustParseAddrPort("192.0.2.53:53"), Name: fmt.Sprintf("a%db%dc%dxyz9.example.org", n%10, n, n*7)}
		if n == 2 {
			q.Process = p
		}
		r.Queried(q)
	}
	require.Equal(t, []string{"saturation.resolver", "dns_tunnel"}, r.rules())
	for _, f := range r.found {
		assert.Equal(t, p, f.Process, f.Rule)
	}
	assert.Equal(t, "tunneler by example.org", r.found[1].Subject)
}

// A domain whose addresses somebody connects to needs twice as many names.
func TestTunnelConnected(t *testing.T) {
	r := newRig(t, nil, DNSTunnel)
	for n := range 300 {
		at := epoch.Add(time.Duration(n) * time.Second)
		r.Queried(&Query{At: at, Local: here, Name: fmt.Sprintf("a%db%dc%d.example.org", n%10, n, n*7), Answered: true, Answers: []netip.Addr{home.Addr()}})
		r.end(link{at: at, peer: home, sent: 1})
	}
	require.Equal(t, []string{"dns_tunnel"}, r.rules())
	assert.Equal(t, 100.0, evidence(t, r.found[0], "subdomains").Threshold)
}

func TestEgress(t *testing.T) {
	backup := &process.Process{PID: 3, Executable: "backup"}
	play := func(r *rig, hours int, sent func(hour int) uint64) {
		for hour := range hours {
			for part := range 6 {
				r.end(link{at: epoch.Add(time.Duration(hour)*time.Hour + time.Duration(part)*9*time.Minute), process: backup, peer: home, sent: sent(hour) / 6})
			}
		}
	}
	r := newRig(t, nil, Egress)
	play(r, 60, func(hour int) uint64 {
		if hour == 50 {
			return 3_000_000_000
		}
		return 20_000_000 + uint64(hour%7)*1_000_000
	})
	require.Equal(t, []string{"egress"}, r.rules())
	assert.Equal(t, "backup, port 443", r.found[0].Subject)
	assert.InEpsilon(t, 23e6, evidence(t, r.found[0], "median").Value, 0.1)
	assert.Equal(t, 50*time.Hour, r.found[0].First.Sub(epoch.Truncate(time.Hour)))

	for name, sent := range map[string]func(hour int) uint64{
		"a nightly backup": func(hour int) uint64 {
			if hour%24 == 3 {
				return 50_000_000_000
			}
			return 1_000_000
		},
		"little, but more": func(hour int) uint64 {
			if hour == 50 {
				return 90_000_000
			}
			return 1000
		},
		"much, always": func(int) uint64 { return 5_000_000_000 },
		"before it is learned": func(hour int) uint64 {
			if hour == 20 {
				return 5_000_000_000
			}
			return 1000
		},
	} {
		r := newRig(t, nil, Egress)
		play(r, 100, sent)
		assert.Empty(t, r.found, name)
	}
}

func TestEgressDrift(t *testing.T) {
	updater := &process.Process{PID: 6, Executable: "updater"}
	play := func(r *rig, learn int, then ...netip.AddrPort) {
		for hour := range 30 {
			for n := range learn {
				r.end(link{at: epoch.Add(time.Duration(hour) * time.Hour), process: updater, peer: netip.AddrPortFrom(netip.AddrFrom4([4]byte{8, byte(n), byte(hour), 1}), 443), sent: 10})
			}
		}
		for _, peer := range then {
			for range 3 {
				r.end(link{at: epoch.Add(31 * time.Hour), process: updater, peer: peer, sent: 10})
			}
		}
	}
	r := newRig(t, nil, EgressDrift)
	play(r, 3, home, netip.MustParseAddrPort("8.1.200.200:443"))
	require.Equal(t, []string{"egress_drift"}, r.rules(), "another address of a known network is none")
	assert.Equal(t, "updater to 198.51.0.0/16, port 443", r.found[0].Subject)
	r = newRig(t, nil, EgressDrift)
	play(r, 40, home)
	assert.Empty(t, r.found, "it talks to everywhere")
}
