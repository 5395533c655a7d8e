// SPDX-License-Identifier: Apache-2.0

package process

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDescribe(t *testing.T) {
	proc := newFakeProc(t)
	proc.process(300, 250, 42)
	proc.user(300, 0)
	proc.link("300/exe", "/usr/sbin/ngínx (deleted)")
	proc.write("300/cgroup", string(fixture(t, "cgroup_v1_docker")))
	q, claims := ask(42)
	stats, err := proc.resolver(0).Resolve(t.Context(), late, nil, claims)
	require.NoError(t, err)
	assert.True(t, stats.Walked)
	assert.False(t, stats.Hidden)
	assert.Equal(t, int32(3), q[0].owner.FD)
	assert.Equal(t, &Process{
		PID: 300, ParentPID: 1, Executable: "ngínx", Command: "p300", Owner: "root",
		Created: fakeBoot.Add(2500 * time.Millisecond), Cgroup: "/system.slice/containerd.service", ContainerID: containerA,
	}, q[0].owner.Process)
}

func TestDescribeWithWhatThereIs(t *testing.T) {
	proc := newFakeProc(t)
	proc.process(300, 250, 42)
	for _, name := range []string{"exe", "cmdline", "cgroup"} {
		proc.remove("300/" + name)
	}
	q, claims := ask(42)
	_, err := proc.resolver(0).Resolve(t.Context(), late, nil, claims)
	require.NoError(t, err)
	assert.Equal(t, &Process{
		PID: 300, ParentPID: 1, Executable: "p300", Owner: "4000000000", Created: fakeBoot.Add(2500 * time.Millisecond),
	}, q[0].owner.Process, "comm for the file, the number for the name")
}
