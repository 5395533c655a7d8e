// SPDX-License-Identifier: Apache-2.0

//go:build linux || freebsd

package e2e

import (
	"fmt"
	"os/user"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// ofProcess compares a resource with the process.
func ofProcess(t *testing.T, what string, p *Process, resource map[string]any) {
	t.Helper()
	assert.EqualValues(t, p.PID, resource["process.pid"], what)
	assert.Equal(t, p.Executable, resource["process.executable.name"], what)
	assert.Equal(t, p.Path, resource["process.command"], what)
	assert.Equal(t, parentPID(), fmt.Sprint(resource["process.parent_pid"]), what)
	assert.Equal(t, p.owner(t), resource["process.owner"], what)
	if cgroup := p.cgroup(t); cgroup != "" {
		assert.Equal(t, cgroup, resource["process.linux.cgroup"], what)
	}
	created, err := time.Parse(time.RFC3339Nano, fmt.Sprint(resource["process.creation.time"]))
	assert.NoError(t, err, what)
	// The kernel tells the boot time, which this counts from, in whole seconds.
	assert.WithinDuration(t, p.Started, created, 2*time.Second, what)
}

// owner is the name of the process's user.
func (p *Process) owner(t *testing.T) string {
	t.Helper()
	uid := strconv.Itoa(p.UID)
	if u, err := user.LookupId(uid); err == nil {
		return u.Username
	}
	return uid
}
