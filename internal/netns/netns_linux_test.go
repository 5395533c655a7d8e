// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// elsewhere starts a process in a network namespace of its own and returns its
// pid and the namespace.
func elsewhere(t *testing.T) (pid int32, id uint64) {
	t.Helper()
	if err := Supported(); err != nil {
		t.Skipf("other network namespaces cannot be entered: %v", err)
	}
	cmd := exec.Command("sleep", "60")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // may have ended already
		_ = cmd.Wait()
	})
	pid = int32(cmd.Process.Pid)
	var st unix.Stat_t
	require.NoError(t, unix.Stat(fmt.Sprintf("/proc/%d/ns/net", pid), &st))
	return pid, st.Ino
}

func TestFindAndEnter(t *testing.T) {
	pid, id := elsewhere(t)
	own, err := Own()
	require.NoError(t, err)
	require.NotEqual(t, own, id)

	found, _, err := Find(t.Context(), "/proc")
	require.NoError(t, err)
	at := func(id uint64) *Found {
		i := slices.IndexFunc(found, func(f Found) bool { return f.ID == id })
		require.GreaterOrEqual(t, i, 0, "namespace %d", id)
		return &found[i]
	}
	assert.NotEmpty(t, at(own).PIDs)
	assert.Equal(t, []int32{pid}, at(id).PIDs)

	ns, err := Open("/proc", pid, id)
	require.NoError(t, err)
	defer func() { assert.NoError(t, ns.Close()) }()
	assert.Equal(t, id, ns.ID())
	var there uint64
	var interfaces []net.Interface
	require.NoError(t, ns.Do(func() error {
		if there, err = Own(); err != nil {
			return err
		}
		interfaces, err = net.Interfaces()
		return err
	}))
	assert.Equal(t, id, there)
	assert.Len(t, interfaces, 1, "a new namespace has lo and nothing else")

	mine := errors.New("mine")
	assert.Equal(t, mine, ns.Do(func() error { return mine }))

	// Nobody is left there: not on any of the process's threads.
	threads, err := filepath.Glob("/proc/self/task/*/ns/net")
	require.NoError(t, err)
	for _, thread := range threads {
		var st unix.Stat_t
		if unix.Stat(thread, &st) == nil {
			assert.Equal(t, own, st.Ino, thread)
		}
	}
}

func TestANamespaceThatIsGone(t *testing.T) {
	pid, id := elsewhere(t)
	_, err := Open("/proc", pid, id+1)
	assert.ErrorIs(t, err, ErrGone)
	require.NoError(t, unix.Kill(int(pid), unix.SIGKILL))
	assert.Eventually(t, func() bool {
		_, err := Open("/proc", pid, id)
		return errors.Is(err, ErrGone)
	}, 5*time.Second, time.Millisecond)
}

func TestNames(t *testing.T) {
	dir := t.TempDir()
	assert.Empty(t, namedNamespaces(dir))
	assert.Empty(t, namedNamespaces(filepath.Join(dir, "absent")))
	file := filepath.Join(dir, "blue")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	var st unix.Stat_t
	require.NoError(t, unix.Stat(file, &st))
	assert.Equal(t, map[uint64]string{st.Ino: "blue"}, namedNamespaces(dir))
}

func TestFindWithoutProc(t *testing.T) {
	_, _, err := Find(t.Context(), filepath.Join(t.TempDir(), "proc"))
	assert.ErrorIs(t, err, os.ErrNotExist)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err = Find(ctx, "/proc")
	assert.ErrorIs(t, err, context.Canceled)
}

// /proc/self shows the first thread's namespace to the whole process, other
// receivers included.
func TestTheFirstThreadStaysAtHome(t *testing.T) {
	pid, id := elsewhere(t)
	own, err := Own()
	require.NoError(t, err)
	ns, err := Open("/proc", pid, id)
	require.NoError(t, err)
	defer func() { assert.NoError(t, ns.Close()) }()
	for range 200 {
		require.NoError(t, ns.Do(func() error {
			var st unix.Stat_t
			if err := unix.Stat("/proc/self/ns/net", &st); err != nil {
				return err
			}
			assert.Equal(t, own, st.Ino)
			return nil
		}))
	}
	onMain := false
	offMainThread(func() {
		onMain = unix.Gettid() == unix.Getpid()
		runtime.UnlockOSThread()
	})
	assert.False(t, onMain)
}
