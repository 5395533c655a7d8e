// SPDX-License-Identifier: Apache-2.0

package sockdiag

import (
	"context"
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/netns"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/source/procfs"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

const rank = 20

// Factory makes sock_diag sources.
func Factory() source.Factory {
	return source.Factory{
		Name:         name,
		Rank:         rank,
		Capabilities: source.RTT | source.Bytes | source.Closes | source.Processes | source.Namespaces,
		Open:         func(ctx context.Context) (source.Source, error) { return Open(ctx) },
	}
}

// Open opens sock_diag and tries it with a dump of the listeners.
func Open(ctx context.Context) (*Source, error) {
	s := newSource(procfs.DefaultDir, dial)
	if err := s.dump(ctx, 1<<stateListen, nil, func(*tcp.Socket) error { return nil }); err != nil && !errors.Is(err, source.ErrInterrupted) {
		var partial *source.PartialError
		if !errors.As(err, &partial) {
			return nil, errors.Join(err, s.Close())
		}
	}
	infoLen, err := infoLength()
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.capabilities = source.RTT | source.Processes
	if netns.Supported() == nil {
		s.capabilities |= source.Namespaces
	}
	if closes, err := s.Closes(); err == nil {
		s.capabilities |= source.Closes
		if err := closes.Close(); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	if infoLen >= infoLenBytesSent {
		s.capabilities |= source.Bytes
	}
	return s, nil
}

// netlink is the kernel's conn. Nothing else has its descriptor.
type netlink int

// dial opens a netlink socket in the network namespace of the calling thread.
func dial() (conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket for sock_diag: %w (allow AF_NETLINK, see docs/sources.md, Permissions)", err)
	}
	timeout := unix.Timeval{Sec: receiveTimeout}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		return nil, errors.Join(fmt.Errorf("bound reads of sock_diag: %w", err), unix.Close(fd))
	}
	return netlink(fd), nil
}

func (fd netlink) write(b []byte) error {
	_, err := unix.Write(int(fd), b)
	return err
}

func (fd netlink) read(b []byte) (int, error) { return receive(int(fd), b, 0) }

func (fd netlink) close() error { return unix.Close(int(fd)) }

// receive reads one datagram and returns its whole length, which is more than
// len(b) if it did not fit. x/sys/unix has no call that does so without
// allocating an address.
func receive(fd int, b []byte, flags int) (int, error) {
	n, _, errno := unix.Syscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), uintptr(unix.MSG_TRUNC|flags), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// infoLength returns the length of this kernel's tcp_info, learned from a
// socket that is never connected.
func infoLength() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if errors.Is(err, unix.EAFNOSUPPORT) {
		fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	}
	if err != nil {
		return 0, fmt.Errorf("open a socket to learn the length of tcp_info: %w", err)
	}
	var info [1024]byte
	length := uint32(len(info))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.IPPROTO_TCP, unix.TCP_INFO,
		uintptr(unsafe.Pointer(&info[0])), uintptr(unsafe.Pointer(&length)), 0)
	if errno != 0 {
		return 0, errors.Join(fmt.Errorf("getsockopt TCP_INFO: %w", errno), unix.Close(fd))
	}
	return int(length), unix.Close(fd)
}
