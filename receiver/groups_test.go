// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"

	"github.com/netpulse/tcpstatsreceiver/internal/metadatatest"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

func groupConfig(by ...string) *Config {
	cfg := testConfig()
	cfg.Connections.Enabled = false
	cfg.Groups.Enabled = true
	cfg.Groups.By = by
	return cfg
}

// established is a connection that has sent so much.
func established(cookie uint64, sent uint64) tcp.Socket {
	s := sample(1, tcp.Established)[0]
	s.ID.Cookie = cookie
	s.Peer = netip.AddrPortFrom(s.Peer.Addr(), uint16(cookie))
	s.BytesSent = sent
	return s
}

func TestGroupsOverScrapes(t *testing.T) {
	src := &scripted{name: "a"}
	r := newRig(t, groupConfig("tcp.role", "server.port"), &refusing{}, src)
	scrape := func(sockets ...tcp.Socket) (sent, opens, closes float64) {
		src.sockets = sockets
		r.sink.Reset()
		r.scrapeOnce(t)
		_, sent = r.sums("tcp.io")
		_, opens = r.sums("tcp.opens")
		_, closes = r.sums("tcp.closes")
		return sent, opens, closes
	}
	listener := sample(1, tcp.Listen)[0]
	listener.ID.Cookie = 1000

	sent, opens, closes := scrape(listener, established(1, 1000))
	assert.Equal(t, [3]float64{0, 0, 0}, [3]float64{sent, opens, closes}, "what was before the receiver is not its to count")
	points, live := r.sums("tcp.count")
	assert.Equal(t, 1, points)
	assert.Equal(t, 1.0, live)
	points, _ = r.sums("tcp.connection.rtt")
	assert.Zero(t, points)

	sent, opens, closes = scrape(listener, established(1, 1500), established(2, 70))
	assert.Equal(t, [3]float64{570, 1, 0}, [3]float64{sent, opens, closes})
	sent, opens, closes = scrape(listener, established(2, 80))
	assert.Equal(t, [3]float64{580, 1, 1}, [3]float64{sent, opens, closes}, "a close does not make the sum fall")
	sent, opens, closes = scrape(listener)
	assert.Equal(t, [3]float64{580, 1, 2}, [3]float64{sent, opens, closes})
	metadatatest.AssertEqualReceiverTcpstatsGroups(t, r.telemetry, []metricdata.DataPoint[int64]{{Value: 1}}, metricdatatest.IgnoreTimestamp())
}

func TestGroupLimit(t *testing.T) {
	cfg := groupConfig("network.peer.port")
	cfg.Groups.Limit = 2
	r := newRig(t, cfg, &refusing{}, &scripted{name: "a", sockets: sample(10, tcp.Established)})
	r.scrapeOnce(t)
	points, live := r.sums("tcp.count")
	assert.Equal(t, 3, points, "two groups and the one with the rest")
	assert.Equal(t, 10.0, live)
	metadatatest.AssertEqualReceiverTcpstatsGroups(t, r.telemetry, []metricdata.DataPoint[int64]{{Value: 2}}, metricdatatest.IgnoreTimestamp())
	metadatatest.AssertEqualReceiverTcpstatsOverflowedConnections(t, r.telemetry, []metricdata.DataPoint[int64]{{Value: 8}}, metricdatatest.IgnoreTimestamp())
}

func TestGroupsKnowOfTheFilter(t *testing.T) {
	cfg := groupConfig("tcp.role")
	cfg.Filter.PeerPorts = []any{1, 2}
	src := &scripted{name: "a", sockets: sample(10, tcp.Established)}
	r := newRig(t, cfg, &refusing{}, src)
	r.scrapeOnce(t)
	_, live := r.sums("tcp.count")
	assert.Equal(t, 2.0, live)
	src.sockets = nil
	r.scrapeOnce(t)
	_, closes := r.sums("tcp.closes")
	assert.Equal(t, 2.0, closes)
}

// Another source has other identities: nothing was closed, and nothing opened.
func TestGroupsOutliveTheSource(t *testing.T) {
	better := &scripted{name: "better", rank: 2, sockets: sample(5, tcp.Established)}
	worse := &scripted{name: "worse", rank: 1, sockets: sample(7, tcp.Established)}
	r := newRig(t, groupConfig("tcp.role"), &refusing{}, worse, better)
	r.scrapeOnce(t)
	better.sockets = append(better.sockets, established(99, 100))
	r.scrapeOnce(t)
	better.openErr, better.results = assert.AnError, []error{assert.AnError}
	r.sink.Reset()
	r.scrapeOnce(t)
	_, live := r.sums("tcp.count")
	assert.Equal(t, 7.0, live)
	_, sent := r.sums("tcp.io")
	assert.Equal(t, 100.0, sent, "the counters go on")
	_, opens := r.sums("tcp.opens")
	assert.Equal(t, 1.0, opens)
	_, closes := r.sums("tcp.closes")
	assert.Zero(t, closes)
}

