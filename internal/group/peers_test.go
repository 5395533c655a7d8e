// SPDX-License-Identifier: Apache-2.0

package group

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

func TestPeerAttributes(t *testing.T) {
	names := []string{
		"server.address", "client.address", "network.peer.address", "service.peer.name",
		"tcp.peer.process.pid", "tcp.peer.process.executable.name", "tcp.peer.container.id",
		"tcp.peer.translated.address", "tcp.peer.translated.port",
		"geo.country.iso_code", "tcp.peer.as.number", "tcp.peer.as.organization",
	}
	var by []Attribute
	for _, name := range names {
		a, err := ParseAttribute(name)
		require.NoError(t, err)
		by = append(by, a)
	}
	known := &event.Peer{
		Name: "www.example", Service: "web", Process: &process.Process{PID: 7, Executable: "nginx", ContainerID: "c0"},
		Translated: netip.MustParseAddrPort("10.0.0.9:8443"), Country: "DE", ASN: 64496, ASOrg: "Example",
	}
	for name, tt := range map[string]struct {
		role tcp.Role
		peer *event.Peer
		bits int
		want map[string]Value
	}{
		"all": {tcp.Client, known, 32, map[string]Value{
			"server.address": {Text: "www.example"}, "client.address": {Text: "10.0.0.1"}, "network.peer.address": {Text: "192.0.2.1"},
			"service.peer.name": {Text: "web"}, "tcp.peer.process.pid": {Number: 7}, "tcp.peer.process.executable.name": {Text: "nginx"}, "tcp.peer.container.id": {Text: "c0"},
			"tcp.peer.translated.address": {Text: "10.0.0.9"}, "tcp.peer.translated.port": {Number: 8443},
			"geo.country.iso_code": {Text: "DE"}, "tcp.peer.as.number": {Number: 64496}, "tcp.peer.as.organization": {Text: "Example"},
		}},
		"masked": {tcp.Client, &event.Peer{Translated: known.Translated}, 24, map[string]Value{
			"server.address": {Text: "192.0.2.0/24"}, "client.address": {Text: "10.0.0.1"}, "network.peer.address": {Text: "192.0.2.0/24"},
			"tcp.peer.translated.address": {Text: "10.0.0.0/24"}, "tcp.peer.translated.port": {Number: 8443},
		}},
		"accepted": {tcp.Server, &event.Peer{Service: "office"}, 32, map[string]Value{
			"server.address": {Text: "10.0.0.1"}, "client.address": {Text: "192.0.2.1"}, "network.peer.address": {Text: "192.0.2.1"}, "service.peer.name": {Text: "office"},
		}},
		"nothing": {tcp.Client, nil, 32, map[string]Value{
			"server.address": {Text: "192.0.2.1"}, "client.address": {Text: "10.0.0.1"}, "network.peer.address": {Text: "192.0.2.1"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(by...)
			cfg.PeerPrefixIPv4 = tt.bits
			d := newDriver(cfg)
			d.see(connection("10.0.0.1:40000", "192.0.2.1:443", func(c *event.Connection) { c.Role, c.PeerInfo = tt.role, tt.peer }))
			got := make(map[string]Value)
			for g := range d.All() {
				for _, a := range by {
					if v := a.Of(&g.Key); v != (Value{}) {
						got[a.String()] = v
					}
				}
			}
			assert.Equal(t, tt.want, got)
		})
	}
}
