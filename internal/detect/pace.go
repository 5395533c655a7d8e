// SPDX-License-Identifier: Apache-2.0

package detect

import "time"

const (
	// minSamples is how many scrapes a usual round-trip time is learned from; minRTT is
	// how much more than usual is worth a word.
	minSamples = 30
	minRTT     = 20 * time.Millisecond
	// rttWeight is the weight of a scrape in the usual round-trip time: it follows in
	// some hundred scrapes, and stands still while the time is too long.
	rttWeight = 0.02
)

// pace is the round-trip time that is usual.
type pace struct {
	usual  float64 // s
	learnt int     // scrapes
}

func (p *pace) known() bool { return p.learnt >= minSamples }

// slow reports whether a round trip takes so many times as long as usual.
func (p *pace) slow(rtt time.Duration, factor float64) bool {
	s := rtt.Seconds()
	return p.known() && s > factor*p.usual && s-p.usual > minRTT.Seconds()
}

// learn takes a round trip that is as usual.
func (p *pace) learn(rtt time.Duration) {
	p.learnt++
	p.usual += (rtt.Seconds() - p.usual) * max(rttWeight, 1/float64(p.learnt))
}
