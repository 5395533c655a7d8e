// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

const (
	// maxCandidates bounds the pairs that have connected a few times, maxPairs those
	// that are followed: some 1.5 MB and 3 MB.
	maxCandidates = 16384
	maxPairs      = 2048
	// minBeats is from when a pair is followed, maxBeats how many of its connections
	// are remembered.
	minBeats = 4
	maxBeats = 128
	// beatGap is the least time between two beats: what connects twice at once is one
	// beat.
	beatGap = 500 * time.Millisecond
	// scoreEvery is the least time between two looks at the same pair.
	scoreEvery = time.Minute
	// hours of the histogram, and of the window that is looked at.
	hours    = 24
	observed = hours * time.Hour
	// leastAlike is how alike the intervals must be, whatever the scores: 1 - MAD/median.
	// Jitter of half the interval has 0.75, and what comes by chance has 0.3.
	leastAlike = 0.6
	// missedBeats is after how many missed beats a beacon has ceased.
	missedBeats = 3
	// enough is the share of what was observed that counts as all of it: what lasts but
	// an hour or two of a day, as a long download in pieces, is no beacon.
	enough = 0.75
	// fewSubjects is from how many programs or hosts on it can be said that many of
	// them talk to a peer; common is the share, commonPenalty what the score loses.
	fewSubjects   = 4
	common        = 0.5
	commonPenalty = 0.25
)

// beacons finds programs that connect to the same peer regularly.
type beacons struct {
	cfg        *BeaconConfig
	report     *reporter
	began      time.Time
	candidates lru[candidate]
	pairs      lru[pair]
	// Who talks to each peer again and again, and who to any.
	popularity lru[few]
	rhythms    lru[rhythms]
	talkers    few

	values, scratch [maxBeats]uint32 // for the score
}

// candidate is a pair that has not connected often enough to be followed.
type candidate struct {
	n     uint8
	first int64 // ms since 1970
	last  int64
	beats [minBeats - 1]beat
}

// pair is who connects to a peer, and when.
type pair struct {
	beats   [maxBeats]beat // a ring
	n       uint32         // beats ever
	first   int64          // ms since 1970, of the first beat
	last    int64          // of the latest
	scored  int64          // when the pair was looked at
	hourly  [hours]uint16  // beats in each hour of the day
	hourOf  [hours]int32   // which hour that was, since 1970
	known   hush
	every   time.Duration // the median interval, once it is known
	process *process.Process
}

type beat struct {
	at   uint32 // ms, the low 32 bits: a ring spans less than 49 days
	size uint32 // bytes sent
}

func newBeat(at int64, size uint64) beat {
	return beat{uint32(at), uint32(min(size, math.MaxUint32))}
}

func (p *pair) add(at int64, one beat) {
	p.last = at
	p.beats[p.n%maxBeats] = one
	p.n++
	hour := int32(at / time.Hour.Milliseconds())
	if slot := hour % hours; p.hourOf[slot] != hour {
		p.hourOf[slot], p.hourly[slot] = hour, 1
	} else {
		p.hourly[slot]++
	}
}

func newBeacons(cfg *BeaconConfig, report *reporter) *beacons {
	return &beacons{
		cfg: cfg, report: report,
		candidates: newLRU[candidate](maxCandidates), pairs: newLRU[pair](maxPairs), popularity: newLRU[few](2 * maxPairs),
		rhythms: newLRU[rhythms](maxPairs),
	}
}

func (b *beacons) evicted() uint64 {
	return b.candidates.evicted + b.pairs.evicted + b.popularity.evicted + b.rhythms.evicted
}

func (b *beacons) ended(e *end) {
	if b.began.IsZero() || e.start.Before(b.began) {
		b.began = e.start
	}
	if e.Role == tcp.Server || !b.isOutside(e.Peer.Addr()) {
		return
	}
	key := b.report.hash.pair(pairKey{who: e.whoHash, addr: e.Peer.Addr(), port: e.Peer.Port()})
	at := e.start.UnixMilli()
	p := b.pairs.find(key)
	if p == nil {
		c, isNew := b.candidates.get(key)
		if isNew {
			*c = candidate{}
		}
		if c.n > 0 && at-c.last < beatGap.Milliseconds() {
			return
		}
		if c.n == 0 {
			c.first = at
		}
		if c.n < minBeats-1 {
			c.beats[c.n] = newBeat(at, e.BytesSent)
			c.n++
			c.last = at
			return
		}
		p, _ = b.pairs.get(key)
		*p = pair{first: c.first}
		for _, earlier := range c.beats {
			p.add(c.first+int64(earlier.at-uint32(c.first)), earlier)
		}
		*c = candidate{}
		b.count(e)
	} else if at-p.last < beatGap.Milliseconds() {
		return // the same beat, or one that ended out of order
	}
	p.process = e.Process
	p.add(at, newBeat(at, e.BytesSent))
	if int(p.n) < b.cfg.Connections || p.known.quiet(b.report.cfg, e.at, missedBeats*p.every) || at-p.scored < scoreEvery.Milliseconds() && int(p.n) > b.cfg.Connections ||
		at-p.first < b.cfg.MinDuration.Milliseconds() {
		return
	}
	p.scored = at
	b.judge(e, p)
}

// count notes who talks to a peer again and again.
func (b *beacons) count(e *end) {
	users, isNew := b.popularity.get(b.report.hash.pair(pairKey{addr: e.Peer.Addr()}))
	if isNew {
		*users = 0
	}
	users.add(e.whoHash)
	b.talkers.add(e.whoHash)
}

