// SPDX-License-Identifier: Apache-2.0

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
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket for close notices: %w", err)
	}
	buffer, err := subscribe(fd)
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	n, err := newNotices(fd)
	if err != nil {
		return nil, err
	}
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

// notices is the kernel's noticeConn.
//
// The runtime's poller waits for it, so hundreds of namespaces cost no threads. But
// the poller is woken up by each notice, whether somebody waits or not. So what it
// polls is not the socket, but an epoll instance with the socket in it, which is ready
// once after it was armed (EPOLLONESHOT).
type notices struct {
	socket, poll       *os.File
	rawSocket, rawPoll syscall.RawConn

	// Made once, so that a call allocates nothing. Those of wait and of read are used
	// by one goroutine at a time each.
	arming  func(fd uintptr)
	waiting func(fd uintptr) (done bool)
	reading func(fd uintptr)
	armed   error
	events  [1]unix.EpollEvent
	b       []byte
	n       int
	errno   error
}

// newNotices takes the socket over, also if it fails.
func newNotices(socket int) (*notices, error) {
	// A blocking one, so that the runtime does not poll it; reads do not block.
	c := &notices{socket: os.NewFile(uintptr(socket), name)}
	fail := func(err error) (*notices, error) {
		return nil, errors.Join(fmt.Errorf("poll the netlink socket of close notices: %w", err), c.close())
	}
	poll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return fail(err)
	}
	if err := unix.SetNonblock(poll, true); err != nil {
		return fail(errors.Join(err, unix.Close(poll)))
	}
	c.poll = os.NewFile(uintptr(poll), name)
	if err := unix.EpollCtl(poll, unix.EPOLL_CTL_ADD, socket, &unix.EpollEvent{}); err != nil {
		return fail(err)
	}
	if c.rawSocket, err = c.socket.SyscallConn(); err != nil {
		return fail(err)
	}
	if c.rawPoll, err = c.poll.SyscallConn(); err != nil {
		return fail(err)
	}
	// Neither descriptor can become another's while both are held.
	arm := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT}
	c.arming = func(fd uintptr) {
		if err := c.rawPoll.Control(func(poll uintptr) {
			c.armed = unix.EpollCtl(int(poll), unix.EPOLL_CTL_MOD, int(fd), &arm)
		}); err != nil {
			c.armed = err
		}
	}
	c.waiting = func(fd uintptr) bool {
		for {
			n, err := unix.EpollWait(int(fd), c.events[:], 0)
			if !errors.Is(err, unix.EINTR) {
				return n != 0 || err != nil
			}
		}
	}
	c.reading = func(fd uintptr) { c.n, c.errno = receive(int(fd), c.b, unix.MSG_DONTWAIT) }
	return c, nil
}

// wait implements noticeConn. No wake-up is lost: what is there already makes the
// instance ready when it is armed, and what comes later when it comes.
func (c *notices) wait() error {
	if err := c.rawSocket.Control(c.arming); err != nil {
		return err
	}
	if c.armed != nil {
		return c.armed
	}
	return c.rawPoll.Read(c.waiting)
}

func (c *notices) ready() (is bool) {
	// A closed socket has an error to read.
	return c.rawSocket.Control(func(fd uintptr) { is = readable(fd) }) != nil || is
}

func (c *notices) read(b []byte) (int, error) {
	c.b = b
	if err := c.rawSocket.Control(c.reading); err != nil {
		return 0, err
	}
	return c.n, c.errno
}

func (c *notices) dropped() (total uint32, known bool) {
	var info [4 * (memoryInfoDrops + 1)]byte
	length := uint32(len(info))
	var errno unix.Errno
	err := c.rawSocket.Control(func(fd uintptr) {
		_, _, errno = unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&info[0])), uintptr(unsafe.Pointer(&length)), 0)
	})
	if err != nil || errno != 0 || length < uint32(len(info)) {
		return 0, false
	}
	return binary.NativeEndian.Uint32(info[4*memoryInfoDrops:]), true
}

func (c *notices) close() error {
	err := c.socket.Close()
	if c.poll != nil {
		err = errors.Join(c.poll.Close(), err)
	}
	return err
}

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
