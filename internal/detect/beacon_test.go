// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// Beacons with jitter are found, once while they go on.
func TestBeacons(t *testing.T) {
	for _, every := range []time.Duration{time.Second, time.Minute, 15 * time.Minute} {
		for _, jitter := range []float64{0, 0.1, 0.2, 0.3} {
			for seed := range uint64(5) {
				t.Run(fmt.Sprintf("%s±%.0f%%/%d", every, 100*jitter, seed), func(t *testing.T) {
					r := newRig(t, nil, Names()...)
					rnd := rand.New(rand.NewPCG(seed, 1))
					at := epoch
					for at.Sub(epoch) < 10*time.Hour {
						r.end(link{at: at, lasts: 50 * time.Millisecond, process: implant, peer: home, sent: 310, received: 120})
						at = at.Add(time.Duration(float64(every) * (1 + jitter*(2*rnd.Float64()-1))))
					}
					require.Equal(t, []string{"beacon"}, r.rules())
					f := r.found[0]
					assert.Equal(t, "implant to 198.51.100.7:443", f.Subject)
					assert.Equal(t, implant, f.Process)
					assert.Equal(t, event.CommandAndControl, f.Category)
					assert.Equal(t, []string{"198.51.100.7:443"}, f.Peers)
					assert.InEpsilon(t, every.Seconds(), evidence(t, f, "interval").Value, 0.2)
					assert.GreaterOrEqual(t, evidence(t, f, "score").Value, 0.8)
					assert.LessOrEqual(t, f.At.Sub(epoch), max(7*time.Minute, 40*every), "found late")
				})
			}
		}
	}
}

// A server whose name was asked for is called by it.
func TestBeaconToANamedServer(t *testing.T) {
	r := newRig(t, nil, Beacon)
	for n := range 30 {
		r.end(link{at: epoch.Add(time.Duration(n) * time.Minute), process: implant, peer: home, sent: 310, name: "c2.example"})
	}
	require.Equal(t, []string{"beacon"}, r.rules())
	f := r.found[0]
	assert.Equal(t, "c2.example", f.ServerName)
	assert.Equal(t, home, f.Server)
	assert.Contains(t, f.Body, " connected to c2.example:443 (198.51.100.7) ")
	assert.Equal(t, "implant to 198.51.100.7:443", f.Subject, "the same whether the name is known or not")
}

// A program that a script starts anew for each connection is one beacon, and one
// without a known process is its address's.
func TestBeaconOfManyProcesses(t *testing.T) {
	for name, process := range map[string]func(int) *process.Process{
		"implant to": func(n int) *process.Process { return &process.Process{PID: int32(n), Executable: "implant"} },
		"192.0.2.10": func(int) *process.Process { return nil },
	} {
		r := newRig(t, nil, Beacon)
		for n := range 30 {
			r.end(link{at: epoch.Add(time.Duration(n) * time.Minute), process: process(n), peer: home, sent: 310})
		}
		require.Equal(t, []string{"beacon"}, r.rules(), name)
		assert.Contains(t, r.found[0].Subject, name)
	}
}

// A beacon that ceased and came back is found again.
func TestBeaconAgain(t *testing.T) {
	r := newRig(t, nil, Beacon)
	for _, day := range []int{0, 2} {
		for n := range 60 * 24 {
			r.end(link{at: epoch.AddDate(0, 0, day).Add(time.Duration(n) * time.Minute), process: implant, peer: home, sent: 310})
		}
	}
	require.Equal(t, []string{"beacon", "beacon"}, r.rules())
	assert.Equal(t, r.found[0].ID, r.found[1].ID)
}

