// SPDX-License-Identifier: Apache-2.0

package process

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// rationed is a context that is over after so many looks at it.
type rationed struct {
	context.Context
	looks *int
}

func (r rationed) Err() error {
	if *r.looks <= 0 {
		return context.DeadlineExceeded
	}
	*r.looks--
	return nil
}

func TestWalkGoesOnWhereItWasCutShort(t *testing.T) {
	proc := newFakeProc(t)
	const processes = 40
	for pid := range int32(processes) {
		proc.process(100+pid, 200, uint64(1000+pid))
	}
	r := proc.resolver(time.Hour)
	var inodes []uint64
	for i := range uint64(processes) {
		inodes = append(inodes, 1000+i)
	}
	q, claims := ask(append(inodes, 7)...)
	nowhere := q[processes]
	// What the first walk passes has a socket that is asked for later.
	passed := proc.listed(t)[0]
	proc.socket(passed, 9, 8)
	later := &question{inode: 8}

	calls := 0
	for ; nowhere.reason == ReasonNone || nowhere.reason == ReasonPending; calls++ {
		require.Less(t, calls, 20, "no progress")
		if calls == 2 {
			claims = append(claims, later.claim())
		}
		looks := 10
		stats, err := r.Resolve(rationed{t.Context(), &looks}, late, nil, claims)
		assert.True(t, stats.Walked, "the interval does not hold back what is left of a walk")
		if stats.Complete {
			require.NoError(t, err)
			break
		}
		require.ErrorIs(t, err, ErrCutShort)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		left := claims[:0:0]
		for _, c := range claims {
			if c.Owner.Process == nil {
				left = append(left, c)
			}
		}
		claims = left
	}
	assert.Greater(t, calls, 3)
	for _, q := range q[:processes] {
		require.NotNil(t, q.owner.Process, q.inode)
		assert.Equal(t, int32(q.inode-900), q.owner.Process.PID)
	}
	assert.Equal(t, ReasonNoOwner, nowhere.reason)
	assert.NotEqual(t, ReasonNoOwner, later.reason, "half of the processes were passed when it was asked for")

	for later.owner.Process == nil && calls < 20 {
		calls++
		looks := 10
		_, err := r.Resolve(rationed{t.Context(), &looks}, late, nil, []Claim{later.claim()})
		require.True(t, err == nil || errors.Is(err, ErrCutShort), err)
	}
	require.NotNil(t, later.owner.Process)
	assert.Equal(t, passed, later.owner.Process.PID)
}

func TestOneMoreLapForThoseThatCameLate(t *testing.T) {
	proc := newFakeProc(t)
	for pid := range int32(20) {
		proc.process(100+pid, 200)
	}
	r := proc.resolver(time.Hour)
	first, claims := ask(42)
	looks := 5
	cut, err := r.Resolve(rationed{t.Context(), &looks}, late, nil, claims)
	require.ErrorIs(t, err, ErrCutShort)
	second, more := ask(43)
	stats, err := r.Resolve(t.Context(), late, nil, append(claims, more...))
	require.NoError(t, err)
	assert.True(t, stats.Complete)
	assert.Equal(t, 21+21-cut.Processes, stats.Processes, "what was left, and all of them once more")
	assert.Equal(t, ReasonNoOwner, first[0].reason)
	assert.Equal(t, ReasonNoOwner, second[0].reason)
}

// Whoever has no time left finds something all the same; whoever is told to stop
// does not go on.
func TestWalkHasSomeTimeInAnyCase(t *testing.T) {
	proc := newFakeProc(t)
	proc.process(300, 250, 42)
	r := proc.resolver(0)
	over, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	q, claims := ask(42)
	_, err := r.Resolve(over, late, nil, claims)
	if !errors.Is(err, ErrCutShort) { // a slow machine
		require.NoError(t, err)
		require.NotNil(t, q[0].owner.Process)
		assert.Equal(t, int32(300), q[0].owner.Process.PID)
	}
	_, err = r.Stale(over, late)
	require.NoError(t, err)
	cancel()
	stopped, stop := context.WithCancel(t.Context())
	stop()
	_, claims = ask(43)
	stats, err := r.Resolve(stopped, late, nil, claims)
	require.ErrorIs(t, err, context.Canceled)
	assert.False(t, stats.Walked)
}

func TestLapsGoRound(t *testing.T) {
	assert.Equal(t, uint16(1), following(65535), "0 is none")
	assert.True(t, covers(1, 65535))
	assert.False(t, covers(65535, 1))
	assert.True(t, covers(7, 7))
}
