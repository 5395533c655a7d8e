package otlp

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/record"
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
