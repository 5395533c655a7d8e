// SPDX-License-Identifier: Apache-2.0

package process

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// listed are holders that were written down.
type listed struct {
	held   []held
	err    error
	closed bool
}

type held struct {
	pid, fd int32
	inode   uint64
}

func (l *listed) Each(_ context.Context, visit func(pid, fd int32, inode uint64) error) error {
	for _, h := range l.held {
		if err := visit(h.pid, h.fd, h.inode); err != nil {
			return err
		}
	}
	return l.err
}

func (l *listed) Close() error { l.closed = true; return nil }

func TestListedHolders(t *testing.T) {
	proc := newFakeProc(t)
	proc.process(20, 500)
	proc.process(30, 400)
	l := &listed{held: []held{
		{20, 9, 42}, {20, 10, 43},
		{25, 3, 44}, {25, 4, 44}, // has ended since
		{30, 7, 42}, {30, 5, 42},
		{30, 8, 99}, // nobody asks for it
	}}
	r, err := NewResolver(Options{Proc: proc.dir, Holders: l})
	require.NoError(t, err)
	q, claims := ask(42, 43, 44, 45)
	stats, err := r.Resolve(t.Context(), late, nil, claims)
	require.NoError(t, err)
	assert.Equal(t, int32(30), q[0].owner.Process.PID, "the oldest")
	assert.Equal(t, int32(5), q[0].owner.FD, "its lowest")
	assert.Equal(t, Owner{Process: q[1].owner.Process, FD: 10}, q[1].owner)
	assert.Equal(t, ReasonNoOwner, q[2].reason)
	assert.Equal(t, ReasonNoOwner, q[3].reason)
	assert.True(t, stats.Walked)
	assert.Equal(t, 3, stats.Processes)
	assert.Equal(t, 7, stats.Descriptors)
	assert.False(t, stats.Hidden)

	proc.remove("1")
	_, claims = ask(46)
	stats, err = r.Resolve(t.Context(), late, nil, claims)
	require.NoError(t, err)
	assert.True(t, stats.Hidden)
	require.NoError(t, r.Close())
	assert.True(t, l.closed)
}

func TestListingIsCutShort(t *testing.T) {
	proc := newFakeProc(t)
	proc.process(20, 500)
	proc.process(30, 400)
	r := open(t, Options{Proc: proc.dir, Holders: &listed{held: []held{{20, 9, 42}, {30, 5, 43}}}})
	q, claims := ask(42, 43)
	looks := 2
	stats, err := r.Resolve(rationed{t.Context(), &looks}, late, nil, claims)
	require.ErrorIs(t, err, ErrCutShort)
	assert.False(t, stats.Complete)
	assert.Equal(t, int32(20), q[0].owner.Process.PID)
	assert.Equal(t, ReasonPending, q[1].reason)
	stats, err = r.Resolve(t.Context(), late, nil, claims[1:])
	require.NoError(t, err)
	assert.True(t, stats.Complete)
	assert.Equal(t, int32(30), q[1].owner.Process.PID)
}

// What cannot be listed is walked for.
func TestHoldersThatFail(t *testing.T) {
	proc := newFakeProc(t)
	proc.process(20, 500, 42)
	l := &listed{err: errors.New("no more")}
	r := open(t, Options{Proc: proc.dir, Holders: l})
	q, claims := ask(42)
	_, err := r.Resolve(t.Context(), late, nil, claims)
	assert.ErrorContains(t, err, "list holders of sockets: no more")
	assert.Equal(t, int32(20), q[0].owner.Process.PID)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l.err = context.Canceled
	_, claims = ask(43)
	_, err = r.Resolve(ctx, late, nil, claims)
	assert.ErrorIs(t, err, context.Canceled)

	_, err = NewResolver(Options{Proc: t.TempDir(), Holders: l})
	require.Error(t, err)
	assert.True(t, l.closed, "nobody else has it")
}
