// SPDX-License-Identifier: Apache-2.0

package page

import (
	"encoding/json"
	"math"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// What the page itself gets: connections by their slots, as arrays, first all of
// them and then what has changed.
//
//	born  [slot, id, process, pid, owner, container, role, local address, local port,
//	       peer address, peer port, congestion control, namespace, first seen in ms,
//	       reason without a process, name of the peer]
//	rows  [slot, state, out, in, rtt, retransmits, segments sent]
//	gone  slot
//
// Rates are in bytes per second, round trips in microseconds; null is not known.

// moving is what of a connection changes from scrape to scrape.
type moving struct {
	id                    tcp.Identity
	scrape                uint32 // the last one that had it; 0: the slot is free
	state                 tcp.State
	attributed, named     bool
	out, in               float32
	rtt                   int64 // -1: not known
	retransmits, segments int64 // -1: not known
}

func movingOf(r *row, scrape uint32) moving {
	m := moving{
		id: r.ID, scrape: scrape, state: r.State, attributed: r.process != nil, named: r.PeerInfo != nil,
		out: float32(math.Round(r.out)), in: float32(math.Round(r.in)), rtt: -1, retransmits: -1, segments: -1,
	}
	if r.Has(tcp.FieldSmoothedRTT) {
		m.rtt = r.SmoothedRTT.Microseconds()
	}
	if r.Has(tcp.FieldRetransmits) {
		m.retransmits = int64(r.Retransmits)
	}
	if r.Has(tcp.FieldSegmentsSent) {
		m.segments = int64(r.details.Sample.SegmentsSent)
	}
	return m
}

// difference finds what changed since the snapshot before.
type difference struct {
	slots  []moving
	scrape uint32
}

// append appends what changed as the fields of a JSON object. all is for who knows
// nothing yet: it compares with nothing and remembers nothing.
func (d *difference) append(b []byte, n *snapshot, all bool) []byte {
	if !all {
		d.scrape++
	}
	var born, changed []*row
	for i := range n.rows {
		r := &n.rows[i]
		if all {
			born, changed = append(born, r), append(changed, r)
			continue
		}
		for int(r.Slot) >= len(d.slots) {
			d.slots = append(d.slots, moving{})
		}
		was, is := &d.slots[r.Slot], movingOf(r, d.scrape)
		if was.scrape == 0 || was.id != is.id || was.attributed != is.attributed || was.named != is.named {
			born, changed = append(born, r), append(changed, r)
		} else if was.scrape = d.scrape; *was != is {
			changed = append(changed, r)
		}
		*was = is
	}
	b = append(b, `"born":[`...)
	for i, r := range born {
		b = appendBorn(comma(b, i), r)
	}
	b = append(b, `],"rows":[`...)
	for i, r := range changed {
		b = appendMoving(comma(b, i), r)
	}
	b = append(b, `],"gone":[`...)
	if !all {
		first := 0
		for slot := range d.slots {
			if s := &d.slots[slot]; s.scrape != 0 && s.scrape != d.scrape {
				*s = moving{}
				b = appendInt(comma(b, first), int64(slot))
				first++
			}
		}
	}
	return append(b, ']')
}

func comma(b []byte, i int) []byte {
	if i > 0 {
		return append(b, ',')
	}
	return b
}

func appendBorn(b []byte, r *row) []byte {
	b = appendInt(append(b, '['), int64(r.Slot))
	b = appendText(append(b, ','), idOf(r.ID))
	if p := r.process; p != nil {
		b = appendText(append(b, ','), p.Executable)
		b = appendInt(append(b, ','), int64(p.PID))
		b = appendText(append(b, ','), p.Owner)
		b = appendText(append(b, ','), p.ContainerID)
	} else {
		b = append(b, `,null,null,"",""`...)
	}
	b = appendText(append(b, ','), r.Role.String())
	b = appendText(append(b, ','), r.Local.Addr().String())
	b = appendInt(append(b, ','), int64(r.Local.Port()))
	b = appendText(append(b, ','), r.Peer.Addr().String())
	b = appendInt(append(b, ','), int64(r.Peer.Port()))
	congestion := ""
	if r.Traits != nil {
		congestion = r.CongestionControl
	}
	b = appendText(append(b, ','), congestion)
	b = appendInt(append(b, ','), int64(r.ID.Namespace))
	b = appendInt(append(b, ','), r.details.FirstSeen.UnixMilli())
	b = appendText(append(b, ','), r.reason.String())
	b = appendText(append(b, ','), peerName(&r.Connection))
	return append(b, ']')
}

func appendMoving(b []byte, r *row) []byte {
	m := movingOf(r, 0)
	b = appendInt(append(b, '['), int64(r.Slot))
	b = appendInt(append(b, ','), int64(m.state))
	b = appendInt(append(b, ','), int64(m.out))
	b = appendInt(append(b, ','), int64(m.in))
	for _, n := range [...]int64{m.rtt, m.retransmits, m.segments} {
		b = append(b, ',')
		if n < 0 {
			b = append(b, "null"...)
			continue
		}
		b = appendInt(b, n)
	}
	return append(b, ']')
}

// appendScrape appends what every message of a scrape has: totals, status,
// listeners.
func appendScrape(b []byte, n *snapshot) []byte {
	b = appendJSON(append(b, `"totals":`...), n.point)
	b = appendJSON(append(b, `,"status":`...), n.status)
	b = append(b, `,"listeners":[`...)
	for i := range n.listeners {
		r := &n.listeners[i]
		b = append(comma(b, i), '[')
		b = appendText(b, nameOf(r.process))
		b = appendText(append(b, ','), r.Local.Addr().String())
		b = appendInt(append(b, ','), int64(r.Local.Port()))
		if r.Has(tcp.FieldQueueLength) {
			b = appendInt(append(b, ','), int64(r.details.Sample.QueueLength))
			b = appendInt(append(b, ','), int64(r.details.Sample.QueueLimit))
		} else {
			b = append(b, ",null,null"...)
		}
		b = append(b, ']')
	}
	return append(b, ']')
}

// appendJSON appends a small value of ours, which always can be encoded.
func appendJSON(b []byte, value any) []byte {
	text, err := json.Marshal(value)
	if err != nil {
		return append(b, "null"...)
	}
	return append(b, text...)
}
