package group

import (
	"cmp"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// DurationBounds are the buckets of how long connections were established, in
// seconds.
var DurationBounds = []float64{0.001, 0.01, 0.1, 1, 10, 60, 600, 3600, 86400}

// Ends sums up how the connections of the whole host ended. It is used by one
// goroutine at a time.
type Ends struct {
	// Start is when all counts were 0.
	Start time.Time
	// RTT and Duration are by ConnectionRole.
	RTT, Duration map[ConnectionRole]*Histogram
	Failures      map[Failure]uint64

	rttBounds []float64
}

// Failure is a kind of attempt that came to nothing.
type Failure struct {
	Role  ConnectionRole
	Error tcp.Failure
}

// Compare orders failures by role and error.
func (f Failure) Compare(other Failure) int {
	return cmp.Or(cmp.Compare(f.Role, other.Role), cmp.Compare(f.Error, other.Error))
}

// NewEnds returns sums without anything in them. The histogram of round-trip
// times has the bounds given, in seconds; without bounds it is exponential, and so
// is that of durations.
func NewEnds(now time.Time, rttBounds []float64) *Ends {
	return &Ends{
		Start: now, rttBounds: rttBounds,
		RTT: make(map[ConnectionRole]*Histogram), Duration: make(map[ConnectionRole]*Histogram),
		Failures: make(map[Failure]uint64),
	}
}

// Count takes a notice of a close. accepted tells whether the connection came by
// a listener of this host.
func (e *Ends) Count(s *tcp.Socket, accepted bool) {
	role := Client
	if accepted {
		role = Server
	}
	if s.Failure != tcp.NoFailure {
		e.Failures[Failure{role, s.Failure}]++
		return
	}
	if s.Peer.Port() == 0 || s.SegmentsReceived == 0 {
		return // never a connection
	}
	if s.Has(tcp.FieldSmoothedRTT) {
		e.add(e.RTT, role, s.SmoothedRTT, e.rttBounds)
	}
	if s.Has(tcp.FieldAge) {
		e.add(e.Duration, role, s.Age, e.DurationBounds())
	}
}

// RTTBounds are the buckets of RTT; none: exponential.
func (e *Ends) RTTBounds() []float64 { return e.rttBounds }

// DurationBounds are the buckets of Duration; none: exponential.
func (e *Ends) DurationBounds() []float64 {
	if len(e.rttBounds) == 0 {
		return nil
	}
	return DurationBounds
}

func (e *Ends) add(all map[ConnectionRole]*Histogram, role ConnectionRole, value time.Duration, bounds []float64) {
	h := all[role]
	if h == nil {
		h = newHistogram(bounds)
		all[role] = h
	}
	h.add(value.Seconds(), bounds)
}
