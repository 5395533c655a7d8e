// SPDX-License-Identifier: Apache-2.0

package record

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// Reason is why a record is not written.
type Reason uint8

// The reasons.
const (
	Limited  Reason = iota // beyond the limit of records a second
	Overflow               // the queue was full
	Refused                // the pipeline did not take it

	// NumReasons is the number of reasons.
	NumReasons
)

const (
	// BatchSize is how many records a batch has at most.
	BatchSize = 500
	// batchDelay is how long a record waits for a batch to fill.
	batchDelay = 200 * time.Millisecond
	// maxQueued is how many records wait at most, 25 MB of them: three seconds of the
	// most connections that a host was seen to close.
	maxQueued = 65536
	// maxSpare is how many records are kept room for after a burst.
	maxSpare = 2048
)

// Queue holds records until they are taken in batches. Records are added under the
// engine's lock, and adding never waits for whoever takes them.
type Queue struct {
	size    int                        // records at most
	now     func() time.Time           // of the timer
	dropped func(reason Reason, n int) // counts what is dropped

	mu     sync.Mutex
	bucket bucket
	// ready are records that may go, from head on; since is from when on the first
	// of them has waited.
	ready []Record
	head  int
	since time.Time
	// contest are records that came while the bucket was empty; the best of them get
	// what has come into the bucket by the time until.
	contest []Record
	until   time.Time
	untold  uint64 // dropped since the last batch
	closed  bool

	wake chan struct{} // there is something to do, or to wait for
}

// NewQueue returns a queue that passes so many records a second; 0: all of them.
// dropped is called, with a lock held, for what is not passed.
func NewQueue(limit int, dropped func(reason Reason, n int)) *Queue {
	return &Queue{
		size: maxQueued, now: time.Now, dropped: dropped,
		bucket: bucket{rate: float64(limit), tokens: float64(limit)}, wake: make(chan struct{}, 1),
	}
}

// Add adds a record, which it copies. After Close it does nothing.
func (q *Queue) Add(r *Record) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	if len(q.contest) > 0 && !r.Observed.Before(q.until) {
		q.decide(r.Observed)
	}
	switch {
	case q.len() >= q.size:
		q.drop(Overflow, 1)
	case len(q.contest) == 0 && q.bucket.take(r.Observed):
		q.pass(r, r.Observed)
	default:
		if len(q.contest) == 0 {
			q.until = r.Observed.Add(contestTime)
			q.signal()
		}
		q.contest = append(q.contest, *r)
	}
}

// contestTime is how long records contest for what comes into the bucket: as the
// limit is one of a second, the best of each second pass.
const contestTime = time.Second

func (q *Queue) len() int { return len(q.ready) - q.head + len(q.contest) }

// pass makes a record ready.
func (q *Queue) pass(r *Record, now time.Time) {
	q.ready = append(q.ready, *r)
	switch len(q.ready) - q.head {
	case 1:
		q.since = now
		q.signal()
	case BatchSize:
		q.signal()
	}
}

// signal wakes whoever waits in Next.
func (q *Queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *Queue) drop(reason Reason, n int) {
	q.untold += uint64(n)
	q.dropped(reason, n)
}

// contender is a record in the contest.
type contender struct {
	place    int
	abnormal bool
	bytes    uint64
}

