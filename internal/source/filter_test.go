// SPDX-License-Identifier: Apache-2.0

package source

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

func TestFilter(t *testing.T) {
	established := &tcp.Socket{State: tcp.Established,
		Local: netip.MustParseAddrPort("192.0.2.1:443"), Peer: netip.MustParseAddrPort("10.1.2.3:50000")}
	linkLocal := &tcp.Socket{State: tcp.CloseWait,
		Local: netip.MustParseAddrPort("[fe80::1%eth0]:8080"), Peer: netip.MustParseAddrPort("[fe80::2%eth0]:40000")}
	listener := &tcp.Socket{State: tcp.Listen,
		Local: netip.MustParseAddrPort("[::]:443"), Peer: netip.MustParseAddrPort("[::]:0")}
	prefixes := func(texts ...string) (ps []netip.Prefix) {
		for _, text := range texts {
			p, err := ParsePrefix(text)
			require.NoError(t, err)
			ps = append(ps, p)
		}
		return ps
	}

	for name, tt := range map[string]struct {
		filter Filter
		want   [3]bool // established, linkLocal, listener
	}{
		"nothing asked":          {Filter{}, [3]bool{true, true, true}},
		"state":                  {Filter{States: []tcp.State{tcp.Established, tcp.SynSent}}, [3]bool{true, false, false}},
		"listeners by state":     {Filter{States: []tcp.State{tcp.Listen}}, [3]bool{false, false, true}},
		"local port":             {Filter{LocalPorts: []PortRange{{443, 443}}}, [3]bool{true, false, true}},
		"local range":            {Filter{LocalPorts: []PortRange{{8000, 8999}, {1, 2}}}, [3]bool{false, true, false}},
		"peer port":              {Filter{PeerPorts: []PortRange{{50000, 50000}}}, [3]bool{true, false, true}},
		"include":                {Filter{PeerInclude: prefixes("10.0.0.0/8")}, [3]bool{true, false, true}},
		"include mapped":         {Filter{PeerInclude: prefixes("::ffff:10.0.0.0/104")}, [3]bool{true, false, true}},
		"include link-local":     {Filter{PeerInclude: prefixes("fe80::/10")}, [3]bool{false, true, true}},
		"exclude":                {Filter{PeerExclude: prefixes("10.1.2.3")}, [3]bool{false, true, true}},
		"exclude beats include":  {Filter{PeerInclude: prefixes("10.0.0.0/8"), PeerExclude: prefixes("10.1.0.0/16")}, [3]bool{false, false, true}},
		"all conditions must do": {Filter{LocalPorts: []PortRange{{443, 443}}, PeerPorts: []PortRange{{1, 1}}}, [3]bool{false, false, true}},
	} {
		t.Run(name, func(t *testing.T) {
			for i, s := range []*tcp.Socket{established, linkLocal, listener} {
				assert.Equal(t, tt.want[i], tt.filter.Match(s), s.Local.String())
			}
		})
	}
}

func TestParsePortRange(t *testing.T) {
	for text, want := range map[string]PortRange{
		"443": {443, 443}, "1": {1, 1}, "65535": {65535, 65535}, "8000-8999": {8000, 8999}, "80 - 80": {80, 80},
	} {
		got, err := ParsePortRange(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, got)
	}
	for _, text := range []string{"", "0", "65536", "-1", "9-8", "1-", "-", "http", "1-2-3", "0-5", "4.5", "1e3"} {
		_, err := ParsePortRange(text)
		require.Error(t, err, text)
		assert.Contains(t, err.Error(), `got "`+text+`", takes a port from 1 to 65535`)
	}
}

func TestParsePrefix(t *testing.T) {
	for text, want := range map[string]string{
		"10.0.0.0/8": "10.0.0.0/8", "10.1.2.3/8": "10.0.0.0/8", "192.0.2.1": "192.0.2.1/32", "2001:db8::/32": "2001:db8::/32",
		"::1": "::1/128", "::ffff:192.0.2.0/120": "192.0.2.0/24", "::ffff:192.0.2.1": "192.0.2.1/32", "0.0.0.0/0": "0.0.0.0/0",
	} {
		got, err := ParsePrefix(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, got.String())
	}
	for _, text := range []string{"", "10.0.0.0/33", "10.0.0", "fe80::1%eth0", "fe80::%eth0/64", "example.org", "/8", "::ffff:0:0/90"} {
		_, err := ParsePrefix(text)
		require.Error(t, err, text)
		assert.Contains(t, err.Error(), `got "`+text+`", takes a network such as 10.0.0.0/8`)
	}
}

func TestCapabilities(t *testing.T) {
	assert.Equal(t, "none", Capabilities(0).String())
	assert.Equal(t, "rtt, bytes, closes, processes, namespaces", (RTT | Bytes | Closes | Processes | Namespaces).String())
	assert.Equal(t, Closes, (RTT | Bytes).Missing(RTT|Closes))
	for _, one := range []Capabilities{RTT, Bytes, Closes, Processes, Namespaces} {
		got, err := ParseCapability(one.String())
		require.NoError(t, err)
		assert.Equal(t, one, got)
	}
	_, err := ParseCapability("latency")
	assert.EqualError(t, err, `got "latency", takes rtt, bytes, closes, processes, namespaces`)
}