// What is regular and no beacon: see docs/findings.md.
func TestPollersAreNoBeacons(t *testing.T) {
	agent := &process.Process{PID: 9, Executable: "agent"}
	minutely := func(l link) func(*rig) {
		return func(r *rig) {
			for n := range 24 * 60 {
				l.at = epoch.Add(time.Duration(n) * time.Minute)
				r.end(l)
			}
		}
	}
	for name, play := range map[string]func(*rig){
		"scraped by Prometheus":    minutely(link{process: agent, local: netip.MustParseAddrPort("192.0.2.10:9100"), peer: netip.MustParseAddrPort("198.51.100.9:41234"), role: tcp.Server, sent: 40000, received: 300}),
		"checked for health":       minutely(link{process: agent, local: netip.MustParseAddrPort("192.0.2.10:8080"), peer: netip.MustParseAddrPort("198.51.100.9:41234"), role: tcp.Server}),
		"checks backends":          minutely(link{process: agent, peer: netip.MustParseAddrPort("10.1.2.3:8080")}),
		"local resolver":           minutely(link{process: agent, peer: netip.MustParseAddrPort("127.0.0.53:53"), sent: 30}),
		"scrapes within the house": minutely(link{process: agent, peer: netip.MustParseAddrPort("[fd00::1]:9100"), sent: 300, received: 40000}),
		"time over TLS, once a day": func(r *rig) {
			for day := range 10 {
				r.end(link{at: epoch.AddDate(0, 0, day), process: agent, peer: netip.MustParseAddrPort("198.51.100.123:4460"), sent: 600, received: 1800})
			}
		},
		"package mirror": func(r *rig) { // apt-daily: twice a day, at random times, several at once
			rnd := rand.New(rand.NewPCG(1, 2))
			for half := range 60 {
				at := epoch.Add(time.Duration(half)*12*time.Hour + time.Duration(rnd.Int64N(int64(12*time.Hour))))
				for range 5 {
					at = at.Add(time.Duration(rnd.Int64N(int64(4 * time.Second))))
					r.end(link{at: at, lasts: time.Second, process: agent, peer: home, sent: 200 + rnd.Uint64N(3000), received: rnd.Uint64N(1 << 20)})
				}
			}
		},
		"somebody who browses": func(r *rig) {
			rnd := rand.New(rand.NewPCG(3, 4))
			at := epoch
			for range 3000 {
				at = at.Add(time.Duration(rnd.ExpFloat64() * float64(20*time.Second)))
				r.end(link{at: at, lasts: time.Second, process: agent, peer: netip.AddrPortFrom(host(rnd.IntN(4)), 443), sent: 500 + rnd.Uint64N(9000), received: rnd.Uint64N(1 << 20)})
			}
		},
		"twenty pages of one answer": func(r *rig) {
			for n := range 30 {
				r.end(link{at: epoch.Add(time.Duration(n) * time.Second), process: agent, peer: home, sent: 300})
			}
		},
		"what everybody talks to": func(r *rig) {
			for n := range 24 * 60 {
				for program := range 8 {
					p := &process.Process{Executable: fmt.Sprint("program", program)}
					peer := home
					if n < 8 && n == program {
						peer = netip.AddrPortFrom(host(program), 443) // something of its own
					}
					r.end(link{at: epoch.Add(time.Duration(n)*time.Minute + time.Duration(program)*time.Second), process: p, peer: peer, sent: uint64(100 + (n*7919+program)%900)})
				}
			}
		},
	} {
		r := newRig(t, nil, Beacon, Scan, DNSTunnel, Egress)
		play(r)
		assert.Empty(t, r.found, name)
	}
	r := newRig(t, func(c *Config) { c.Beacon.PrivatePeers = true }, Beacon)
	minutely(link{process: agent, peer: netip.MustParseAddrPort("10.1.2.3:8080")})(r)
	assert.Equal(t, []string{"beacon"}, r.rules(), "private_peers looks at it")
}

func TestRegularity(t *testing.T) {
	var scratch [8]uint32
	for _, tt := range []struct {
		values []uint32
		want   float64
	}{
		{[]uint32{60, 60}, 0},                               // too few
		{[]uint32{60, 60, 60, 60}, 1},                       // equal
		{[]uint32{0, 0, 0, 0}, 0.5},                         // nothing: a MAD of a median of 0
		{[]uint32{50, 55, 60, 65, 70}, (1 + 1 - 5/60.) / 2}, // symmetric
		{[]uint32{10, 10, 10, 20, 40, 80, 90}, 0.5*(1-math20()) + 0.25},
	} {
		score, _ := regularity(tt.values, scratch[:])
		assert.InDelta(t, tt.want, score, 1e-9, "%v", tt.values)
	}
}

// math20 is Bowley's skewness of quartiles 10, 20 and 80.
func math20() float64 { return (10 + 80 - 2*20) / (80 - 10.) }

func TestEvenness(t *testing.T) {
	assert.InDelta(t, 1, evenness([]float64{5, 5, 5}), 1e-9)
	assert.InDelta(t, 0, evenness([]float64{0, 0, 0}), 1e-9)
	assert.InDelta(t, 0, evenness([]float64{9, 0, 0, 0}), 1e-9, "the deviation is more than the mean")
	assert.InDelta(t, 0.5, evenness([]float64{5, 15}), 1e-9)
}
