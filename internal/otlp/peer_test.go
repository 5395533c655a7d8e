// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/group"
	"github.com/netpulse/tcpstatsreceiver/internal/netns"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/record"
	"github.com/netpulse/tcpstatsreceiver/internal/table"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// A record has what is known of the peer, and its name instead of the server's
// address.
func TestARecordOfAKnownPeer(t *testing.T) {
	r := fullRecord()
	plain := one(t, recordWriter().Logs([]record.Record{r}, 5)).Attributes().AsRaw()
	r.PeerInfo = &event.Peer{
		Name: "www.example", Service: "web", Process: &process.Process{PID: 7, Executable: "nginx", ContainerID: "c0"},
		Translated: netip.MustParseAddrPort("10.0.0.9:8443"), Country: "DE", ASN: 64496, ASOrg: "Example",
	}
	more := map[string]any{
		"service.peer.name": "web", "tcp.peer.process.pid": int64(7), "tcp.peer.process.executable.name": "nginx", "tcp.peer.container.id": "c0",
		"tcp.peer.translated.address": "10.0.0.9", "tcp.peer.translated.port": int64(8443),
		"geo.country.iso_code": "DE", "tcp.peer.as.number": int64(64496), "tcp.peer.as.organization": "Example",
	}
	assert.Len(t, more, peerAttributes)
	for name, value := range more {
		plain[name] = value
	}
	plain["server.address"] = "www.example"
	assert.Equal(t, plain, one(t, recordWriter().Logs([]record.Record{r}, 5)).Attributes().AsRaw())

	r.Role = tcp.Server
	attrs := one(t, recordWriter().Logs([]record.Record{r}, 5)).Attributes().AsRaw()
	assert.Equal(t, "128.232.110.120", attrs["server.address"], "the server is this host")
	assert.Equal(t, "66.35.250.204", attrs["client.address"])
}

// A connection of which the peer is not decided yet has no series where they would get
// more attributes later.
func TestSeriesWaitForThePeer(t *testing.T) {
	remembered := table.New(table.Options{Boot: boot, Detailed: true, Slots: &table.Slots{}, Events: group.NewSet(group.Config{Limit: 1}, began)})
	remembered.Begin(began)
	s := full()
	remembered.Observe(&s)
	c := remembered.Find(s.ID)
	m := &Metrics{writer: newWriter(everything())}
	assert.True(t, m.hasSeries(c))
	m.writer.peerAttributes = attributesOf([]group.Attribute{group.ServiceName})
	assert.False(t, m.hasSeries(c))
	remembered.End(table.Complete)
	remembered.Report()
	assert.True(t, m.hasSeries(c))
}

// The points of a connection have what is wanted of its peer, and no more.
func TestPointsOfAKnownPeer(t *testing.T) {
	w := newWriter(everything())
	c := connection(full(), nginx)
	c.PeerInfo = &event.Peer{Name: "www.example", Service: "web", Process: &process.Process{PID: 7}, Country: "DE"}
	attrs := func() map[string]any {
		return points(collect(t, w, 1, c)[0].ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0)).At(0).Attributes().AsRaw()
	}
	plain := attrs()
	assert.Len(t, plain, 6)
	w.peerAttributes = attributesOf([]group.Attribute{group.ServerAddress, group.ServiceName, group.PeerPID, group.ASNumber})
	plain["server.address"], plain["service.peer.name"], plain["tcp.peer.process.pid"] = "www.example", "web", int64(7)
	assert.Equal(t, plain, attrs())
	w.processOnPoints = true
	plain["process.pid"] = int64(812)
	got := attrs()
	for name, value := range plain {
		assert.Equal(t, value, got[name], name)
	}

	// The last points of its series have the same.
	var all written
	all.add(c)
	all.commit()
	all.end()
	last := points(w.Ended(all.end(), now).ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0)).At(0)
	assert.True(t, last.Flags().NoRecordedValue())
	assert.Equal(t, got, last.Attributes().AsRaw())
}

// A finding about a server whose name is known has both, the name and the address.
func TestAFindingAboutANamedServer(t *testing.T) {
	f := event.Finding{Rule: "beacon", Server: netip.MustParseAddrPort("198.51.100.7:443")}
	attrs := func() map[string]any {
		return one(t, recordWriter().Finding(&f, netns.Place{}, now)).Attributes().AsRaw()
	}
	plain := attrs()
	assert.Equal(t, "198.51.100.7", plain["server.address"])
	assert.NotContains(t, plain, "network.peer.address")
	f.ServerName = "c2.example"
	named := attrs()
	assert.Equal(t, "c2.example", named["server.address"])
	assert.Equal(t, "198.51.100.7", named["network.peer.address"])
	assert.Equal(t, int64(443), named["server.port"])
}
