// SPDX-License-Identifier: Apache-2.0

package process

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestStale(t *testing.T) {
	proc := newFakeProc(t)
	for pid := int32(300); pid < 306; pid++ {
		proc.process(pid, 250, uint64(pid))
	}
	r := proc.resolver(10 * time.Second)
	q, claims := ask(300, 301, 302, 303, 304, 305)
	_, err := r.Resolve(t.Context(), late, nil, claims)
	require.NoError(t, err)
	at := func(after time.Duration) map[*Process]bool {
		t.Helper()
		stale, err := r.Stale(t.Context(), late.Add(after))
		require.NoError(t, err)
		return stale
	}
	assert.Empty(t, at(0))

	proc.remove("301")
	proc.process(302, 9000, 302)    // another of that number
	proc.program(303, 250, "other") // exec
	proc.user(304, 33)              // needs a full read: not seen
	proc.write("305/stat", "305 (p) Z 1 1 1 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 250 0 0 0 0 0 0 0\n")
	assert.Empty(t, at(9*time.Second), "not due")
	want := map[*Process]bool{}
	for _, i := range []int{1, 2, 3, 5} {
		want[q[i].owner.Process] = true
	}
	assert.Equal(t, want, at(10*time.Second))
	assert.Empty(t, at(20*time.Second), "said once")

	now, claims := ask(303)
	_, err = r.Resolve(t.Context(), late.Add(time.Minute), []Owner{q[3].owner}, claims)
	require.NoError(t, err)
	assert.Equal(t, "other", now[0].owner.Process.Executable)
	assert.Equal(t, "p303", q[3].owner.Process.Executable, "what was handed out does not change")
	assert.Equal(t, q[3].owner.Process.Created, now[0].owner.Process.Created)
	assert.NotContains(t, r.known, int32(301), "forgotten")
	assert.NotContains(t, r.known, int32(305), "forgotten")
}

func TestStaleKeepsWhatOnlyRenamedItself(t *testing.T) {
	proc := newFakeProc(t)
	proc.process(300, 250, 42)
	r := proc.resolver(0)
	q, claims := ask(42)
	_, err := r.Resolve(t.Context(), late, nil, claims)
	require.NoError(t, err)
	proc.program(300, 250, "renamed")
	proc.link("300/exe", "/usr/bin/p300")
	proc.write("300/cmdline", "p300\x00")
	stale, err := r.Stale(t.Context(), late)
	require.NoError(t, err)
	assert.Empty(t, stale)
	_, claims = ask(42)
	_, err = r.Resolve(t.Context(), late, nil, claims)
	require.NoError(t, err)
	assert.Same(t, q[0].owner.Process, claims[0].Owner.Process)
}

func TestYoungProcessIsReadAgain(t *testing.T) {
	proc := newFakeProc(t)
	proc.process(300, 1000, 42) // 10 s after boot
	proc.user(300, 0)
	r := proc.resolver(10 * time.Second)
	q, claims := ask(42)
	_, err := r.Resolve(t.Context(), fakeBoot.Add(12*time.Second), nil, claims)
	require.NoError(t, err)
	assert.Equal(t, "root", q[0].owner.Process.Owner)

	proc.user(300, 4_000_000_001) // it has bound its port and drops its privileges
	stale, err := r.Stale(t.Context(), fakeBoot.Add(22*time.Second))
	require.NoError(t, err)
	assert.Equal(t, map[*Process]bool{q[0].owner.Process: true}, stale)
	assert.Equal(t, "4000000001", r.known[300].process.Owner)

	proc.user(300, 0)
	stale, err = r.Stale(t.Context(), fakeBoot.Add(33*time.Second))
	require.NoError(t, err)
	assert.Empty(t, stale, "settled: one stat is all that is read")
}
