// SPDX-License-Identifier: Apache-2.0

package netnstest

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// WithOnly calls f with no other capabilities than those, CAP_NET_RAW of
// capabilities(7) and so on. It does so on the calling thread, which a Place may
// have put into a namespace.
func WithOnly(t testing.TB, capabilities []int, f func()) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var all [2]unix.CapUserData
	require.NoError(t, unix.Capget(&header, &all[0]))
	few := all
	for i := range few {
		few[i].Effective = 0
	}
	for _, c := range capabilities {
		if all[c/32].Effective&(1<<(c%32)) == 0 {
			t.Skipf("capability %d is not there to be kept", c)
		}
		few[c/32].Effective |= 1 << (c % 32)
	}
	require.NoError(t, unix.Capset(&header, &few[0]))
	defer func() { require.NoError(t, unix.Capset(&header, &all[0])) }()
	f()
}
