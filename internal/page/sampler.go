// SPDX-License-Identifier: Apache-2.0

package page

import (
	"math"
	"math/bits"
	"sync"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/engine"
	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// sampler makes a point of totals of each scrape out of what the engine reports
// anyway. It runs whether anybody looks or not, so it only adds.
type sampler struct {
	history history
	last    time.Time // when the last scrape was

	sent, received   uint64 // bytes since the last scrape
	retransmits      uint64
	opens, closes    uint64
	failures         [tcp.OtherFailure + 1]uint64
	rtt              rttCounts
	live             [tcp.NumStates + 1]int64
	segments, resent uint64 // the host's counters at the last scrape
	haveCounters     bool
}

// point is the totals of one scrape, as the page gets them. Rates are per second,
// round trips in microseconds, and what is not known is null.
type point struct {
	Time        int64            `json:"t"` // milliseconds since 1970
	Connections int64            `json:"connections"`
	States      map[string]int64 `json:"states"`
	Out         float64          `json:"out"` // bytes per second
	In          float64          `json:"in"`
	Opens       float64          `json:"opens"`
	Closes      float64          `json:"closes"`
	Failures    float64          `json:"failures"`
	// FailuresBy are the failures by error.type.
	FailuresBy map[string]float64 `json:"failures_by,omitempty"`
	// RTT are those of connections that exchanged bytes since the last scrape.
	RTTMedian *int64 `json:"rtt_p50_us"`
	RTTP99    *int64 `json:"rtt_p99_us"`
	RTTLeast  *int64 `json:"rtt_least_us"`
	// Retransmitted is the part of the host's sent segments that were sent again.
	Retransmitted *float64 `json:"retransmitted"`
	Retransmits   float64  `json:"retransmits"` // segments per second
}

func (s *sampler) progress(e *event.Progress) {
	s.live[e.Was]--
	s.live[e.Is]++
	if e.Delta == (event.Delta{}) {
		return
	}
	s.sent += e.Delta.BytesSent
	s.received += e.Delta.BytesReceived
	s.retransmits += e.Delta.Retransmits
	if e.Has(tcp.FieldSmoothedRTT) {
		s.rtt.add(e.SmoothedRTT)
	}
}

// sample ends a point at a scrape and begins the next one. It returns the seconds
// since the scrape before.
func (s *sampler) sample(scrape *engine.Scrape, interval time.Duration) (*point, float64) {
	first := s.last.IsZero()
	elapsed := interval.Seconds()
	if !first {
		elapsed = max(1e-3, scrape.Now.Sub(s.last).Seconds())
	}
	s.last = scrape.Now
	p := &point{
		Time: scrape.Now.UnixMilli(), States: make(map[string]int64),
		Out: float64(s.sent) / elapsed, In: float64(s.received) / elapsed,
		Opens: float64(s.opens) / elapsed, Closes: float64(s.closes) / elapsed,
		Retransmits: float64(s.retransmits) / elapsed,
		RTTMedian:   s.rtt.quantile(0.5), RTTP99: s.rtt.quantile(0.99), RTTLeast: s.rtt.least(),
	}
	for failure, n := range s.failures {
		if n == 0 {
			continue
		}
		name := tcp.Failure(failure).String()
		if name == "" {
			name = tcp.OtherFailure.String()
		}
		if p.FailuresBy == nil {
			p.FailuresBy = make(map[string]float64)
		}
		p.FailuresBy[name] += float64(n) / elapsed
		p.Failures += float64(n) / elapsed
	}
	s.countStates(scrape, p)
	s.countSegments(scrape, p)
	s.sent, s.received, s.retransmits, s.opens, s.closes = 0, 0, 0, 0, 0
	s.failures, s.rtt = [tcp.OtherFailure + 1]uint64{}, rttCounts{}
	s.history.add(p)
	return p, elapsed
}

// countStates counts the sockets in each state: all of the host's where they were
// counted, else those that are watched.
func (s *sampler) countStates(scrape *engine.Scrape, p *point) {
	var states tcp.States
	known := false
	for space := range scrape.Spaces() {
		if space.States == nil {
			continue
		}
		known = true
		for state, n := range space.States {
			states[state] += n
		}
	}
	if !known {
		copy(states[:], s.live[:tcp.NumStates])
	}
	for state, n := range states {
		if n == 0 {
			continue
		}
		p.States[tcp.State(state).String()] = n
		if tcp.State(state) != tcp.Listen {
			p.Connections += n
		}
	}
}

// countSegments finds what part of the segments was sent again.
func (s *sampler) countSegments(scrape *engine.Scrape, p *point) {
	var segments, resent uint64
	known := false
	for space := range scrape.Spaces() {
		n, okN := space.Counters.Get(tcp.SegmentsSent)
		r, okR := space.Counters.Get(tcp.Retransmits)
		if okN && okR {
			segments, resent, known = segments+n, resent+r, true
		}
	}
	if known && s.haveCounters && segments > s.segments && resent >= s.resent {
		part := float64(resent-s.resent) / float64(segments-s.segments)
		p.Retransmitted = &part
	}
	s.segments, s.resent, s.haveCounters = segments, resent, known
}

// history is the last points.
type history struct {
	limit int

	mu     sync.Mutex
	points []*point // a ring once it is full
	next   int
}

func (h *history) add(p *point) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.points) < h.limit {
		h.points = append(h.points, p)
		return
	}
	h.points[h.next] = p
	h.next = (h.next + 1) % h.limit
}

func (h *history) last() *point {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.points) == 0 {
		return &point{States: map[string]int64{}}
	}
	return h.points[(h.next+len(h.points)-1)%len(h.points)]
}

// all returns the points, the oldest first.
func (h *history) all() []*point {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append(append(make([]*point, 0, len(h.points)), h.points[h.next:]...), h.points[:h.next]...)
}

// rttCounts counts round trips in buckets, eight to each power of two: a quantile
// is right to 1/16. One below 2^39 ns (9 minutes) has a bucket of its own.
type rttCounts struct {
	counts [40 * 8]uint32
	n      uint32
	min    time.Duration
}

func (r *rttCounts) add(d time.Duration) {
	if d <= 0 {
		return
	}
	if r.n == 0 || d < r.min {
		r.min = d
	}
	r.n++
	r.counts[bucketOf(d)]++
}

func bucketOf(d time.Duration) int {
	exponent := bits.Len64(uint64(d)) - 1
	fraction := 0
	if exponent >= 3 {
		fraction = int(uint64(d)>>(exponent-3)) & 7
	}
	return min(exponent*8+fraction, 40*8-1)
}

// quantile returns a quantile in microseconds, nil if there was nothing.
func (r *rttCounts) quantile(q float64) *int64 {
	if r.n == 0 {
		return nil
	}
	rank := uint32(math.Ceil(q * float64(r.n)))
	for bucket, n := range r.counts {
		if rank <= n {
			middle := math.Ldexp(1+(float64(bucket%8)+0.5)/8, bucket/8)
			us := int64(math.Round(max(middle, float64(r.min)) / 1e3))
			return &us
		}
		rank -= n
	}
	return nil
}

func (r *rttCounts) least() *int64 {
	if r.n == 0 {
		return nil
	}
	us := r.min.Microseconds()
	return &us
}
