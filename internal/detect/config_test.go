// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
)

func TestDefaultsAreGood(t *testing.T) {
	cfg := Default()
	require.NoError(t, cfg.Check("detect"))
	assert.Empty(t, cfg.Enabled)
	cfg.Enabled = Names()
	require.NoError(t, cfg.Check("detect"))
}

func TestBadConfigurations(t *testing.T) {
	for want, change := range map[string]func(*Config){
		`detect::enabled: got "scans", takes any of scan, beacon, dns_tunnel, egress, egress_drift, listener, stall, saturation`: func(c *Config) { c.Enabled = []string{"scans"} },
		`detect::enabled: got "scan" twice, takes each detector once`:                                                            func(c *Config) { c.Enabled = []string{"scan", "beacon", "scan"} },
		`detect::ignore::peer_cidrs: got "10.0.0/8", takes a network`:                                                            func(c *Config) { c.Ignore.PeerCIDRs = []string{"10.0.0/8"} },
		`detect::ignore::executables: got "/(/", takes a regular expression between slashes: error parsing`:                      func(c *Config) { c.Ignore.Executables = []string{"/(/"} },
		`detect::ignore::executables: got "/x", takes a regular expression between two slashes`:                                  func(c *Config) { c.Ignore.Executables = []string{"/x"} },
		`detect::ignore::executables: got "", takes a name`:                                                                      func(c *Config) { c.Ignore.Executables = []string{""} },
		`detect::suppress: got -1s, takes 0s or more`:                                                                            func(c *Config) { c.Suppress = -time.Second },
		`detect::scan::hosts: got 1, takes a number from 2 to 128`:                                                               func(c *Config) { c.Scan.Hosts = 1 },
		`detect::scan::ports: got 129, takes a number from 2 to 128`:                                                             func(c *Config) { c.Scan.Ports = 129 },
		`detect::scan::window: got 0s, takes a duration above 0s`:                                                                func(c *Config) { c.Scan.Window = 0 },
		`detect::scan::slow_window: got -1s, takes 0s or more`:                                                                   func(c *Config) { c.Scan.SlowWindow = -time.Second },
		`detect::beacon::connections: got 3, takes a number from 4 to 128`:                                                       func(c *Config) { c.Beacon.Connections = 3 },
		`detect::beacon::score: got 1.5, takes a number above 0 and up to 1`:                                                     func(c *Config) { c.Beacon.Score = 1.5 },
		`detect::beacon::min_duration: got -1s, takes 0s or more`:                                                                func(c *Config) { c.Beacon.MinDuration = -time.Second },
		`detect::dns_tunnel::subdomains: got 9, takes a number from 10 to 4000`:                                                  func(c *Config) { c.DNSTunnel.Subdomains = 9 },
		`detect::dns_tunnel::window: got 0s, takes a duration above 0s`:                                                          func(c *Config) { c.DNSTunnel.Window = 0 },
		`detect::dns_tunnel::length: got 0, takes a number from 1 up`:                                                            func(c *Config) { c.DNSTunnel.Length = 0 },
		`detect::egress::factor: got 1, takes a number from 2 up`:                                                                func(c *Config) { c.Egress.Factor = 1 },
		`detect::egress::bytes: got 0, takes a number from 1 up`:                                                                 func(c *Config) { c.Egress.Bytes = 0 },
		`detect::egress::learn: got -1s, takes 0s or more`:                                                                       func(c *Config) { c.Egress.Learn = -time.Second },
		`detect::egress_drift::learn: got -1s, takes 0s or more`:                                                                 func(c *Config) { c.EgressDrift.Learn = -time.Second },
		`detect::egress_drift::destinations: got 129, takes a number from 1 to 128`:                                              func(c *Config) { c.EgressDrift.Destinations = 129 },
		`detect::listener::learn: got -1s, takes 0s or more`:                                                                     func(c *Config) { c.Listener.Learn = -time.Second },
		`detect::listener::memory: got 0s, takes a duration above 0s`:                                                            func(c *Config) { c.Listener.Memory = 0 },
		`detect::stall::scrapes: got 0, takes a number from 1 up`:                                                                func(c *Config) { c.Stall.Scrapes = 0 },
		`detect::stall::retransmits: got 0, takes a number above 0 and up to 1`:                                                  func(c *Config) { c.Stall.Retransmits = 0 },
		`detect::stall::rtt_factor: got 1, takes a number above 1`:                                                               func(c *Config) { c.Stall.RTTFactor = 1 },
		`detect::saturation::usage: got -0.5, takes a number above 0 and up to 1`:                                                func(c *Config) { c.Saturation.Usage = -0.5 },
		`detect::saturation::close_wait: got 0, takes a number from 1 up`:                                                        func(c *Config) { c.Saturation.CloseWait = 0 },
		`detect::saturation::lost_answers: got 2, takes a number above 0 and up to 1`:                                            func(c *Config) { c.Saturation.LostAnswers = 2 },
	} {
		cfg := Default()
		change(&cfg)
		assert.ErrorContains(t, cfg.Check("detect"), want)
		_, err := New(cfg, func(*event.Finding) {})
		assert.ErrorContains(t, err, want)
	}
}

func TestLRU(t *testing.T) {
	l := newLRU[int](3)
	for key := range uint64(3) {
		v, isNew := l.get(key)
		assert.True(t, isNew)
		*v = int(key)
	}
	assert.NotNil(t, l.find(0)) // 1 is the oldest now
	v, isNew := l.get(3)
	assert.True(t, isNew)
	*v = 3
	assert.Nil(t, l.find(1))
	assert.Equal(t, uint64(1), l.evicted)
	var all []int
	l.all(func(v *int) { all = append(all, *v) })
	assert.Equal(t, []int{2, 0, 3}, all)
}

func TestDistinct(t *testing.T) {
	var h hasher
	for _, n := range []int{0, 1, 10, 60, 100} {
		var f few
		var m many
		for i := range n {
			for range 3 {
				f.add(h.text(string(rune(i))))
				m.add(h.text(string(rune(i))))
			}
		}
		assert.InDelta(t, n, f.count(), 0.5+0.5*float64(n), "few of %d", n)
		assert.InDelta(t, n, m.count(), 0.5+0.12*float64(n), "many of %d", n)
	}
}
