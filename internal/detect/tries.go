// SPDX-License-Identifier: Apache-2.0

package detect

import "time"

// maxTried bounds how many different hosts or ports are remembered of one scan.
const maxTried = 128

// tries are the different things that someone has tried, each with when that was
// last. It has room for as many as make a scan.
type tries struct {
	tried []try
	first time.Time
	examples
	// reached are the hosts that were tried with success.
	reached few
}

type try struct {
	what uint32
	at   int32 // seconds since tries.first
}

// reset makes tries new, and keeps their memory.
func (t *tries) reset(at time.Time, room int) {
	kept := t.tried[:0]
	if cap(kept) < room {
		kept = make([]try, 0, room)
	}
	*t = tries{tried: kept, first: at}
}

// add notes that something was tried. When there is no room, it takes the place of
// what was tried the longest ago.
func (t *tries) add(what uint32, at time.Time) {
	now := int32(at.Unix() - t.first.Unix())
	oldest := 0
	for i := range t.tried {
		if t.tried[i].what == what {
			t.tried[i].at = max(t.tried[i].at, now)
			return
		}
		if t.tried[i].at < t.tried[oldest].at {
			oldest = i
		}
	}
	if len(t.tried) < cap(t.tried) {
		t.tried = append(t.tried, try{what, now})
		return
	}
	t.tried[oldest] = try{what, now}
}

// within counts what was tried in a time that ends at a moment, and returns when the
// first of these was.
func (t *tries) within(window time.Duration, at time.Time) (n int, first time.Time) {
	now := int32(at.Unix() - t.first.Unix())
	least := now - int32(window/time.Second)
	earliest := now
	for i := range t.tried {
		if t.tried[i].at >= least {
			n++
			earliest = min(earliest, t.tried[i].at)
		}
	}
	return n, t.first.Add(time.Duration(earliest) * time.Second)
}
