// SPDX-License-Identifier: Apache-2.0

package page

import (
	"sync"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// happened is that a connection opened or ended, as a plain value.
type happened struct {
	event.Connection // without Details
	process          *process.Process
	end              bool
	established      bool
	cause            tcp.Cause
	failure          tcp.Failure
	at, start        time.Time
}

// recent is what happened lately. Listeners add to it under the engine's lock, so
// nothing is encoded here.
type recent struct {
	wake chan struct{}

	mu       sync.Mutex
	ends     []happened // a ring of maxEnded
	next     int
	events   []happened // that the streams have not had yet
	skipped  uint64     // events beyond maxEvents
	findings []Finding
	unsent   []Finding
}

func (r *recent) opened(e *event.Opened) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := happened{Connection: *e.Connection, process: e.Process, at: e.At}
	h.Details = nil
	r.tell(h)
}

func (r *recent) ended(e *event.Ended, of *process.Process, looking bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.ends) < maxEnded {
		r.ends = append(r.ends, happened{})
		r.next = len(r.ends) - 1
	}
	h := &r.ends[r.next]
	r.next = (r.next + 1) % maxEnded
	*h = happened{
		Connection: *e.Connection, process: of, end: true,
		established: e.Established, cause: e.Cause, failure: e.Failure, at: e.At, start: e.Start,
	}
	if h.start.IsZero() {
		h.start = e.FirstSeen
	}
	h.Details = nil
	if looking {
		r.tell(*h)
	}
}

// tell has the streams told. r.mu is held.
func (r *recent) tell(h happened) {
	if len(r.events) == maxEvents {
		r.skipped++
		return
	}
	r.events = append(r.events, h)
	r.rouse()
}

func (r *recent) rouse() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// take returns what the streams have not had yet.
func (r *recent) take() (events []happened, skipped uint64, findings []Finding) {
	r.mu.Lock()
	defer r.mu.Unlock()
	events, skipped, findings = r.events, r.skipped, r.unsent
	r.events, r.skipped, r.unsent = nil, 0, nil
	return events, skipped, findings
}

// last returns the connections that ended last, the oldest first, and the
// findings.
func (r *recent) last() ([]happened, []Finding) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var ends []happened
	if len(r.ends) == maxEnded {
		ends = append(ends, r.ends[r.next:]...)
		ends = append(ends, r.ends[:r.next]...)
	} else {
		ends = append(ends, r.ends...)
	}
	return ends, append([]Finding(nil), r.findings...)
}

// found takes a finding.
func (p *Page) found(f Finding) {
	r := &p.recent
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.findings) == maxFindings {
		r.findings = r.findings[1:]
	}
	r.findings = append(r.findings, f)
	if p.watched.Load() && len(r.unsent) < maxFindings {
		r.unsent = append(r.unsent, f)
	}
	r.rouse()
}

// appendHappened appends an event as a JSON object.
func appendHappened(b []byte, h *happened) []byte {
	b = appendText(append(b, `{"id":`...), idOf(h.ID))
	b = appendInt(append(b, `,"slot":`...), int64(h.Slot))
	if h.process != nil {
		b = appendText(append(b, `,"process":`...), h.process.Executable)
		b = appendInt(append(b, `,"pid":`...), int64(h.process.PID))
	}
	b = appendText(append(b, `,"role":`...), h.Role.String())
	b = appendText(append(b, `,"local_address":`...), h.Local.Addr().String())
	b = appendInt(append(b, `,"local_port":`...), int64(h.Local.Port()))
	b = appendText(append(b, `,"peer_address":`...), h.Peer.Addr().String())
	b = appendInt(append(b, `,"peer_port":`...), int64(h.Peer.Port()))
	if name := peerName(&h.Connection); name != "" {
		b = appendText(append(b, `,"peer_name":`...), name)
	}
	if !h.at.IsZero() {
		b = appendText(append(b, `,"time":`...), stamp(h.at))
	}
	if !h.end {
		return append(b, '}')
	}
	if h.established {
		b = appendText(append(b, `,"cause":`...), h.cause.String())
	} else {
		failure := h.failure.String()
		if failure == "" {
			failure = tcp.OtherFailure.String()
		}
		b = appendText(append(b, `,"failure":`...), failure)
	}
	if lasted := h.at.Sub(h.start); !h.start.IsZero() && lasted >= 0 {
		b = appendInt(append(b, `,"lasted_us":`...), lasted.Microseconds())
	}
	if h.Has(tcp.FieldBytesSent) {
		b = appendInt(append(b, `,"bytes_sent":`...), int64(h.BytesSent))
	}
	if h.Has(tcp.FieldBytesReceived) {
		b = appendInt(append(b, `,"bytes_received":`...), int64(h.BytesReceived))
	}
	if h.Has(tcp.FieldRetransmits) {
		b = appendInt(append(b, `,"retransmits":`...), int64(h.Retransmits))
	}
	if h.Has(tcp.FieldSmoothedRTT) {
		b = appendInt(append(b, `,"rtt_us":`...), h.SmoothedRTT.Microseconds())
	}
	return append(b, '}')
}
