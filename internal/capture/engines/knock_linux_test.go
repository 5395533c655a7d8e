// SPDX-License-Identifier: Apache-2.0

package engines

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/capture"
	"github.com/netpulse/tcpstatsreceiver/internal/capture/filter"
	"github.com/netpulse/tcpstatsreceiver/internal/dns"
	"github.com/netpulse/tcpstatsreceiver/internal/knock"
	"github.com/netpulse/tcpstatsreceiver/internal/netns/netnstest"
)

// Each engine sees the attempts of another host at closed ports, and none at open ones
// nor what this host does itself.
func TestKnocks(t *testing.T) {
	for _, factory := range All() {
		t.Run(factory.Name, func(t *testing.T) { testKnocks(t, factory) })
	}
}

func testKnocks(t *testing.T, factory capture.Factory) {
	host, other := netnstest.New(t), netnstest.New(t)
	netnstest.Connect(host, other, "outside", 72)
	program, err := filter.PortOrSYN(dns.Port)
	require.NoError(t, err)
	var mu sync.Mutex
	attempts := make(map[netip.AddrPort]int)
	watcher := knock.NewWatcher(knock.Options{IsLocal: dns.NewLocal(host.Do).Has, Observers: []knock.Observer{func(a *knock.Attempt) {
		mu.Lock()
		defer mu.Unlock()
		attempts[a.Local]++
		assert.Contains(t, []string{"10.72.0.2", "fd00:72::2"}, a.Peer.Addr().String())
	}}})
	engine := runWith(host, factory, program, watcher.Packet)

	var l net.Listener
	require.NoError(t, host.Do(func() (err error) {
		l, err = net.Listen("tcp", "[::]:0")
		return err
	}))
	defer l.Close()
	open := l.Addr().(*net.TCPAddr).Port
	dial := func(from *netnstest.Place, addr string, port int) error {
		return from.Do(func() error {
			conn, err := net.DialTimeout("tcp", net.JoinHostPort(addr, fmt.Sprint(port)), 5*time.Second)
			if err == nil {
				err = conn.Close()
			}
			return err
		})
	}
	want := make(map[netip.AddrPort]int)
	for _, addr := range []string{"10.72.0.1", "fd00:72::1"} {
		require.NoError(t, dial(other, addr, open))
		for port := range 5 {
			require.Error(t, dial(other, addr, 1+port))
			want[netip.AddrPortFrom(netip.MustParseAddr(addr), uint16(1+port))] = 1
		}
		require.Error(t, dial(host, addr, 1), "it is its own")
	}
	require.Error(t, dial(host, "10.72.0.2", 1), "it is the other's")
	const syns = 2*(1+5+1) + 1 // of open, closed and own ports, and the other's
	netnstest.Eventually(t, "all SYNs are seen", func() bool { return watcher.Counts().Answered == 2 && engine.Stats().Delivered >= syns+2 })
	watcher.Expire(time.Now().Add(knock.Patience))
	mu.Lock()
	defer mu.Unlock()
	assert.Equal(t, want, attempts)
}
