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
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// Multicast groups of NETLINK_SOCK_DIAG, enum sknetlink_groups of
// <linux/sock_diag.h>, since Linux 4.4. Anybody may listen.
const (
	groupTCPDestroy  = 1
	groupTCP6Destroy = 3
)

const (
	// closesBuffer is room for some fifty thousand notices, of which each takes
	// 1.3 kB of what the kernel makes twice as large. Without CAP_NET_ADMIN it
	// takes no more than net.core.rmem_max.
	closesBuffer = 32 << 20
	// The position of sk_drops in SO_MEMINFO, SK_MEMINFO_DROPS of
	// <linux/sock_diag.h>.
	memoryInfoDrops = 8
)

// closes is a subscription to the notices of destroyed sockets.
type closes struct {
	file  *os.File
	conn  syscall.RawConn
	buf   []byte
	dec   decoder
	drops uint32 // that were told of

	// Of the read under way; its functions are made once, so that a notice costs
	// no allocation.
	read   func(fd uintptr) (done bool)
	peek   func(fd uintptr) (done bool)
	notify func(*tcp.Socket) error
	visit  func(*tcp.Notice) error
	notice tcp.Notice
	n      int
	errno  error
}

// Closes implements source.CloseNotifier.
func (s *Source) Closes() (source.CloseStream, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket for close notices: %w", err)
	}
	if err := subscribe(fd); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	// The runtime's poller waits for it: hundreds of namespaces cost no threads.
	c := &closes{file: os.NewFile(uintptr(fd), "sock_diag"), buf: make([]byte, bufferLen), dec: decoder{
		namespace: s.dec.namespace,
		// Interfaces can be named only in their namespace, where notices are not
		// read: the dumps have named those of the connections that they had.
		zone:  s.zones.Known,
		names: make(source.Interner),
	}}
	if c.conn, err = c.file.SyscallConn(); err != nil {
		return nil, errors.Join(fmt.Errorf("open netlink socket for close notices: %w", err), c.Close())
	}
	c.read = func(fd uintptr) bool {
		c.n, c.errno = receive(int(fd), c.buf)
		return true
	}
	c.peek = func(fd uintptr) bool {
		return !errors.Is(readable(int(fd)), unix.EAGAIN)
	}
	c.notify = func(s *tcp.Socket) error {
		c.notice.Socket = *s
		return c.visit(&c.notice)
	}
	return c, nil
}

func subscribe(fd int) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, closesBuffer); err != nil {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, closesBuffer); err != nil {
			return fmt.Errorf("size the buffer of close notices: %w", err)
		}
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("bind netlink socket for close notices: %w", err)
	}
	for _, group := range []int{groupTCPDestroy, groupTCP6Destroy} {
		if err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, group); err != nil {
			return fmt.Errorf("subscribe to close notices, group %d: %w (Linux 4.4 or later)", group, err)
		}
	}
	return nil
}

// Wait implements source.CloseStream: one notice is enough.
func (c *closes) Wait() error {
	if err := c.conn.Read(c.peek); err != nil {
		return fmt.Errorf("wait for close notices: %w", err)
	}
	return nil
}

// Drain implements source.CloseStream.
func (c *closes) Drain(visit func(*tcp.Notice) error) (lost uint64, err error) {
	c.dec.begin()
	c.visit = visit
	for {
		if err := c.conn.Read(c.read); err != nil {
			return lost, fmt.Errorf("read close notices: %w", err)
		}
		switch {
		case errors.Is(c.errno, unix.EAGAIN):
			return lost, c.dec.losses.Err()
		case errors.Is(c.errno, unix.ENOBUFS):
			lost += c.dropped()
			continue
		case c.errno != nil:
			return lost, fmt.Errorf("read close notices: %w", c.errno)
		case c.n > len(c.buf):
			lost++
			continue
		}
		// Notices are nobody's answers: their sequence number is 0.
		if _, err := c.dec.datagram(c.buf[:c.n], 0, c.notify); err != nil {
			return lost, err
		}
	}
}

// dropped returns how many notices found the buffer full since it was last
// asked: one at least.
func (c *closes) dropped() uint64 {
	drops, known := c.dropCount()
	if !known {
		return 1
	}
	lost := uint64(drops - c.drops)
	c.drops = drops
	return max(lost, 1)
}

// dropCount returns the kernel's count of all that was dropped. Linux before 4.12
// does not tell.
func (c *closes) dropCount() (drops uint32, known bool) {
	var info [4 * (memoryInfoDrops + 1)]byte
	length := uint32(len(info))
	var errno unix.Errno
	err := c.conn.Control(func(fd uintptr) {
		_, _, errno = unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&info[0])), uintptr(unsafe.Pointer(&length)), 0)
	})
	if err != nil || errno != 0 || length < uint32(len(info)) {
		return 0, false
	}
	return binary.NativeEndian.Uint32(info[4*memoryInfoDrops:]), true
}

// readable returns EAGAIN if there is nothing to read.
func readable(fd int) error {
	var b [1]byte
	for {
		_, _, errno := unix.Syscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), unix.MSG_PEEK, 0, 0)
		switch errno {
		case 0:
			return nil
		case unix.EINTR:
		default:
			return errno
		}
	}
}

// Close implements source.CloseStream.
func (c *closes) Close() error {
	if err := c.file.Close(); err != nil {
		return fmt.Errorf("close the netlink socket of close notices: %w", err)
	}
	return nil
}
