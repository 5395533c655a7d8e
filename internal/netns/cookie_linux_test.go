// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestCookie(t *testing.T) {
	own, err := OwnCookie()
	require.NoError(t, err)
	if own == 0 {
		t.Skip("before Linux 5.14 namespaces have no cookies")
	}
	again, err := OwnCookie()
	require.NoError(t, err)
	assert.Equal(t, own, again)

	// One namespace after the other, of which some have the inode of one before.
	inodes := make(map[uint64]int)
	cookies := map[uint64]bool{own: true}
	for i := range 8 {
		pid, id := elsewhere(t)
		ns, err := Open("/proc", pid, id)
		require.NoError(t, err)
		cookie, err := ns.Cookie()
		require.NoError(t, err)
		same, err := ns.Cookie()
		require.NoError(t, err)
		assert.Equal(t, cookie, same)
		assert.False(t, cookies[cookie], "namespace %d has the cookie of another", i)
		cookies[cookie] = true
		inodes[id]++
		require.NoError(t, ns.Close())
		require.NoError(t, unix.Kill(int(pid), unix.SIGKILL))
	}
	t.Logf("%d namespaces had %d inodes", len(cookies)-1, len(inodes))
	require.ErrorContains(t, closedCookie(), "enter network namespace 7")
}

// closedCookie is the error of a namespace that is not open.
func closedCookie() error {
	_, err := (&Namespace{id: 7, fd: -1, home: -1}).Cookie()
	return err
}

func TestWithoutSysAdmin(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var had [2]unix.CapUserData
	require.NoError(t, unix.Capget(&header, &had[0]))
	less := had
	less[0].Effective &^= 1 << unix.CAP_SYS_ADMIN
	require.NoError(t, unix.Capset(&header, &less[0]))
	err := Supported()
	require.NoError(t, unix.Capset(&header, &had[0]))
	assert.ErrorIs(t, err, unix.EPERM)
	assert.ErrorContains(t, err, "CAP_SYS_ADMIN is missing")
	assert.ErrorContains(t, err, "CAP_SYS_PTRACE")
}
