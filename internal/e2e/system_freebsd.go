// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// ownNamespace tells whether nothing but these tests talks on this host: then it is
// the guest of `make test-freebsd`, whose init says so.
func ownNamespace() bool { return os.Getenv("TCPSTATS_ALONE") != "" }

// cgroup is nothing that FreeBSD has.
func (p *Process) cgroup(*testing.T) string { return "" }

// boot returns when the host was started.
func boot(t *testing.T) time.Time {
	t.Helper()
	tv, err := unix.SysctlTimeval("kern.boottime")
	require.NoError(t, err)
	return time.Unix(tv.Unix())
}

// release is the host's __FreeBSD_version, such as 1501000.
func release(t *testing.T) uint32 {
	t.Helper()
	n, err := unix.SysctlUint32("kern.osreldate")
	require.NoError(t, err)
	return n
}

// setSysctl sets a number.
func setSysctl(name string, value uint32) error {
	// sysctl(3): the name of this one is {0, 3}, and it turns a name into numbers.
	var (
		lookup = [2]int32{0, 3}
		mib    [24]int32
		size   = unsafe.Sizeof(mib)
		text   = []byte(name)
	)
	if _, _, errno := unix.Syscall6(unix.SYS___SYSCTL, uintptr(unsafe.Pointer(&lookup)), uintptr(len(lookup)),
		uintptr(unsafe.Pointer(&mib)), uintptr(unsafe.Pointer(&size)), uintptr(unsafe.Pointer(&text[0])), uintptr(len(text))); errno != 0 {
		return fmt.Errorf("look up %s: %w", name, errno)
	}
	if _, _, errno := unix.Syscall6(unix.SYS___SYSCTL, uintptr(unsafe.Pointer(&mib)), size/unsafe.Sizeof(mib[0]),
		0, 0, uintptr(unsafe.Pointer(&value)), unsafe.Sizeof(value)); errno != 0 {
		return fmt.Errorf("set %s: %w", name, errno)
	}
	return nil
}
