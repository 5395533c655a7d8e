package sockdiag

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
)

// Multicast groups of NETLINK_SOCK_DIAG, enum sknetlink_groups of
// <linux/sock_diag.h>, since Linux 4.4. Anybody may listen.
const (
	groupTCPDestroy  = 1
	groupTCP6Destroy = 3
)

// memoryInfoDrops is the position of sk_drops in SO_MEMINFO, SK_MEMINFO_DROPS of
// <linux/sock_diag.h>.
const memoryInfoDrops = 8

// Closes implements source.CloseNotifier.
func (s *Source) Closes() (source.CloseStream, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket for close notices: %w", err)
	}
	buffer, err := subscribe(fd)
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	// The runtime's poller waits for it: hundreds of namespaces cost no threads.
	n := &notices{file: os.NewFile(uintptr(fd), name)}
	if n.raw, err = n.file.SyscallConn(); err != nil {
		return nil, errors.Join(fmt.Errorf("open netlink socket for close notices: %w", err), n.file.Close())
	}
	n.bind()
	return newCloses(n, buffer, decoder{
		namespace: s.dec.namespace,
		// Interfaces can be named only in their namespace, where notices are not
		// read: the dumps have named those of the connections that they had.
		zone:  s.zones.Known,
		names: make(source.Interner),
	}), nil
}

// subscribe returns the size of the buffer that the kernel granted.
func subscribe(fd int) (buffer int, err error) {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, closesBuffer); err != nil {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, closesBuffer); err != nil {
			return 0, fmt.Errorf("size the buffer of close notices: %w", err)
		}
	}
	doubled, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	if err != nil {
		return 0, fmt.Errorf("ask for the size of the buffer of close notices: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, fmt.Errorf("bind netlink socket for close notices: %w", err)
	}
	for _, group := range []int{groupTCPDestroy, groupTCP6Destroy} {
		if err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, group); err != nil {
			return 0, fmt.Errorf("subscribe to close notices, group %d: %w (Linux 4.4 or later)", group, err)
		}
	}
	return doubled / 2, nil // socket(7): the kernel doubles what it is asked for
}

// notices is the kernel's noticeConn. All calls but wait go through Control, which
// unlike Read does not wait for a wait under way to end.
type notices struct {
	file *os.File
	raw  syscall.RawConn

	// Made once, so that a call allocates nothing. Those of read are used by one
	// goroutine at a time.
	waiting func(fd uintptr) (done bool)
	reading func(fd uintptr)
	b       []byte
	n       int
	errno   error
}

func (c *notices) bind() {
	c.waiting = readable
	c.reading = func(fd uintptr) { c.n, c.errno = receive(int(fd), c.b) }
}

// wait implements noticeConn. The poller is edge-triggered, and no edge is lost: it
// is armed before the first look, and each notice is an edge of its own
// (sk_data_ready), whatever was read meanwhile.
func (c *notices) wait() error { return c.raw.Read(c.waiting) }

func (c *notices) ready() (is bool) {
	// A closed socket has an error to read.
	return c.raw.Control(func(fd uintptr) { is = readable(fd) }) != nil || is
}

func (c *notices) read(b []byte) (int, error) {
	c.b = b
	if err := c.raw.Control(c.reading); err != nil {
		return 0, err
	}
	return c.n, c.errno
}

func (c *notices) dropped() (total uint32, known bool) {
	var info [4 * (memoryInfoDrops + 1)]byte
	length := uint32(len(info))
	var errno unix.Errno
	err := c.raw.Control(func(fd uintptr) {
		_, _, errno = unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&info[0])), uintptr(unsafe.Pointer(&length)), 0)
	})
	if err != nil || errno != 0 || length < uint32(len(info)) {
		return 0, false
	}
	return binary.NativeEndian.Uint32(info[4*memoryInfoDrops:]), true
}

func (c *notices) close() error { return c.file.Close() }

// readable reports whether a read would return a notice or an error. Unlike a read
// with MSG_PEEK it does not take the error (ENOBUFS) away.
func readable(fd uintptr) bool {
	for {
		poll := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(poll[:], 0)
		if !errors.Is(err, unix.EINTR) {
			return n != 0 || err != nil
		}
	}
}
