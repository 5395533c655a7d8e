// SPDX-License-Identifier: Apache-2.0

package group

import (
	"cmp"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// DurationBounds are the buckets of how long connections were established, in
// seconds.
var DurationBounds = []float64{0.001, 0.01, 0.1, 1, 10, 60, 600, 3600, 86400}

// Ends aggregates how the connections of the whole host ended. It hears of them as
// an [event.Listener], and is used by one goroutine at a time.
type Ends struct {
	// Start is when all counts were 0.
	Start time.Time
	// RTT and Duration are by role.
	RTT, Duration map[tcp.Role]*Histogram
	Failures      map[Failure]uint64

	rttBounds []float64
}

// Failure is a kind of attempt that came to nothing.
type Failure struct {
	Role  tcp.Role
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
		RTT: make(map[tcp.Role]*Histogram), Duration: make(map[tcp.Role]*Histogram),
		Failures: make(map[Failure]uint64),
	}
}

// Progress implements event.Listener.
func (*Ends) Progress(*event.Progress) {}

// Opened implements event.Listener.
func (*Ends) Opened(*event.Opened) {}

// Ended implements event.Listener. Only what a notice told is known well enough.
func (e *Ends) Ended(end *event.Ended) {
	if end.Last == nil {
		return
	}
	if !end.Established {
		if end.Failure != tcp.NoFailure {
			e.Failures[Failure{end.Role, end.Failure}]++
		}
		return
	}
	if end.Last.Has(tcp.FieldSmoothedRTT) {
		e.add(e.RTT, end.Role, end.Last.SmoothedRTT, e.rttBounds)
	}
	if end.Last.Has(tcp.FieldAge) {
		e.add(e.Duration, end.Role, end.Last.Age, e.DurationBounds())
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

func (e *Ends) add(all map[tcp.Role]*Histogram, role tcp.Role, value time.Duration, bounds []float64) {
	h := all[role]
	if h == nil {
		h = newHistogram(bounds)
		all[role] = h
	}
	h.add(value.Seconds(), bounds)
}
