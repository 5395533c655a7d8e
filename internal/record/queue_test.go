// SPDX-License-Identifier: Apache-2.0

package record

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// counts is what a queue dropped, by reason.
type counts struct {
	mu sync.Mutex
	by [NumReasons]int
}

func (c *counts) add(reason Reason, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.by[reason] += n
}

// clocked is a queue whose time stands still unless it is moved.
func clocked(limit int) (*Queue, *counts, *time.Time) {
	dropped := &counts{}
	q := NewQueue(limit, dropped.add)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	q.now = func() time.Time { return now }
	return q, dropped, &now
}

// end is a record of a connection that ended in order.
func end(id uint64, at time.Time, bytes uint64) *Record {
	return &Record{Kind: End, Cause: tcp.LocalClose, ID: tcp.Identity{Cookie: id}, Observed: at, Values: Values{BytesSent: bytes}}
}

func ids(batch []Record) (all []uint64) {
	for i := range batch {
		all = append(all, batch[i].ID.Cookie)
	}
	return all
}

func TestABatchWaitsUntilItIsFullOrOld(t *testing.T) {
	q, dropped, now := clocked(0)
	batch, _, wait := q.take(false, nil)
	assert.Empty(t, batch)
	assert.Zero(t, wait, "nothing is there to wait for")

	q.Add(end(1, *now, 0))
	batch, _, wait = q.take(false, nil)
	assert.Empty(t, batch)
	assert.Equal(t, batchDelay, wait)
	*now = now.Add(batchDelay)
	batch, _, _ = q.take(false, nil)
	assert.Equal(t, []uint64{1}, ids(batch))

	for i := range uint64(BatchSize + 2) {
		q.Add(end(i, *now, 0))
	}
	batch, _, _ = q.take(false, batch)
	assert.Len(t, batch, BatchSize, "at once, since it is full")
	batch, _, wait = q.take(false, batch)
	assert.Empty(t, batch)
	assert.Equal(t, batchDelay, wait)
	batch, _, _ = q.take(true, nil)
	assert.Equal(t, []uint64{BatchSize, BatchSize + 1}, ids(batch), "all that is left, in their order")
	assert.Zero(t, dropped.by)
}

func TestTheBestOfEachSecondPass(t *testing.T) {
	q, dropped, now := clocked(3)
	for i := range uint64(3) {
		q.Add(end(1+i, *now, 0))
	}
	// The bucket is empty. The first of these is not among the best three.
	q.Add(end(4, *now, 10))
	q.Add(end(5, *now, 30))
	failed := end(6, *now, 0)
	failed.Kind = Failure
	q.Add(failed)
	q.Add(end(7, *now, 20))
	reset := end(8, *now, 1)
	reset.Cause = tcp.PeerReset
	q.Add(reset)
	batch, lost, _ := q.take(false, nil)
	assert.Empty(t, batch)
	assert.Zero(t, lost)

	*now = now.Add(contestTime)
	batch, lost, _ = q.take(false, nil)
	assert.Equal(t, []uint64{1, 2, 3, 5, 6, 8}, ids(batch), "failures and resets first, then by bytes, in their order")
	assert.EqualValues(t, 2, lost)
	assert.Equal(t, [NumReasons]int{Limited: 2}, dropped.by)

	q.Add(end(9, *now, 0))
	batch, _, _ = q.take(true, nil)
	assert.Empty(t, batch, "the three tokens of this second are spent")
	assert.Equal(t, 3, dropped.by[Limited])
}

// A pipeline that hangs is no reason for another choice: the records that come
// later end the contest.
func TestTheContestEndsWithoutATaker(t *testing.T) {
	q, dropped, now := clocked(2)
	for second := range 3 {
		for i := range uint64(5) {
			q.Add(end(uint64(second)*10+i, *now, i))
		}
		*now = now.Add(contestTime)
	}
	batch, lost, _ := q.take(true, nil)
	assert.Equal(t, []uint64{0, 1, 3, 4, 13, 14, 23, 24}, ids(batch))
	assert.EqualValues(t, 7, lost)
	assert.Equal(t, 7, dropped.by[Limited])
}

func TestAFullQueueDropsAndSays(t *testing.T) {
	q, dropped, now := clocked(0)
	q.size = 3
	for i := range uint64(5) {
		q.Add(end(i, *now, 0))
	}
	batch, lost, _ := q.take(true, nil)
	assert.Equal(t, []uint64{0, 1, 2}, ids(batch))
	assert.EqualValues(t, 2, lost)
	assert.Equal(t, [NumReasons]int{Overflow: 2}, dropped.by)

	q.Refuse(len(batch), lost)
	q.Add(end(9, *now, 0))
	_, lost, _ = q.take(true, nil)
	assert.EqualValues(t, 5, lost, "those that the refused batch was to tell of, and the batch itself")
	assert.Equal(t, [NumReasons]int{Overflow: 2, Refused: 3}, dropped.by)

	q.Close()
	q.Add(end(10, *now, 0))
	batch, _, _ = q.take(true, nil)
	assert.Empty(t, batch)
}

// Whatever becomes of them, none is lost without a count, and their order stays.
func TestEveryRecordIsTakenOrCounted(t *testing.T) {
	const n = 100_000
	for _, limit := range []int{0, 50, 20_000} {
		dropped := &counts{}
		q := NewQueue(limit, dropped.add)
		stop := make(chan struct{})
		var taken, told int
		done := make(chan struct{})
		go func() {
			defer close(done)
			var room []Record
			var last uint64
			for {
				batch, lost := q.Next(stop, room)
				if len(batch) == 0 {
					return
				}
				taken += len(batch)
				told += int(lost)
				for _, id := range ids(batch) {
					assert.Greater(t, id, last)
					last = id
				}
				room = batch
			}
		}()
		for i := range uint64(n) {
			q.Add(end(i+1, time.Now(), i))
		}
		close(stop)
		<-done
		all := 0
		for _, n := range dropped.by {
			all += n
		}
		assert.Equal(t, n, taken+all, "limit %d", limit)
		assert.LessOrEqual(t, told, all)
		if limit > 0 {
			assert.Positive(t, dropped.by[Limited])
		}
	}
}

func BenchmarkQueue(b *testing.B) {
	q := NewQueue(0, func(Reason, int) {})
	r := end(1, time.Now(), 0)
	var room []Record
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		q.Add(r)
		if n++; n%BatchSize == 0 {
			room, _, _ = q.take(true, room)
		}
	}
}
