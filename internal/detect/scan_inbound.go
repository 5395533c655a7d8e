// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"net/netip"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// probeDuration is how long a connection lasts at most that only tries whether a
// port is open.
const probeDuration = time.Second

// inbound finds peers that scan this host. Attempts at closed ports meet no socket:
// only an engine that sees packets shows them. Without one, only open ports are seen
// to be tried.
type inbound struct{ scans }

func newInbound(cfg *ScanConfig, report *reporter) *inbound {
	return &inbound{newScans("scan.inbound", cfg, report)}
}

func (i *inbound) ended(e *end) {
	if e.Role != tcp.Server {
		return
	}
	if e.Established && !isProbe(e) {
		i.reached(i.scanner(e.Peer.Addr(), e.ID.Namespace), e.Local)
		return
	}
	i.try(e.Local, e.Peer, e.ID.Namespace, e.at)
}

func (i *inbound) attempted(a *Attempt) { i.try(a.Local, a.Peer, a.Namespace, a.At) }

func (i *inbound) scanner(peer netip.Addr, namespace uint64) uint64 {
	return i.report.hash.who(who{addr: peer, namespace: namespace})
}

func (i *inbound) try(local, peer netip.AddrPort, namespace uint64, at time.Time) {
	if peer.Addr().IsLoopback() || peer.Addr() == local.Addr() {
		return // a program of this host, which scan.outbound names
	}
	w := who{addr: peer.Addr(), namespace: namespace}
	i.failed(&attempt{who: w, whoHash: i.report.hash.who(w), from: withoutPort(peer), to: local, at: at})
}

// isProbe reports whether a connection ended at once, with nothing said.
func isProbe(e *end) bool {
	return e.Has(tcp.FieldBytesSent) && e.Has(tcp.FieldBytesReceived) && e.BytesSent == 0 && e.BytesReceived == 0 &&
		!e.Start.IsZero() && e.at.Sub(e.start) <= probeDuration
}
