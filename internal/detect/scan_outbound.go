// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"net/netip"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// outbound finds programs of this host that scan.
type outbound struct{ scans }

func newOutbound(cfg *ScanConfig, report *reporter) *outbound {
	return &outbound{newScans("scan.outbound", cfg, report)}
}

func (o *outbound) ended(e *end) {
	switch {
	case e.Role == tcp.Server:
	case e.Established:
		o.reached(e.whoHash, e.Peer)
	case e.Failure == tcp.NetUnreachable:
		// There is no route: nothing has left the host. Hosts without IPv6 have many
		// of these.
	default:
		o.failed(&attempt{who: e.who, whoHash: e.whoHash, process: e.Process, from: withoutPort(e.Local), to: e.Peer, at: e.at})
	}
}

func withoutPort(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr(), 0) }
