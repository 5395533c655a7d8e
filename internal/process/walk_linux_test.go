// SPDX-License-Identifier: Apache-2.0

package process

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestOldestHolderInAnyOrder(t *testing.T) {
	for _, pids := range [][]int32{{20, 30, 40}, {40, 30, 20}, {30, 20, 40}} {
		proc := newFakeProc(t)
		starts := map[int32]int{20: 500, 30: 400, 40: 400} // 30 and 40 are older: the pids have wrapped
		for _, pid := range pids {
			proc.process(pid, starts[pid], 42, uint64(pid), 42)
		}
		q, claims := ask(42, 20, 30, 40)
		_, err := proc.resolver(0).Resolve(t.Context(), late, nil, claims)
		require.NoError(t, err)
		assert.Equal(t, int32(30), q[0].owner.Process.PID, "%v", pids)
		assert.Equal(t, int32(3), q[0].owner.FD, "%v", pids)
		for _, q := range q[1:] {
			assert.Equal(t, int32(q.inode), q.owner.Process.PID)
			assert.Equal(t, int32(4), q.owner.FD)
		}
		assert.Same(t, q[0].owner.Process, q[2].owner.Process)
	}
}

func TestWalkPassesOverTheYounger(t *testing.T) {
	proc := newFakeProc(t)
	for pid := range int32(6) {
		proc.process(10+pid, 100)
	}
	// The file system lists in an order of its own: give the ages by it.
	pids := proc.listed(t)
	for i, pid := range pids {
		proc.program(pid, 100+i, "p")
	}
	proc.socket(pids[2], 3, 42)
	proc.socket(pids[5], 3, 42)
	proc.program(pids[4], 50, "p") // older than the holder, so it has to be read

	q, claims := ask(42)
	stats, err := proc.resolver(0).Resolve(t.Context(), late, nil, claims)
	require.NoError(t, err)
	assert.Equal(t, pids[2], q[0].owner.Process.PID)
	assert.Equal(t, 4, stats.Processes, "the first three and the old one")
}

func TestProbe(t *testing.T) {
	proc := newFakeProc(t)
	proc.process(300, 250, 42, 43, 44)
	proc.process(400, 260, 45)
	r := proc.resolver(0)
	q, claims := ask(42, 43, 44, 45)
	_, err := r.Resolve(t.Context(), late, nil, claims)
	require.NoError(t, err)

	// 42 and 43 vanish, 50 takes one of their places; so does 45's process.
	proc.socket(300, 3, 50)
	proc.remove("300/fd/4")
	proc.remove("400")
	now, claims := ask(50)
	stats, err := r.Resolve(t.Context(), late, []Owner{q[3].owner, q[1].owner, {}, q[0].owner}, claims)
	require.NoError(t, err)
	assert.False(t, stats.Walked)
	assert.Equal(t, 1, stats.ProbeHits)
	assert.Equal(t, 1, stats.Probed, "the lowest descriptor first, and no more than it takes")
	assert.Equal(t, Owner{Process: q[0].owner.Process, FD: 3}, now[0].owner)
	assert.Same(t, q[2].owner.Process, now[0].owner.Process)

	_, claims = ask(51)
	stats, err = r.Resolve(t.Context(), late, []Owner{q[3].owner, q[1].owner, q[0].owner}, claims)
	require.NoError(t, err)
	assert.True(t, stats.Walked)
	assert.Equal(t, 2, stats.Probed, "an ended process is found so once")
	assert.Zero(t, stats.ProbeHits)
}

func TestProbeFindsAnotherProcessOfThatNumber(t *testing.T) {
	proc := newFakeProc(t)
	proc.process(300, 250, 42)
	r := proc.resolver(0)
	q, claims := ask(42)
	_, err := r.Resolve(t.Context(), late, nil, claims)
	require.NoError(t, err)

	proc.process(300, 900, 50)
	now, claims := ask(50)
	stats, err := r.Resolve(t.Context(), late, []Owner{q[0].owner}, claims)
	require.NoError(t, err)
	assert.Equal(t, 1, stats.ProbeHits)
	assert.NotSame(t, q[0].owner.Process, now[0].owner.Process)
	assert.Equal(t, fakeBoot.Add(9*time.Second), now[0].owner.Process.Created)
	stale, err := r.Stale(t.Context(), late)
	require.NoError(t, err)
	assert.Equal(t, map[*Process]bool{q[0].owner.Process: true}, stale, "what Resolve came across is told, too")
}

func TestHiddenProcesses(t *testing.T) {
	proc := newFakeProc(t)
	proc.process(300, 250, 42)
	proc.remove("1")
	q, claims := ask(42, 43)
	stats, err := proc.resolver(0).Resolve(t.Context(), late, nil, claims)
	require.NoError(t, err)
	assert.True(t, stats.Hidden)
	assert.Contains(t, stats.Why(), "hidden")
	assert.Empty(t, q[0].reason)
	assert.Equal(t, ReasonNoPermission, q[1].reason)
}

func TestErrorsKeepWhatWasFound(t *testing.T) {
	for name, spoil := range map[string]func(fakeProc){
		"a descriptor that is no link":  func(f fakeProc) { f.write("400/fd/7", "") },
		"descriptors in no directory":   func(f fakeProc) { f.remove("400/fd"); f.write("400/fd", "") },
		"an owner whose stat is broken": func(f fakeProc) { f.socket(400, 3, 43); f.write("400/stat", "400 (x") },
		"an owner whose uid is broken":  func(f fakeProc) { f.socket(400, 3, 43); f.write("400/status", "Uid:\n") },
		"an owner whose cgroup is none": func(f fakeProc) {
			f.socket(400, 3, 43)
			f.remove("400/cgroup")
			require.NoError(f, os.Mkdir(filepath.Join(f.dir, "400/cgroup"), 0o755))
		},
	} {
		t.Run(name, func(t *testing.T) {
			proc := newFakeProc(t)
			proc.process(300, 250, 42)
			proc.process(400, 260)
			r := proc.resolver(0)
			q, claims := ask(42)
			_, err := r.Resolve(t.Context(), late, nil, claims)
			require.NoError(t, err)

			spoil(proc)
			proc.socket(300, 3, 50)
			now, claims := ask(50, 43)
			stats, err := r.Resolve(t.Context(), late, []Owner{q[0].owner}, claims)
			require.Error(t, err)
			assert.Contains(t, err.Error(), filepath.Join(proc.dir, "400"))
			assert.True(t, stats.Walked)
			assert.Equal(t, int32(300), now[0].owner.Process.PID)
			assert.Equal(t, ReasonPending, now[1].reason, "a walk cut short proves nothing")
		})
	}
}

func TestProcessThatEndsDuringTheWalk(t *testing.T) {
	for _, missing := range []string{"fd", "stat", "status"} {
		proc := newFakeProc(t)
		proc.process(300, 250, 42)
		proc.remove("300/" + missing)
		q, claims := ask(42)
		_, err := proc.resolver(0).Resolve(t.Context(), late, nil, claims)
		require.NoError(t, err, missing)
		assert.Equal(t, ReasonNoOwner, q[0].reason, missing)
	}
}
