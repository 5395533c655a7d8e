// SPDX-License-Identifier: Apache-2.0

package page

import (
	"strconv"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
)

// peerName is what people call the other end of a connection: the name that was asked
// for or else that of the service; "" if none is known.
func peerName(c *event.Connection) string {
	switch {
	case c.PeerInfo == nil:
		return ""
	case c.PeerInfo.Name != "":
		return c.PeerInfo.Name
	}
	return c.PeerInfo.Service
}

// peerColumns are what is known of the other end beside its address.
func peerColumns() []column {
	of := func(value func(p *event.Peer) string) func(*row) string {
		return func(r *row) string {
			if r.PeerInfo == nil {
				return ""
			}
			return value(r.PeerInfo)
		}
	}
	return []column{
		{"peer_name", true, of(func(p *event.Peer) string { return p.Name })},
		{"peer_service", true, of(func(p *event.Peer) string { return p.Service })},
		{"peer_process", true, of(func(p *event.Peer) string { return nameOf(p.Process) })},
		{"peer_pid", false, of(func(p *event.Peer) string {
			if p.Process == nil {
				return ""
			}
			return strconv.Itoa(int(p.Process.PID))
		})},
		{"peer_translated", true, of(func(p *event.Peer) string {
			if !p.Translated.IsValid() {
				return ""
			}
			return p.Translated.String()
		})},
		{"peer_country", true, of(func(p *event.Peer) string { return p.Country })},
		{"peer_as_number", false, of(func(p *event.Peer) string { return some(uint64(p.ASN)) })},
		{"peer_as_organization", true, of(func(p *event.Peer) string { return p.ASOrg })},
	}
}