// isOutside reports whether a peer is somewhere else than at home.
func (b *beacons) isOutside(a netip.Addr) bool {
	return !a.IsLoopback() && (b.cfg.PrivatePeers || !b.report.isHome(a))
}

// judge reports a pair if it is a beacon.
func (b *beacons) judge(e *end, p *pair) {
	n := int(min(p.n, maxBeats))
	intervals, alike, sizes := b.intervals(p, n)
	hist, dur := b.day(p)
	score := (intervals + sizes + hist + dur) / 4
	prevalence := 0.0
	if total := b.talkers.count(); total >= fewSubjects {
		if users := b.popularity.find(b.report.hash.pair(pairKey{addr: e.Peer.Addr()})); users != nil {
			prevalence = min(1, users.count()/total)
		}
		if prevalence >= common {
			score -= commonPenalty
		}
	}
	if score < b.cfg.Score || alike < leastAlike {
		return
	}
	every := time.Duration(b.median(p, n)) * time.Millisecond
	first, last := time.UnixMilli(p.first), time.UnixMilli(p.last)
	key := b.report.hash.pair(pairKey{who: e.whoHash, port: e.Peer.Port()})
	if known := b.sameRhythm(key, every, e.at); known != nil {
		p.known, p.every = *known, every
		return
	}
	f := event.Finding{
		Rule: "beacon", Category: event.CommandAndControl, Process: p.process,
		Subject: e.who.String() + " to " + endpoint(e.Peer),
		Body: fmt.Sprintf("%s connected to %s %d times, every %s or so, since %s: as regularly as software that calls home",
			describe(e.who, p.process), named(e.Connection), p.n, every.Round(time.Millisecond), clock(first)),
		Client: withoutPort(e.Local), Server: e.Peer, ServerName: nameOf(e.Connection), Namespace: e.ID.Namespace,
		Evidence: []event.Evidence{
			against("score", round(score), b.cfg.Score), against("connections", float64(p.n), float64(b.cfg.Connections)),
			number("score.intervals", round(intervals)), number("score.sizes", round(sizes)),
			number("score.histogram", round(hist)), number("score.duration", round(dur)),
			number("interval", every.Seconds()), number("prevalence", round(prevalence)),
		},
		Peers: []string{endpoint(e.Peer)}, At: e.at, First: first, Last: last,
	}
	p.known, p.every = b.report.find(&f), every
	b.remember(key, every, p.known)
}

// rhythms are the intervals of the latest beacons of a program on a port.
type rhythms struct {
	n   int
	all [4]rhythm
}

type rhythm struct {
	every time.Duration
	known hush
}

// sameRhythm returns what is known of a beacon of the same program on the same port
// with the same interval, to another address: a service with several is one finding.
// It returns nil if there is none that goes on.
func (b *beacons) sameRhythm(key uint64, every time.Duration, at time.Time) *hush {
	of := b.rhythms.find(key)
	if of == nil {
		return nil
	}
	for i := range of.all {
		one := &of.all[i]
		if (one.every-every).Abs() <= every/10 && one.known.quiet(b.report.cfg, at, missedBeats*every) {
			b.report.suppressed++
			return &one.known
		}
	}
	return nil
}

func (b *beacons) remember(key uint64, every time.Duration, known hush) {
	of, isNew := b.rhythms.get(key)
	if isNew {
		*of = rhythms{}
	}
	of.all[of.n%len(of.all)] = rhythm{every, known}
	of.n++
}

// intervals scores the times between beats, and their sizes.
func (b *beacons) intervals(p *pair, n int) (intervals, alike, sizes float64) {
	b.gaps(p, n)
	intervals, alike = regularity(b.values[:n-1], b.scratch[:])
	for i := range n {
		b.values[i] = p.beats[i].size
	}
	sizes, _ = regularity(b.values[:n], b.scratch[:])
	return intervals, alike, sizes
}

// median is the median of the times between beats, in ms.
func (b *beacons) median(p *pair, n int) float64 {
	b.gaps(p, n)
	slices.Sort(b.values[:n-1])
	return middle(b.values[:n-1])
}

// gaps puts the times between beats into values.
func (b *beacons) gaps(p *pair, n int) {
	for i := 1; i < n; i++ {
		later := p.beats[(p.n-uint32(i))%maxBeats].at
		earlier := p.beats[(p.n-uint32(i)-1)%maxBeats].at
		b.values[i-1] = later - earlier
	}
}

// day scores how even the beats are over the hours since the first of them, and how
// much these are of what was observed, of the last 24 hours: most of it is enough. (In
// RITA, 12 hours of 24 are.)
func (b *beacons) day(p *pair) (histogram, duration float64) {
	const ms = int64(time.Hour / time.Millisecond)
	end := p.last
	start := max(b.began.UnixMilli(), end-observed.Milliseconds())
	first := max(p.first, start)
	var rates [hours + 1]float64
	n := 0
	for hour := first / ms; hour <= end/ms && n < len(rates); hour++ {
		// The first and the last hour are not whole: one that hardly began says nothing.
		share := float64(min(end, (hour+1)*ms)-max(first, hour*ms)) / float64(ms)
		if share < 0.25 && first/ms != end/ms {
			continue
		}
		count := 0.0
		if slot := hour % hours; int64(p.hourOf[slot]) == hour {
			count = float64(p.hourly[slot])
		}
		rates[n] = count / max(share, 1e-9)
		n++
	}
	if n > 0 {
		histogram = evenness(rates[:n])
	}
	if end > start {
		duration = min(1, float64(end-first)/(enough*float64(end-start)))
	}
	return histogram, duration
}

func round(v float64) float64 { return math.Round(v*1000) / 1000 }