// Between two collections of groups, dumps go on: what opens and closes in
// between is counted.
func TestGroupsAreFedAtEveryTick(t *testing.T) {
	src := &scripted{name: "a"}
	cfg := groupConfig("tcp.role")
	cfg.Groups.Interval = 4 * cfg.CollectionInterval
	r := newRig(t, cfg, &refusing{}, src)
	r.scrapeOnce(t)
	tick := func(sockets ...tcp.Socket) {
		src.sockets = sockets
		r.scrapeOnce(t)
	}
	tick(established(1, 10))
	tick(established(1, 30), established(2, 5))
	tick()
	r.sink.Reset()
	r.scrapeOnce(t)
	_, sent := r.sums("tcp.io")
	assert.Equal(t, 35.0, sent)
	_, opens := r.sums("tcp.opens")
	assert.Equal(t, 2.0, opens)
	_, closes := r.sums("tcp.closes")
	assert.Equal(t, 2.0, closes)
}

// opening is a source whose kernel counts what was opened.
type opening struct {
	*scripted
	opened uint64
}

func (c *opening) factory() source.Factory {
	f := c.scripted.factory()
	f.Open = func(context.Context) (source.Source, error) { return c, nil }
	return f
}

func (c *opening) Counters(context.Context) (tcp.Counters, error) {
	var counters tcp.Counters
	counters.Set(tcp.OpensClient, c.opened)
	counters.Set(tcp.OpensServer, 2*c.opened)
	counters.Set(tcp.AttemptsFailed, c.opened)
	return counters, nil
}

// What opens and closes between two dumps is missing in the groups where the
// source gives no notice, and the receiver's own telemetry says how much.
func TestTheShortfallIsTold(t *testing.T) {
	src := &opening{scripted: &scripted{name: "a", sockets: []tcp.Socket{established(1, 0)}}, opened: 1000}
	r := newRig(t, groupConfig("tcp.role"), &refusing{}, src)
	unseen := func(want int64) {
		t.Helper()
		r.scrapeOnce(t)
		metadatatest.AssertEqualReceiverTcpstatsUnseenConnections(t, r.telemetry, []metricdata.DataPoint[int64]{{Value: want}}, metricdatatest.IgnoreTimestamp())
	}
	unseen(0) // what was before is not groups' to count
	src.opened += 3
	src.sockets = append(src.sockets, established(2, 0))
	unseen(5)
	src.sockets = append(src.sockets, established(3, 0))
	unseen(4)
}

// confined is a source that is shown but a part of what its counters count.
type confined struct{ *opening }

func (c *confined) factory() source.Factory {
	f := c.opening.factory()
	f.Open = func(context.Context) (source.Source, error) { return c, nil }
	return f
}

func (*confined) Confined() bool { return true }

func TestWhatIsHiddenIsNoShortfall(t *testing.T) {
	src := &confined{&opening{scripted: &scripted{name: "a", sockets: []tcp.Socket{established(1, 0)}}}}
	r := newRig(t, groupConfig("tcp.role"), &refusing{}, src)
	for range 2 {
		r.scrapeOnce(t)
		src.opened += 1000
	}
	_, err := r.telemetry.GetMetric("otelcol_receiver_tcpstats_unseen_connections")
	assert.Error(t, err, "others' connections may be all that is missing")
}

// 50,000 connections to 5,000 peers stay below the limit, and nothing of them is
// lost.
func TestManyPeers(t *testing.T) {
	const connections, peers = 50_000, 5_000
	src := &scripted{name: "a"}
	cfg := groupConfig("network.peer.address", "tcp.role")
	r := newRig(t, cfg, &refusing{}, src)
	r.scrapeOnce(t)
	for i := range connections {
		s := established(uint64(i+1), 10)
		s.Peer = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i % peers >> 8), byte(i % peers)}), uint16(1+i/peers))
		src.sockets = append(src.sockets, s)
	}
	r.sink.Reset()
	r.scrapeOnce(t)
	points, opens := r.sums("tcp.opens")
	assert.Equal(t, 2*(cfg.Groups.Limit+1), points, "each with the point at which there were none")
	assert.Equal(t, float64(connections), opens)
	_, live := r.sums("tcp.count")
	assert.Equal(t, float64(connections), live)
	_, sent := r.sums("tcp.io")
	assert.Equal(t, float64(10*connections), sent)
	metadatatest.AssertEqualReceiverTcpstatsOverflowedConnections(t, r.telemetry,
		[]metricdata.DataPoint[int64]{{Value: int64(connections - cfg.Groups.Limit*connections/peers)}}, metricdatatest.IgnoreTimestamp())
}
