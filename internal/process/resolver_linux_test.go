// SPDX-License-Identifier: Apache-2.0

package process

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestWhenItWalks(t *testing.T) {
	proc := newFakeProc(t)
	proc.process(300, 250, 42)
	r := proc.resolver(10 * time.Second)
	resolve := func(after time.Duration, claims ...Claim) bool {
		t.Helper()
		stats, err := r.Resolve(t.Context(), late.Add(after), nil, claims)
		require.NoError(t, err)
		return stats.Walked
	}
	found, lost, unborn, next := question{inode: 42}, question{inode: 43}, question{inode: 0}, question{inode: 44}

	assert.False(t, resolve(0), "nothing to look for")
	assert.False(t, resolve(0, unborn.claim()), "nobody can hold inode 0")
	assert.Equal(t, ReasonNoOwner, unborn.reason)

	assert.True(t, resolve(0, found.claim(), lost.claim()))
	assert.Empty(t, found.reason)
	assert.Equal(t, ReasonNoOwner, lost.reason)

	assert.False(t, resolve(9*time.Second, lost.claim(), next.claim()), "not due")
	assert.Equal(t, ReasonNoOwner, lost.reason)
	assert.Equal(t, ReasonPending, next.reason)

	assert.False(t, resolve(10*time.Second, lost.claim()), "no reason for another walk")
	assert.Equal(t, ReasonNoOwner, lost.reason)

	proc.socket(300, 9, 43)
	assert.True(t, resolve(10*time.Second, lost.claim(), next.claim()))
	assert.Equal(t, ReasonNoOwner, next.reason)
	assert.Empty(t, lost.reason, "looked for again on the way")

	unborn.inode = 45
	assert.False(t, resolve(15*time.Second, unborn.claim()))
	assert.Equal(t, ReasonPending, unborn.reason, "accepted: no walk has looked for it yet")
	assert.True(t, resolve(-time.Hour, unborn.claim()), "the clock was set back")
}

func TestContext(t *testing.T) {
	proc := newFakeProc(t)
	proc.process(300, 250, 42)
	r := proc.resolver(0)
	first, claims := ask(42)
	_, err := r.Resolve(t.Context(), late, nil, claims)
	require.NoError(t, err)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	q, claims := ask(43)
	_, err = r.Resolve(ctx, late, nil, claims)
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, ReasonPending, q[0].reason)
	_, err = r.Resolve(ctx, late, []Owner{first[0].owner}, claims)
	require.ErrorIs(t, err, context.Canceled)
	_, err = r.Stale(ctx, late)
	require.ErrorIs(t, err, context.Canceled)
}

func TestOpenAndClose(t *testing.T) {
	_, err := NewResolver(Options{Proc: filepath.Join(t.TempDir(), "none")})
	require.ErrorIs(t, err, os.ErrNotExist)
	empty := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(empty, "stat"), []byte("cpu 1\n"), 0o644))
	_, err = NewResolver(Options{Proc: empty})
	require.ErrorIs(t, err, errBootTime)

	r, err := NewResolver(Options{})
	require.NoError(t, err)
	require.NoError(t, r.Close())
	require.NoError(t, r.Close())
	_, err = r.Resolve(t.Context(), late, nil, nil)
	require.ErrorIs(t, err, os.ErrClosed)
	_, err = r.Stale(t.Context(), late)
	require.ErrorIs(t, err, os.ErrClosed)

	boot, err := BootTime()
	require.NoError(t, err)
	assert.WithinRange(t, boot, time.Unix(1, 0), time.Now())
}

func TestLackOfDescriptors(t *testing.T) {
	proc := newFakeProc(t)
	proc.process(300, 250, 42)
	proc.user(300, 0)
	r := proc.resolver(0)
	lowest, err := unix.Dup(r.host.root)
	require.NoError(t, err)
	require.NoError(t, unix.Close(lowest))
	var limit unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(lowest), Max: limit.Max}))
	q, claims := ask(42, 43)
	found, errFound := r.Resolve(t.Context(), late, nil, claims)
	for r.host.release() { // somebody else takes them
	}
	taken := [spares]int{}
	for i := range taken {
		if taken[i], err = unix.Dup(r.host.root); err != nil {
			break
		}
	}
	lost, claims := ask(44)
	stats, errResolve := r.Resolve(t.Context(), late, nil, claims)
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit))
	for _, fd := range taken {
		assert.NoError(t, unix.Close(fd))
	}
	require.NoError(t, err)

	require.NoError(t, errFound, "some were kept for it")
	assert.True(t, found.Complete)
	require.NotNil(t, q[0].owner.Process)
	assert.Equal(t, int32(300), q[0].owner.Process.PID)
	assert.Equal(t, "root", q[0].owner.Process.Owner, "for the passwd file, too")
	assert.Equal(t, ReasonNoOwner, q[1].reason)

	require.ErrorIs(t, errResolve, ErrCutShort)
	require.ErrorIs(t, errResolve, unix.EMFILE)
	assert.ErrorContains(t, errResolve, "LimitNOFILE=")
	assert.True(t, stats.Walked)
	assert.False(t, stats.Complete)
	assert.Equal(t, ReasonPending, lost[0].reason)
	stats, err = r.Resolve(t.Context(), late, nil, claims)
	require.NoError(t, err)
	assert.True(t, stats.Complete)
	assert.Equal(t, ReasonNoOwner, lost[0].reason)
}
