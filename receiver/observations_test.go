// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/netpulse/tcpstatsreceiver/internal/capture"
	"github.com/netpulse/tcpstatsreceiver/internal/detect"
	"github.com/netpulse/tcpstatsreceiver/internal/dns"
	"github.com/netpulse/tcpstatsreceiver/internal/engine"
	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/knock"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
)

var (
	packetsAt = time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	asking    = netip.MustParseAddrPort("192.0.2.10:40000")
	silent    = netip.MustParseAddrPort("192.0.2.53:53")
)

// What packets show reaches the detectors at the next scrape, with the process of each
// query; more than there is room for is lost, and counted.
func TestObservations(t *testing.T) {
	cfg := detect.Default()
	cfg.Enabled = []string{detect.Scan, detect.Saturation}
	var found []*event.Finding
	f, err := newFindings(cfg, func(one *event.Finding) { found = append(found, one) })
	require.NoError(t, err)
	curl := &process.Process{PID: 7, Executable: "curl"}
	asker := func(namespace uint64, from netip.AddrPort) *process.Process {
		if namespace == 3 && from == asking {
			return curl
		}
		return nil
	}
	name := []byte("example.org")
	for range 6 {
		f.packets.looked(&dns.Lookup{Client: asking, Server: silent, Namespace: 3, Name: name, Time: packetsAt, TimedOut: true})
	}
	copy(name, "xxxxxxxxxxx") // it is reused
	for port := range uint16(15) {
		f.packets.knocked(&knock.Attempt{At: packetsAt, Local: netip.AddrPortFrom(asking.Addr(), 1+port), Peer: netip.MustParseAddrPort("198.51.100.66:50000")})
	}
	require.Empty(t, found, "not before the scrape")
	assert.Zero(t, f.packets.hand(f.Detectors, asker))
	require.Len(t, found, 2)
	assert.Equal(t, "saturation.resolver", found[0].Rule)
	assert.Equal(t, curl, found[0].Process)
	assert.Equal(t, "scan.inbound", found[1].Rule)
	assert.Equal(t, "198.51.100.66", found[1].Subject)
	assert.Zero(t, f.packets.hand(f.Detectors, asker))
	assert.Len(t, found, 2, "each is handed over once")

	for range maxObservations + 5 {
		f.packets.looked(&dns.Lookup{Client: asking, Server: silent, Name: name, Time: packetsAt})
		f.packets.knocked(&knock.Attempt{At: packetsAt, Local: asking, Peer: asking})
	}
	assert.Len(t, f.packets.lookups, maxObservations)
	assert.Len(t, f.packets.attempts, maxObservations)
	assert.Equal(t, uint64(10), f.packets.hand(f.Detectors, asker))
	assert.Zero(t, f.packets.hand(f.Detectors, asker), "and is counted once")
}

// What takes packets is asked for where they are captured. Where they are not, the log
// names what is not found, the engines that would do, and the remedy.
func TestPacketsAreAskedFor(t *testing.T) {
	engines := []capture.Factory{{Name: "tcx", Rank: 2}, {Name: "af_packet", Rank: 1}}
	for _, tt := range []struct {
		enabled                  []string
		captured                 bool
		observers, knocks, lines int
	}{
		{[]string{detect.Scan, detect.DNSTunnel, detect.Saturation}, true, 1, 1, 0},
		{[]string{detect.Scan}, true, 0, 1, 0},
		{[]string{detect.DNSTunnel}, true, 1, 0, 0},
		{[]string{detect.Beacon}, true, 0, 0, 0},
		{[]string{detect.Beacon}, false, 0, 0, 0},
		{[]string{detect.Scan, detect.DNSTunnel}, false, 0, 0, 1},
	} {
		cfg := detect.Default()
		cfg.Enabled = tt.enabled
		f, err := newFindings(cfg, func(*event.Finding) {})
		require.NoError(t, err)
		core, logs := observer.New(zap.InfoLevel)
		peers := engine.PeersConfig{Names: tt.captured, Engines: engines}
		f.observe(&peers, zap.New(core))
		assert.Len(t, peers.Observers, tt.observers, "%v", tt.enabled)
		assert.Equal(t, tt.observers > 0, peers.Askers)
		assert.Len(t, peers.Knocks, tt.knocks, "%v", tt.enabled)
		require.Len(t, logs.All(), tt.lines)
		if tt.lines > 0 {
			assert.Contains(t, logs.All()[0].Message, "peers::dns::enabled")
			fields := logs.All()[0].ContextMap()
			assert.Equal(t, "scan.inbound of closed ports, which meet no socket; dns_tunnel, which needs DNS messages", fields["not_found"])
			assert.Equal(t, []any{"tcx", "af_packet"}, fields["engines"])
		}
	}
}
