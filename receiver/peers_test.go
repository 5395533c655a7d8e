// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// groupsOf returns how many live connections there are by the value of an attribute
// of groups, "" for those without it.
func groupsOf(next *refusing, attribute string) map[string]int64 {
	counts := make(map[string]int64)
	for _, md := range next.AllMetrics() {
		for _, rm := range md.ResourceMetrics().All() {
			for _, m := range rm.ScopeMetrics().At(0).Metrics().All() {
				if m.Name() != "tcp.count" {
					continue
				}
				for _, dp := range m.Sum().DataPoints().All() {
					value, ok := dp.Attributes().Get(attribute)
					text := ""
					if ok {
						text = value.AsString()
					}
					if dp.Flags() == pmetric.DefaultDataPointFlags {
						counts[text] += dp.IntValue()
					}
				}
			}
		}
	}
	return counts
}

func TestGroupsByService(t *testing.T) {
	cfg := groupConfig("service.peer.name")
	cfg.Peers.Services = []ServiceConfig{{CIDR: "192.0.2.2", Port: 1, Name: "first"}, {CIDR: "192.0.2.0/24", Port: 2, Name: "second"}}
	next := &refusing{}
	r := newRig(t, cfg, next, &scripted{name: "a", sockets: sample(4, tcp.Established)})
	r.scrapeOnce(t)
	assert.Equal(t, map[string]int64{"first": 1, "second": 1, "": 2}, groupsOf(next, "service.peer.name"))
}

// peersOf returns the values of an attribute on the points of a gauge, by peer port;
// those of points without a value are marked.
func peersOf(next *refusing, name, attribute string) map[string]string {
	values := make(map[string]string)
	for _, md := range next.AllMetrics() {
		for _, rm := range md.ResourceMetrics().All() {
			for _, m := range rm.ScopeMetrics().At(0).Metrics().All() {
				if m.Name() != name {
					continue
				}
				for _, dp := range m.Gauge().DataPoints().All() {
					attrs := dp.Attributes().AsRaw()
					value, _ := attrs[attribute].(string)
					if dp.Flags().NoRecordedValue() {
						value += " ended"
					}
					values[fmt.Sprint(attrs["network.peer.port"])] += value
				}
			}
		}
	}
	return values
}

// Series of single connections have what is wanted of their peers, until they end.
func TestConnectionsByService(t *testing.T) {
	cfg := testConfig()
	cfg.Connections.PeerAttributes = []string{"service.peer.name"}
	cfg.Peers.Services = []ServiceConfig{{CIDR: "192.0.2.2", Port: 1, Name: "first"}, {CIDR: "192.0.2.0/24", Port: 2, Name: "second"}}
	next := &refusing{}
	src := &scripted{name: "a", sockets: sample(3, tcp.Established)}
	r := newRig(t, cfg, next, src)
	r.scrapeOnce(t)
	assert.Equal(t, map[string]string{"1": "first", "2": "second", "3": ""}, peersOf(next, "tcp.connection.rtt", "service.peer.name"))
	assert.NotContains(t, r.messages(), "peers::services: nothing of what it finds is written: add service.peer.name to groups::by")
	next.Reset()
	src.sockets = src.sockets[:1]
	r.scrapeOnce(t)
	assert.Equal(t, map[string]string{"1": "first", "2": "second ended", "3": " ended"}, peersOf(next, "tcp.connection.rtt", "service.peer.name"))

	// Nothing of peers is written unless it is wanted.
	cfg.Connections.PeerAttributes = nil
	next.Reset()
	newRig(t, cfg, next, &scripted{name: "a", sockets: sample(3, tcp.Established)}).scrapeOnce(t)
	assert.Equal(t, map[string]string{"1": "", "2": "", "3": ""}, peersOf(next, "tcp.connection.rtt", "service.peer.name"))
}

func TestServicesThatHideEachOther(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	cfg := groupConfig("service.peer.name")
	cfg.Peers.Services = []ServiceConfig{{CIDR: "10.0.0.0/8", Name: "internal"}, {CIDR: "10.20.0.0/16", Port: 5432, Name: "orders-db"}}
	_, err := cfg.peers(zap.New(core), false)
	require.NoError(t, err)
	require.Equal(t, 1, logs.Len())
	message := logs.All()[0].Message
	assert.Contains(t, message, "peers::services: ")
	assert.Contains(t, message, "orders-db (10.20.0.0/16, port 5432)")
	assert.Contains(t, message, "internal (10.0.0.0/8)")
}

