// SPDX-License-Identifier: Apache-2.0

package source

import (
	"runtime"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A real interface is renamed: the loopback of a network namespace of its own.
func TestZoneThatIsRenamed(t *testing.T) {
	type outcome struct {
		before, soon, later string
		err                 error
	}
	done := make(chan outcome)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its namespace
		var o outcome
		defer func() { done <- o }()
		if o.err = unix.Unshare(unix.CLONE_NEWNET); o.err != nil {
			return
		}
		z, clock := NewZones(), time.Now()
		z.now = func() time.Time { return clock }
		o.before = z.Name(1)
		if o.err = rename("lo", "loop0"); o.err != nil {
			return
		}
		o.soon = z.Name(1)
		clock = clock.Add(maxZoneAge)
		o.later = z.Name(1)
	}()
	o := <-done
	if o.err == unix.EPERM {
		t.Skip("only root has network namespaces to make")
	}
	require.NoError(t, o.err)
	assert.Equal(t, outcome{before: "lo", soon: "lo", later: "loop0"}, o)
}

// rename renames an interface that is down.
func rename(from, to string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var ifreq [40]byte // struct ifreq: its name, and its new name
	copy(ifreq[:unix.IFNAMSIZ-1], from)
	copy(ifreq[unix.IFNAMSIZ:2*unix.IFNAMSIZ-1], to)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCSIFNAME, uintptr(unsafe.Pointer(&ifreq[0]))); errno != 0 {
		return errno
	}
	return nil
}
