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
const Remedy = "it takes CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, see README, Permissions"

// stamp is what tells one process from another.
type stamp = procStamp

// host is procfs as the resolver reads it, proc(5). Its buffers are used again
// and again, so that a walk allocates nothing.
type host struct {
	path string
	root int       // descriptor of the mount
	boot time.Time // the kernel's btime; once only, so that dates stay the same

	pids [4 << 10]byte  // directory entries of root
	fds  [32 << 10]byte // directory entries of a process's fd
	link [maxSocketLink]byte
	// file holds one file of a process. It takes thirteen v1 hierarchies with
	// paths of 1 KiB; cmdline may be longer and is cut.
	file [16 << 10]byte
	name [32]byte // of a file, relative to a directory, with NUL
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
	return &host{path: path, root: root, boot: boot}, nil
}

func (h *host) close() error {
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
	fds int // descriptor of the fd directory, -1 if it is not open
}

func (h *host) place(pid int32) place { return place{pid: pid, fds: -1} }

func (p place) close() { _ = unix.Close(p.fds) }

// at returns the directory and the name, with NUL, for one file of a process.
// The name is good until the next call.
func (h *host) at(p place, file string) (dir int, name []byte) {
	dir, name = p.fds, h.name[:0]
	if p.fds >= 0 {
		name = append(name, "../"...)
	} else {
		dir = h.root
		name = append(strconv.AppendInt(name, int64(p.pid), 10), '/')
	}
	return dir, append(append(name, file...), 0)
}

// read returns what one file of a process holds, as far as h.file takes it. It
// is good until the next call.
func (h *host) read(p place, file string) ([]byte, error) {
	dir, name := h.at(p, file)
	fd, errno := openat(dir, name, unix.O_RDONLY|unix.O_CLOEXEC)
	if errno != 0 {
		return nil, errno
	}
	// One read gets it all: procfs makes these files in one piece
	// (single_open in fs/seq_file.c).
	n, err := unix.Read(fd, h.file[:])
	_ = unix.Close(fd)
	if err != nil {
		return nil, err
	}
	return h.file[:n], nil
}

// openFDs opens the directory of a process's descriptors.
func (h *host) openFDs(pid int32) (place, error) {
	dir, name := h.at(h.place(pid), "fd")
	fd, errno := openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC)
	at := place{pid: pid, fds: fd}
	if errno != 0 {
		return at, h.failure(at, "fd", errno)
	}
	return at, nil
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

// readlinkat reads the link name, which ends in NUL, as far as target takes it.
func readlinkat(dir int, name, target []byte) (n int, errno unix.Errno) {
	r, _, errno := unix.Syscall6(unix.SYS_READLINKAT, uintptr(dir), uintptr(unsafe.Pointer(&name[0])),
		uintptr(unsafe.Pointer(&target[0])), uintptr(len(target)), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(r), 0
}
