// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// Supported returns nil if namespaces can be entered, else why not and how to
// grant it.
func Supported() error {
	runtime.LockOSThread()
	fd, err := unix.Open(self, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("open %s: %w (needs Linux's /proc)", self, err)
	}
	errEnter := unix.Setns(fd, unix.CLONE_NEWNET)
	runtime.UnlockOSThread() // it is where it was
	if errEnter != nil {
		errEnter = fmt.Errorf("enter a network namespace: %w (%s)", errEnter, remedy())
	}
	return errors.Join(errEnter, unix.Close(fd))
}

// remedy says what it takes to enter a namespace, by what is missing.
func remedy() string {
	if hasSysAdmin() {
		return "CAP_SYS_ADMIN is there, but not in the user namespace that it belongs to, or seccomp forbids setns(2), see docs/sources.md, Permissions"
	}
	return "CAP_SYS_ADMIN is missing; CAP_SYS_PTRACE is needed as well, to find namespaces, see docs/sources.md, Permissions"
}

// hasSysAdmin tells whether the calling thread has CAP_SYS_ADMIN.
func hasSysAdmin() bool {
	var data [2]unix.CapUserData // of 32 capabilities each
	err := unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &data[0])
	return err == nil && data[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0
}
