// SPDX-License-Identifier: Apache-2.0

package process

import (
	"errors"

	"golang.org/x/sys/unix"
)

// spares is how many descriptors a walk has open at a time: a process's fd
// directory and one of its files.
const spares = 2

// reserve takes the spare descriptors that are not there. Without them a walk may
// find none left in a collector that is at its limit, and never end.
func (h *host) reserve() {
	for i := range h.spare {
		if h.spare[i] > 0 {
			continue
		}
		fd, err := unix.FcntlInt(uintptr(h.root), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			return
		}
		h.spare[i] = fd
	}
}

// release gives up one spare descriptor and returns whether there was one.
func (h *host) release() bool {
	for i, fd := range h.spare {
		if fd > 0 {
			h.spare[i] = 0
			return unix.Close(fd) == nil
		}
	}
	return false
}

// openat opens name, which ends in NUL, at the price of a spare descriptor if
// there is no other.
func (h *host) openat(dir int, name []byte, flags int) (fd int, errno unix.Errno) {
	fd, errno = openat(dir, name, flags)
	if errno != 0 && scarce(errno) && h.release() {
		fd, errno = openat(dir, name, flags)
	}
	return fd, errno
}

// closeFD closes what openat has opened, and takes back the spare descriptor that
// it may have cost before somebody else does.
func (h *host) closeFD(fd int) {
	_ = unix.Close(fd)
	h.reserve()
}

// scarce tells whether an error says that no descriptor is left, which is so for
// every process then.
func scarce(err error) bool { return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) }
