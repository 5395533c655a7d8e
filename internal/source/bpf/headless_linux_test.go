// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64 || loong64 || ppc64le || riscv64)

package bpf

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// The descriptors of a process whose first thread has ended are listed by its
// others.
func TestHoldersWhoseFirstThreadHasEnded(t *testing.T) {
	if os.Getenv("TCPSTATS_TEST_HEADLESS") != "" {
		endFirstThread()
	}
	holders := openedHolders(t)
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	file, err := l.File()
	require.NoError(t, err)
	require.NoError(t, l.Close())
	var st unix.Stat_t
	require.NoError(t, unix.Fstat(int(file.Fd()), &st))

	cmd := exec.Command("/proc/self/exe", "-test.run", "^TestHoldersWhoseFirstThreadHasEnded$")
	cmd.ExtraFiles = []*os.File{file}
	cmd.Env = append(os.Environ(), "TCPSTATS_TEST_HEADLESS=1")
	input, err := cmd.StdinPipe()
	require.NoError(t, err)
	output, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = input.Close()
		_ = cmd.Wait()
	})
	require.NoError(t, file.Close())
	line, err := bufio.NewReader(output).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "ready\n", line)
	time.Sleep(50 * time.Millisecond) // the thread ends after it has said so

	r, err := process.NewResolver(process.Options{Holders: holders})
	require.NoError(t, err)
	defer func() { assert.NoError(t, r.Close()) }()
	var owner process.Owner
	var reason process.Reason
	stats, err := r.Resolve(bg, time.Now(), nil, []process.Claim{{Inode: st.Ino, Owner: &owner, Reason: &reason}})
	require.NoError(t, err)
	assert.True(t, stats.Complete)
	require.NotNil(t, owner.Process, reason)
	assert.Equal(t, int32(cmd.Process.Pid), owner.Process.PID)
	assert.Equal(t, int32(3), owner.FD)
	executable, err := os.Executable()
	require.NoError(t, err)
	assert.Equal(t, tcp.FileName([]byte(filepath.Base(executable))), owner.Process.Executable)
}

// endFirstThread ends the first thread of this process, and the others with the
// input.
func endFirstThread() {
	runtime.LockOSThread()
	if unix.Gettid() != unix.Getpid() {
		// While this one is held, the next goroutine comes to another thread.
		go endFirstThread()
		select {}
	}
	go func() {
		fmt.Println("ready")
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	_, _, _ = unix.Syscall(unix.SYS_EXIT, 0, 0, 0)
}