// decide ends the contest: what failed or was cut off goes first, then what moved
// most bytes.
func (q *Queue) decide(now time.Time) {
	n := min(q.bucket.takeAll(now, len(q.contest)), len(q.contest))
	if n < len(q.contest) {
		all := make([]contender, len(q.contest))
		for i := range q.contest {
			r := &q.contest[i]
			all[i] = contender{i, r.Abnormal(), r.BytesSent + r.BytesReceived}
		}
		slices.SortFunc(all, func(a, b contender) int {
			if a.abnormal != b.abnormal {
				if a.abnormal {
					return -1
				}
				return 1
			}
			return cmp.Or(cmp.Compare(b.bytes, a.bytes), cmp.Compare(a.place, b.place))
		})
		best := all[:n]
		slices.SortFunc(best, func(a, b contender) int { return cmp.Compare(a.place, b.place) })
		for _, c := range best {
			q.pass(&q.contest[c.place], now)
		}
		q.drop(Limited, len(q.contest)-n)
	} else {
		for i := range q.contest {
			q.pass(&q.contest[i], now)
		}
	}
	clear(q.contest)
	if q.contest = q.contest[:0]; cap(q.contest) > maxSpare {
		q.contest = nil
	}
}

// Next waits for a batch, which it puts into room, and returns it with how many
// records were dropped since the last one. It waits until the batch is full or has
// waited long enough. Once stop is closed it waits no more, and returns an empty
// batch when nothing is left.
func (q *Queue) Next(stop <-chan struct{}, room []Record) (batch []Record, dropped uint64) {
	for {
		stopped := false
		select {
		case <-stop:
			stopped = true
		default:
		}
		batch, dropped, wait := q.take(stopped, room)
		if len(batch) > 0 || stopped {
			return batch, dropped
		}
		q.await(stop, wait)
	}
}

// await waits for something to do, or until something that waits is due.
func (q *Queue) await(stop <-chan struct{}, wait time.Duration) {
	var due <-chan time.Time
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-stop:
	case <-q.wake:
	case <-due:
	}
}

// take takes a batch, if one is due. Else it returns how long to wait for it; 0 if
// nothing is there.
func (q *Queue) take(all bool, room []Record) (batch []Record, dropped uint64, wait time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.now()
	if len(q.contest) > 0 && (all || !now.Before(q.until)) {
		q.decide(now)
	}
	n := len(q.ready) - q.head
	if n < BatchSize && !all && now.Sub(q.since) < batchDelay || n == 0 {
		if n > 0 {
			wait = batchDelay - now.Sub(q.since)
		}
		if left := q.until.Sub(now); len(q.contest) > 0 && (wait == 0 || left < wait) {
			wait = left
		}
		return nil, 0, wait
	}
	taken := q.ready[q.head:min(q.head+BatchSize, len(q.ready))]
	batch = append(room[:0], taken...)
	clear(taken)
	q.head += len(taken)
	q.since = now
	switch {
	case q.head == len(q.ready):
		q.head = 0
		if q.ready = q.ready[:0]; cap(q.ready) > maxSpare {
			q.ready = nil
		}
	case q.head > len(q.ready)/2:
		left := copy(q.ready, q.ready[q.head:])
		clear(q.ready[left:])
		q.ready, q.head = q.ready[:left], 0
	}
	dropped, q.untold = q.untold, 0
	return batch, dropped, 0
}

// Refuse counts a batch that was taken and not written, which was told that so
// many were dropped before it: the next one is told.
func (q *Queue) Refuse(records int, dropped uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.untold += dropped
	q.drop(Refused, records)
}

// Close refuses records from now on. What is there can still be taken.
func (q *Queue) Close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
}

// bucket is a token bucket that holds one second's tokens.
type bucket struct {
	rate   float64 // tokens a second; 0: no limit
	tokens float64
	last   time.Time
}

// take takes a token if there is one.
func (b *bucket) take(now time.Time) bool {
	return b.rate == 0 || b.takeAll(now, 1) == 1
}

// takeAll takes up to n tokens.
func (b *bucket) takeAll(now time.Time, n int) int {
	if b.rate == 0 {
		return n
	}
	// A clock that was set back adds nothing.
	if !b.last.IsZero() && now.After(b.last) {
		b.tokens = min(b.rate, b.tokens+b.rate*now.Sub(b.last).Seconds())
	}
	b.last = now
	n = min(n, int(b.tokens))
	b.tokens -= float64(n)
	return n
}
