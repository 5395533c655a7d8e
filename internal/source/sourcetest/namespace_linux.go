// SPDX-License-Identifier: Apache-2.0

package sourcetest

import (
	"net"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/netns"
)

// NewNamespace returns a new network namespace with its loopback interface up, which
// nothing else on the host is in. It skips the test where namespaces cannot be made.
func NewNamespace(t testing.TB) *netns.Namespace {
	t.Helper()
	if err := netns.Supported(); err != nil {
		t.Skipf("network namespaces cannot be entered: %v", err)
	}
	// Package net tries once with some sockets what the host can: not in there.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())

	type thread struct {
		tid int32
		id  uint64
		err error
	}
	made, opened := make(chan thread), make(chan struct{})
	go offMainThread(func() {
		// Never unlocked: the thread ends with the goroutine, and nothing else runs in
		// the namespace by accident.
		th := thread{tid: int32(unix.Gettid())}
		if th.err = unix.Unshare(unix.CLONE_NEWNET); th.err == nil {
			th.id, th.err = netns.Own()
		}
		made <- th
		<-opened
	})
	defer close(opened)
	th := <-made
	if th.err != nil {
		t.Skipf("no new network namespace: %v", th.err)
	}
	ns, err := netns.Open("/proc", th.tid, th.id)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, ns.Close()) })
	require.NoError(t, ns.Do(loopbackUp))
	return ns
}

// offMainThread calls f on a locked thread that is not the first of the process,
// whose namespace /proc/self shows to the whole process.
func offMainThread(f func()) {
	runtime.LockOSThread()
	if unix.Gettid() != unix.Getpid() {
		f()
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // of another: this one is held
		f()
	}()
	<-done
	runtime.UnlockOSThread()
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
}
