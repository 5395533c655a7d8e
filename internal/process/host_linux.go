// SPDX-License-Identifier: Apache-2.0

package process

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Remedy says what it takes to find the owner of every socket.
const Remedy = "it takes CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, see docs/sources.md, Permissions"

// stamp is what tells one process from another.
type stamp = procStamp

// host is procfs as the resolver reads it, proc(5). Its buffers are used again
// and again, so that a walk allocates nothing.
type host struct {
	path string
	root int       // descriptor of the mount
	boot time.Time // the kernel's btime; once only, so that dates stay the same

	privatePIDs bool
	// spare are descriptors that a walk gives up when there are no others left.
	spare [spares]int

	pids    [4 << 10]byte  // directory entries of root
	fds     [32 << 10]byte // directory entries of a process's fd
	threads [4 << 10]byte  // directory entries of a process's task
	link    [maxSocketLink]byte
	// file holds one file of a process. It takes thirteen v1 hierarchies with
	// paths of 1 KiB; cmdline may be longer and is cut.
	file [16 << 10]byte
	name [64]byte // of a file, relative to a directory, with NUL
	stat unix.Statx_t
}

func openHost(path string) (*host, error) {
	boot, err := readBootTime(path)
	if err != nil {
		return nil, err
	}
	root, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	h := &host{path: path, root: root, boot: boot}
	h.privatePIDs = h.hasPrivatePIDs()
	h.reserve()
	return h, nil
}

func (h *host) close() error {
	for h.release() {
	}
	if err := unix.Close(h.root); err != nil {
		return fmt.Errorf("close %s: %w", h.path, err)
	}
	return nil
}

// place is where the files of a process are: beside an open fd directory of
// it, which stays that process's even when the pid is given to another, or by
// pid, which costs no descriptor.
type place struct {
	pid int32
	// tid is the thread whose files these are, 0 for the process itself.
	tid int32
	fds int // descriptor of the fd directory, -1 if it is not open
}

func (h *host) place(pid int32) place { return place{pid: pid, fds: -1} }

// at returns the directory and the name, with NUL, for one file of a process.
// The name is good until the next call.
func (h *host) at(p place, file string) (dir int, name []byte) {
	dir, name = p.fds, h.name[:0]
	if p.fds >= 0 {
		name = append(name, "../"...)
	} else {
		dir = h.root
		name = append(strconv.AppendInt(name, int64(p.pid), 10), '/')
		if p.tid != 0 {
			name = append(strconv.AppendInt(append(name, "task/"...), int64(p.tid), 10), '/')
		}
	}
	return dir, append(append(name, file...), 0)
}

// read returns what one file of a process holds, as far as h.file takes it. It
// is good until the next call.
func (h *host) read(p place, file string) ([]byte, error) {
	dir, name := h.at(p, file)
	fd, errno := h.openat(dir, name, unix.O_RDONLY|unix.O_CLOEXEC)
	if errno != 0 {
		return nil, errno
	}
	// One read gets it all: procfs makes these files in one piece
	// (single_open in fs/seq_file.c).
	n, err := unix.Read(fd, h.file[:])
	h.closeFD(fd)
	if err != nil {
		return nil, err
	}
	return h.file[:n], nil
}

// openFDs opens the directory of a process's descriptors, or of a thread's.
func (h *host) openFDs(p place) (place, error) {
	dir, name := h.at(p, "fd")
	fd, errno := h.openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC)
	p.fds = fd
	if errno != 0 {
		return p, h.failure(p, "fd", errno)
	}
	return p, nil
}

// socket returns the inode of the socket that a descriptor is, 0 if it is
// something else. name ends in NUL.
func (h *host) socket(p place, name []byte) (inode uint64, errno unix.Errno) {
	n, errno := readlinkat(p.fds, name, h.link[:])
	if errno != 0 {
		return 0, errno
	}
	inode, _ = parseSocketLink(h.link[:n])
	return inode, 0
}

// gone tells whether an error says that a process, or a descriptor of it, is no
// longer there.
func gone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH)
}

// denied tells whether an error says that we may not look.
func denied(err error) bool { return errors.Is(err, fs.ErrPermission) }

// failure is the error for one file of a process that could not be read:
// errGone, errDenied, or one that says which.
func (h *host) failure(p place, file string, err error) error {
	switch {
	case gone(err):
		return errGone
	case denied(err):
		return errDenied
	}
	if scarce(err) {
		err = fmt.Errorf("%w (raise the limit of open files: LimitNOFILE= in systemd, ulimit -n)", err)
	}
	return fmt.Errorf("read %s/%d/%s: %w", h.path, p.pid, file, err)
}

// The wrappers below take names as bytes: golang.org/x/sys/unix takes strings
// and copies each to add a NUL. None of these calls sleeps in procfs, so none
// is interrupted.

// openat opens name, which ends in NUL.
func openat(dir int, name []byte, flags int) (fd int, errno unix.Errno) {
	r, _, errno := unix.Syscall6(unix.SYS_OPENAT, uintptr(dir), uintptr(unsafe.Pointer(&name[0])), uintptr(flags), 0, 0, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(r), 0
}

// statx reads what h.stat has of a file, without asking a file server.
func (h *host) statx(dir int, name []byte, flags int) unix.Errno {
	_, _, errno := unix.Syscall6(unix.SYS_STATX, uintptr(dir), uintptr(unsafe.Pointer(&name[0])),
		uintptr(flags|unix.AT_STATX_DONT_SYNC), unix.STATX_BASIC_STATS, uintptr(unsafe.Pointer(&h.stat)), 0)
	return errno
}

// readlinkat reads the link name, which ends in NUL, as far as target takes it.
func readlinkat(dir int, name, target []byte) (n int, errno unix.Errno) {
	r, _, errno := unix.Syscall6(unix.SYS_READLINKAT, uintptr(dir), uintptr(unsafe.Pointer(&name[0])),
		uintptr(unsafe.Pointer(&target[0])), uintptr(len(target)), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(r), 0
}
