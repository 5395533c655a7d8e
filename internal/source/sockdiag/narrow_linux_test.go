// SPDX-License-Identifier: Apache-2.0

package sockdiag

import (
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// What the kernel leaves out is what the filter does not match, listeners apart.
func TestNarrow(t *testing.T) {
	s := open(t)
	ours := make(map[[2]netip.AddrPort]bool)
	pair := func(network, listen, dial string) (port uint16) {
		client, _ := connect(t, network, listen, dial)
		local, peer := netip.MustParseAddrPort(client.LocalAddr().String()), netip.MustParseAddrPort(client.RemoteAddr().String())
		ours[[2]netip.AddrPort{local, peer}], ours[[2]netip.AddrPort{peer, local}] = true, true
		return local.Port()
	}
	for _, p := range [][3]string{{"tcp4", "127.0.0.1:0", "127.0.0.1"}, {"tcp4", "127.0.0.2:0", "127.0.0.2"}, {"tcp6", "[::1]:0", "::1"}, {"tcp", "[::]:0", "127.0.0.1"}} {
		pair(p[0], p[1], p[2])
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { assert.NoError(t, l.Close()) }()
	port := pair("tcp4", "127.0.0.1:0", "127.0.0.1")
	prefix := netip.MustParsePrefix

	for name, f := range map[string]*source.Filter{
		"states":        {States: []tcp.State{tcp.Established}},
		"no such state": {States: []tcp.State{tcp.Closing}},
		"local ports":   {LocalPorts: []source.PortRange{{First: 1, Last: 2}, {First: port, Last: port}}},
		"peer ports":    {PeerPorts: []source.PortRange{{First: port, Last: port}}},
		"IPv4":          {PeerInclude: []netip.Prefix{prefix("127.0.0.0/8")}},
		"one address":   {PeerInclude: []netip.Prefix{prefix("127.0.0.2/32"), prefix("::1/128")}},
		"all but":       {PeerExclude: []netip.Prefix{prefix("127.0.0.1/32")}},
		"everything at once": {
			States: []tcp.State{tcp.Established, tcp.TimeWait}, LocalPorts: []source.PortRange{{First: 1, Last: 65535}},
			PeerInclude: []netip.Prefix{prefix("127.0.0.0/8"), prefix("::/0")}, PeerExclude: []netip.Prefix{prefix("127.0.0.2/32")},
		},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, s.Narrow(nil, false))
			all := sockets(t, s)
			require.NoError(t, s.Narrow(f, false))
			narrowed := sockets(t, s)
			listeners := 0
			for endpoints, sock := range narrowed {
				if sock.State == tcp.Listen {
					listeners++
				} else {
					assert.True(t, f.Match(&sock), "%v comes for nothing", endpoints)
				}
			}
			assert.Positive(t, listeners)
			for endpoints := range ours {
				sock, ok := all[endpoints]
				require.True(t, ok)
				_, comes := narrowed[endpoints]
				assert.Equal(t, f.Match(&sock), comes, "%v", endpoints)
			}
			require.NoError(t, s.Narrow(nil, false))
			assert.GreaterOrEqual(t, len(sockets(t, s)), 10, "and all of them again")
		})
	}
}
