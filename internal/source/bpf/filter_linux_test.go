// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64 || loong64 || ppc64le || riscv64)

package bpf

import (
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// The program passes over what Filter.Match does not want, and over nothing
// else. What it passes over is still visited.
func TestNarrow(t *testing.T) {
	s := opened(t)
	c := play(t)
	all := c.onlyOf(sockets(t, s))
	var ports []source.PortRange
	for port := range c.ports {
		ports = append(ports, source.PortRange{First: port, Last: port})
	}
	prefixes := func(texts ...string) (all []netip.Prefix) {
		for _, text := range texts {
			all = append(all, netip.MustParsePrefix(text))
		}
		return all
	}
	for name, f := range map[string]source.Filter{
		"none":             {},
		"states":           {States: []tcp.State{tcp.Established, tcp.TimeWait}},
		"listeners":        {States: []tcp.State{tcp.Listen}},
		"embryos":          {States: []tcp.State{tcp.SynReceived}},
		"local ports":      {LocalPorts: ports[:2]},
		"peer ports":       {PeerPorts: ports[1:]},
		"range":            {PeerPorts: []source.PortRange{{First: 1, Last: 20_000}, {First: 40_000, Last: 65535}}},
		"IPv4":             {PeerInclude: prefixes("127.0.0.0/8")},
		"an address":       {PeerInclude: prefixes("::1/128")},
		"all IPv6":         {PeerInclude: prefixes("::/0")},
		"all but IPv4":     {PeerExclude: prefixes("0.0.0.0/0")},
		"a hole":           {PeerInclude: prefixes("127.0.0.0/8", "::/0"), PeerExclude: prefixes("127.0.0.0/30", "::1/128")},
		"everything there": {States: []tcp.State{tcp.Established, tcp.Listen}, LocalPorts: ports, PeerInclude: prefixes("127.0.0.0/8"), PeerExclude: prefixes("10.0.0.0/8")},
		"none again":       {},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, s.Narrow(&f, true))
			wanted := 0
			narrowed := c.onlyOf(sockets(t, s))
			for p, was := range all {
				if was.State == tcp.TimeWait || was.State == tcp.SynReceived {
					continue // has an end
				}
				now, ok := narrowed[p]
				if !assert.True(t, ok, p) {
					continue
				}
				assert.Equal(t, was.State, now.State)
				if f.Match(&was) {
					assert.Equal(t, was.ID, now.ID, p)
					assert.NotZero(t, now.Fields, p)
					wanted++
				} else {
					assert.Zero(t, now.ID.Cookie, p)
					assert.Zero(t, now.Fields, p)
					assert.False(t, f.Match(&now), p)
				}
			}
			t.Logf("%d of %d", wanted, len(all))
		})
	}
}

func TestStateMask(t *testing.T) {
	assert.Equal(t, uint32(0x1ffe), stateMask(nil))
	assert.Equal(t, uint32(1<<3|1<<12|1<<6), stateMask([]tcp.State{tcp.SynReceived, tcp.TimeWait}))
}

func TestPortBits(t *testing.T) {
	bits := portBits([]source.PortRange{{First: 63, Last: 64}, {First: 65535, Last: 65535}})
	assert.Equal(t, uint64(1)<<63, bits[0])
	assert.Equal(t, uint64(1), bits[1])
	assert.Equal(t, uint64(1)<<63, bits[1023])
	assert.Zero(t, bits[2])
}

// BenchmarkNarrowed dumps sockets of which none is wanted.
func BenchmarkNarrowed(b *testing.B) {
	s := opened(b)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	for range 4000 {
		dial(b, l)
	}
	require.NoError(b, l.Close())
	require.NoError(b, s.Narrow(&source.Filter{States: []tcp.State{tcp.SynSent}}, true))
	n := 0
	for b.Loop() {
		require.NoError(b, s.Sockets(bg, func(*tcp.Socket) error { n++; return nil }))
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/socket")
}
