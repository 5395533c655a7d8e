// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

var nmap = &process.Process{PID: 4711, Executable: "nmap"}

// Scans are found once, fast and slow.
func TestScans(t *testing.T) {
	for _, every := range []time.Duration{time.Millisecond, time.Second, 10 * time.Second, 10 * time.Minute} {
		for name, tt := range map[string]struct {
			try      func(r *rig, n int, at time.Time)
			rule     string
			subject  string
			evidence string
		}{
			"many hosts": {func(r *rig, n int, at time.Time) {
				r.end(link{at: at, process: nmap, peer: netip.AddrPortFrom(host(n), 22), failure: tcp.TimedOut})
			}, "scan.outbound", "nmap", "hosts"},
			"many ports": {func(r *rig, n int, at time.Time) {
				r.end(link{at: at, process: nmap, peer: netip.AddrPortFrom(host(1), uint16(1+n)), failure: tcp.Refused})
			}, "scan.outbound", "nmap", "ports"},
			"many ports, without a process": {func(r *rig, n int, at time.Time) {
				r.end(link{at: at, peer: netip.AddrPortFrom(host(1), uint16(1+n)), failure: tcp.OtherFailure})
			}, "scan.outbound", "192.0.2.10", "ports"},
			"closed ports here": {func(r *rig, n int, at time.Time) {
				r.Attempted(&Attempt{At: at, Local: netip.AddrPortFrom(here, uint16(1+n)), Peer: netip.AddrPortFrom(host(1), 50000)})
			}, "scan.inbound", host(1).String(), "ports"},
			"open ports here": {func(r *rig, n int, at time.Time) {
				r.end(link{at: at, lasts: time.Millisecond, local: netip.AddrPortFrom(here, uint16(1+n)), peer: netip.AddrPortFrom(host(1), 50000), role: tcp.Server})
			}, "scan.inbound", host(1).String(), "ports"},
		} {
			r := newRig(t, nil, Names()...)
			for n := range 200 {
				tt.try(r, n, epoch.Add(time.Duration(n)*every))
			}
			require.NotEmpty(t, r.found, "%s every %s", name, every)
			assert.Equal(t, tt.rule, r.found[0].Rule, name)
			assert.Equal(t, tt.subject, r.found[0].Subject, name)
			e := evidence(t, r.found[0], tt.evidence)
			assert.Equal(t, e.Threshold, e.Value, "found as soon as the threshold is reached")
			assert.Len(t, r.found[0].Peers, 5)
			for _, f := range r.found {
				assert.Equal(t, r.found[0].ID, f.ID)
			}
			assert.LessOrEqual(t, len(r.found), 1+int(200*every/remind), "%s every %s", name, every)
		}
	}
}

// With slow_window 0s, only what comes within the window is a scan.
func TestSlowScansAreAChoice(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Scan.SlowWindow = 0 }, Scan)
	for n := range 200 {
		r.end(link{at: epoch.Add(time.Duration(n) * time.Minute), process: nmap, peer: netip.AddrPortFrom(host(n), 22), failure: tcp.TimedOut})
	}
	assert.Empty(t, r.found)
}

// What fails often and is no scan.
func TestFailuresAreNoScans(t *testing.T) {
	app := &process.Process{PID: 7, Executable: "app"}
	for name, play := range map[string]func(*rig){
		"a service that is down": func(r *rig) {
			for n := range 1000 {
				r.end(link{at: epoch.Add(time.Duration(n) * 100 * time.Millisecond), process: app, peer: netip.AddrPortFrom(host(1), 5432), failure: tcp.Refused})
			}
		},
		"twenty backends that are down": func(r *rig) {
			for n := range 1000 {
				r.end(link{at: epoch.Add(time.Duration(n) * 100 * time.Millisecond), process: app, peer: netip.AddrPortFrom(host(n%20), 8080), failure: tcp.TimedOut})
			}
		},
		"a browser with some dead servers": func(r *rig) {
			rnd := rand.New(rand.NewPCG(5, 6))
			for n := range 5000 {
				l := link{at: epoch.Add(time.Duration(n) * time.Second), lasts: time.Second, process: app, peer: netip.AddrPortFrom(host(rnd.IntN(400)), 443), sent: 900, received: 9000}
				if l.peer.Addr().As4()[3]%8 == 0 {
					l.failure = tcp.OtherFailure
				}
				r.end(l)
			}
		},
		"no IPv6": func(r *rig) {
			for n := range 500 {
				a := [16]byte{0x20, 0x01, 0xd, 0xb8, 14: byte(n >> 8), 15: byte(n)}
				r.end(link{at: epoch.Add(time.Duration(n) * time.Second), process: app, peer: netip.AddrPortFrom(netip.AddrFrom16(a), 443), failure: tcp.NetUnreachable})
			}
		},
		"clients of many ports": func(r *rig) {
			for n := range 500 {
				r.end(link{at: epoch.Add(time.Duration(n) * time.Second), lasts: time.Second, local: netip.AddrPortFrom(here, uint16(8000+n%40)), peer: netip.AddrPortFrom(host(1), 50000), role: tcp.Server, sent: 10, received: 10})
			}
		},
	} {
		r := newRig(t, nil, Scan)
		play(r)
		assert.Empty(t, r.found, name)
	}
}

func TestIgnored(t *testing.T) {
	scan := func(r *rig) {
		for n := range 100 {
			r.end(link{at: epoch.Add(time.Duration(n) * time.Second), process: nmap, peer: netip.AddrPortFrom(host(n), 22), failure: tcp.TimedOut})
		}
	}
	for name, ignore := range map[string]IgnoreConfig{
		"network":    {PeerCIDRs: []string{"203.0.0.0/16"}},
		"name":       {Executables: []string{"nmap"}},
		"expression": {Executables: []string{"/^nm/"}},
	} {
		r := newRig(t, func(c *Config) { c.Ignore = ignore }, Scan)
		scan(r)
		assert.Empty(t, r.found, name)
	}
	r := newRig(t, func(c *Config) {
		c.Ignore = IgnoreConfig{PeerCIDRs: []string{"198.51.100.7"}, Executables: []string{"zmap"}}
	}, Scan)
	scan(r)
	assert.Equal(t, []string{"scan.outbound"}, r.rules())
}
