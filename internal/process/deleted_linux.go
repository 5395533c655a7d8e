// SPDX-License-Identifier: Apache-2.0

package process

import (
	"bytes"

	"golang.org/x/sys/unix"
)

// deletedSuffix is what the kernel appends to the target of /proc/pid/exe when the
// file is gone (d_path in fs/d_path.c), as it is after every upgrade of a running
// program. A file may also be called so.
var deletedSuffix = []byte(" (deleted)")

// resolveCached is RESOLVE_CACHED of <linux/openat2.h>, Linux 5.12.
const resolveCached = 0x20

// programPath returns the path of a program out of the target of its exe link.
func (h *host) programPath(p place, target []byte) []byte {
	if bytes.HasSuffix(target, deletedSuffix) && !h.isNamed(p, target) {
		return target[:len(target)-len(deletedSuffix)]
	}
	return target
}

// isNamed tells whether the program of a process is the file at path, as that
// process sees it. It never waits for a file server: what the kernel does not have
// in memory is not there.
func (h *host) isNamed(p place, path []byte) bool {
	dir, name := h.at(p, "exe")
	if h.statx(dir, name, 0) != 0 || h.stat.Nlink == 0 {
		return false
	}
	// It has a name still: this one, or another link that was not deleted.
	program := h.stat
	dir, name = h.at(p, "root")
	root, errno := h.openat(dir, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if errno != 0 {
		return false
	}
	defer h.closeFD(root)
	fd, err := unix.Openat2(root, string(path), &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_SYMLINKS | resolveCached,
	})
	switch err {
	case nil:
	case unix.ENOSYS, unix.EINVAL, unix.EPERM:
		// Before Linux 5.12, or seccomp forbids it: its links have to do. Only of a file
		// that was deleted while it had another name they say too much.
		return true
	default:
		return false
	}
	defer unix.Close(fd)
	return h.statx(fd, []byte{0}, unix.AT_EMPTY_PATH) == 0 &&
		h.stat.Ino == program.Ino && h.stat.Dev_major == program.Dev_major && h.stat.Dev_minor == program.Dev_minor
}