func TestPeersThatAreNotWritten(t *testing.T) {
	cfg := groupConfig("tcp.role", "geo.country.iso_code")
	assert.Empty(t, cfg.unwritten(), "by default all that is on is free")
	cfg.Peers.DNS.Enabled, cfg.Peers.NAT, cfg.Peers.MMDB = true, true, []string{"country.mmdb"}
	assert.Equal(t, []string{
		"peers::dns: nothing of what it finds is written: add server.address to groups::by",
		"peers::nat: nothing of what it finds is written: add tcp.peer.translated.address to groups::by",
	}, cfg.unwritten())
	cfg.Connections.Enabled = true
	cfg.Connections.PeerAttributes = []string{"server.address", "tcp.peer.translated.port"}
	assert.Empty(t, cfg.unwritten())
	cfg.Connections.Enabled, cfg.Groups.Enabled = false, false
	assert.Len(t, cfg.unwritten(), 3)
	cfg.Metrics.DNSQueries.Enabled = true
	assert.Len(t, cfg.unwritten(), 2, "lookups are counted")
	assert.Empty(t, cfg.unfed())
	cfg.Peers.DNS.Enabled, cfg.Metrics.DNSLookupDuration.Enabled = false, true
	assert.Equal(t, []string{
		"metrics::dns.lookup.duration: nothing is counted while peers::dns::enabled is false",
		"metrics::dns.queries: nothing is counted while peers::dns::enabled is false",
	}, cfg.unfed())
	cfg.Peers.DNS.Enabled, cfg.System.Enabled = true, false
	assert.Len(t, cfg.unfed(), 2)
}

// A file that cannot be read is an error at start, which names the key and the file.
func TestPlacesThatCannotBeRead(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "broken.mmdb")
	require.NoError(t, os.WriteFile(broken, []byte("no database"), 0o600))
	for path, want := range map[string]string{
		broken: "peers::mmdb: " + broken + " is no database of MaxMind's format",
		filepath.Join(t.TempDir(), "missing.mmdb"): "no such file or directory",
	} {
		cfg := groupConfig("geo.country.iso_code")
		cfg.Peers.MMDB = []string{path}
		r := newRig(t, cfg, &refusing{}, &scripted{name: "a"})
		err := r.Start(context.Background(), componenttest.NewNopHost())
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, "peers::mmdb: ")
		require.NoError(t, r.Shutdown(context.Background()))
	}
}

// Peers are found when connections open. After that they cost nothing.
func TestPeersOfConnectionsThatStay(t *testing.T) {
	plain, grouped := groupConfig("tcp.role"), groupConfig("tcp.peer.process.executable.name")
	plain.Process.Attribution, grouped.Process.Attribution = true, true
	var allocs []float64
	for _, cfg := range []*Config{plain, grouped} {
		src := &scripted{name: "a"}
		for i := range 1000 {
			a, b := netip.MustParseAddrPort("127.0.0.1:80"), netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(20000+i))
			s, other := established(uint64(1+i), 10), established(uint64(10_000+i), 10)
			s.Local, s.Peer, other.Local, other.Peer = a, b, b, a
			src.sockets = append(src.sockets, s, other)
		}
		r := newRig(t, cfg, &refusing{}, src)
		for range 3 {
			r.scrapeOnce(t)
		}
		allocs = append(allocs, testing.AllocsPerRun(5, func() { r.scrapeOnce(t) }))
	}
	assert.InDelta(t, allocs[0], allocs[1], 200, "allocations per scrape of 2000 connections")
}

// Records have what is known of peers, those of connections that no scrape saw, too.
func TestRecordsOfPeers(t *testing.T) {
	src := &telling{scripted: scripted{name: "a"}}
	cfg := recordsConfig("start", "end")
	cfg.Peers.Services = []ServiceConfig{{CIDR: "192.0.2.2", Name: "web"}}
	r, sink := logsRig(t, cfg, src)
	end := r.openLogs(t)
	assert.NotContains(t, r.messages(), "peers::services: nothing of what it finds is written: add service.peer.name to groups::by")
	r.scrapeOnce(t)
	src.sockets = []tcp.Socket{established(1, 70)}
	r.scrapeOnce(t)
	src.tell(ended(established(2, 0), 100, 3))
	end()
	var named []string
	for _, one := range recordsOf(sink) {
		if one.attrs["service.peer.name"] == "web" {
			named = append(named, one.event)
		}
	}
	assert.Equal(t, []string{"tcp.connection.start", "tcp.connection.start", "tcp.connection.end"}, named)
}
