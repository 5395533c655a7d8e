// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/netpulse/tcpstatsreceiver/internal/detect"
	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/netns/netnstest"
	"github.com/netpulse/tcpstatsreceiver/internal/source/sockdiag"
)

// What packets show is found live: another host that tries closed ports, and names that
// carry data, with the process that asks for them.
func TestLiveFindingsOfPackets(t *testing.T) {
	host, other := netnstest.New(t), netnstest.New(t)
	netnstest.Connect(host, other, "outside", 95)
	core, logs := observer.New(zap.InfoLevel)
	set := receivertest.NewNopSettings(metadata.Type)
	set.Logger = zap.New(core)
	s := allSpacesWith(t, set, &refusing{}, sockdiag.Factory(), func(cfg *Config) {
		cfg.Process.Attribution = true
		cfg.Peers.DNS.Enabled = true
		cfg.Detect.Enabled = []string{detect.Scan, detect.DNSTunnel}
	})
	require.NoError(t, s.scrape())

	for port := range 20 {
		require.Error(t, other.Do(func() error {
			conn, err := net.DialTimeout("tcp", fmt.Sprintf("10.95.0.1:%d", port+1), 5*time.Second)
			if err == nil {
				err = conn.Close()
			}
			return err
		}))
	}
	// As iodine does it: one socket for all queries. Nobody answers these.
	var silent net.PacketConn
	require.NoError(t, other.Do(func() (err error) {
		silent, err = net.ListenPacket("udp", "10.95.0.2:53")
		return err
	}))
	defer silent.Close()
	var asking net.Conn
	require.NoError(t, host.Do(func() (err error) {
		asking, err = net.Dial("udp", "10.95.0.2:53")
		return err
	}))
	defer asking.Close()
	for n := range 80 {
		m := new(mdns.Msg)
		m.SetQuestion(fmt.Sprintf("%032x%d.t.example.org.", uint64(n+1)*0x9e3779b97f4a7c15, n), mdns.TypeNULL)
		query, err := m.Pack()
		require.NoError(t, err)
		_, err = asking.Write(query)
		require.NoError(t, err)
	}
	found := make(map[string]int)
	executable, err := os.Executable()
	require.NoError(t, err)
	want := map[string]int{"scan.inbound: 10.95.0.2": 1, "dns_tunnel: " + filepath.Base(executable): 1}
	assert.Eventually(t, func() bool {
		require.NoError(t, s.scrape())
		for _, e := range logs.TakeAll() {
			switch rule := e.ContextMap()["security_rule.name"]; rule {
			case "scan.inbound", "dns_tunnel":
				who, _, _ := strings.Cut(e.Message, " ")
				found[fmt.Sprint(rule, ": ", who)]++
			}
		}
		return len(found) >= len(want)
	}, 25*time.Second, 500*time.Millisecond)
	for range 2 {
		require.NoError(t, s.scrape())
	}
	assert.Equal(t, want, found)
}
