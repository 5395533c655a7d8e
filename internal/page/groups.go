// SPDX-License-Identifier: Apache-2.0

package page

import (
	"cmp"
	"slices"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// group is the connections of one executable in one role at one port: the
// listener's port of servers, the peer's port of clients.
type group struct {
	Process     string  `json:"process"`
	Role        string  `json:"role"`
	Port        uint16  `json:"port"`
	Connections int     `json:"connections"`
	Established int     `json:"established"`
	Out         float64 `json:"out_bytes_per_second"`
	In          float64 `json:"in_bytes_per_second"`
	Sent        uint64  `json:"bytes_sent"`
	Received    uint64  `json:"bytes_received"`
	Retransmits uint64  `json:"retransmits"`
	Segments    uint64  `json:"segments_sent"`
	RTTMedian   *int64  `json:"rtt_p50_us"`
	RTTLeast    *int64  `json:"rtt_least_us"`

	rtt rttCounts
}

// groupsOf aggregates a snapshot, the busiest group first.
func groupsOf(n *snapshot) []*group {
	type key struct {
		process string
		role    tcp.Role
		port    uint16
	}
	index := make(map[key]*group)
	all := []*group{}
	for i := range n.rows {
		r := &n.rows[i]
		k := key{nameOf(r.process), r.Role, servicePort(r)}
		g := index[k]
		if g == nil {
			g = &group{Process: k.process, Role: k.role.String(), Port: k.port}
			index[k], all = g, append(all, g)
		}
		g.Connections++
		if r.State == tcp.Established {
			g.Established++
		}
		g.Out += r.out
		g.In += r.in
		g.Sent += r.BytesSent
		g.Received += r.BytesReceived
		g.Retransmits += r.Retransmits
		g.Segments += r.details.Sample.SegmentsSent
		if r.Has(tcp.FieldSmoothedRTT) {
			g.rtt.add(r.SmoothedRTT)
		}
	}
	for _, g := range all {
		g.RTTMedian, g.RTTLeast = g.rtt.quantile(0.5), g.rtt.least()
	}
	slices.SortFunc(all, func(a, b *group) int {
		return cmp.Or(cmp.Compare(b.Out+b.In, a.Out+a.In), cmp.Compare(b.Connections, a.Connections), cmp.Compare(a.Process, b.Process), cmp.Compare(a.Role, b.Role), cmp.Compare(a.Port, b.Port))
	})
	return all
}

func servicePort(r *row) uint16 {
	if r.Role == tcp.Server {
		return r.Local.Port()
	}
	return r.Peer.Port()
}
