// SPDX-License-Identifier: Apache-2.0

//go:build linux

package contestant

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// floor is what any reader of sock_diag pays: one pass over the sockets of both
// families, every extension asked for, and nothing done with the answer.
//
// Its CPU time is that of the thread that makes the passes, as C's is: what the
// runtime does beside them is no part of the floor.
type floor struct {
	*own
	spent   time.Duration
	fd      int
	request [76]byte // struct nlmsghdr, struct inet_diag_req, struct rtattr's room
	buf     [32 << 10]byte
}

func newFloor() (*floor, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket for sock_diag: %w", err)
	}
	f := &floor{own: newOwn(), fd: fd}
	// The oldest request of sock_diag, and the only one that has IPv4 and IPv6
	// in one pass (include/uapi/linux/inet_diag.h).
	const tcpdiagGetSock, everyExtension, states = 18, 0xff, 0xfff
	binary.NativeEndian.PutUint32(f.request[0:], uint32(len(f.request)))
	binary.NativeEndian.PutUint16(f.request[4:], tcpdiagGetSock)
	binary.NativeEndian.PutUint16(f.request[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	f.request[19] = everyExtension
	binary.NativeEndian.PutUint32(f.request[68:], states)
	return f, nil
}

func (f *floor) pass() (int, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := cpuTime(unix.CLOCK_THREAD_CPUTIME_ID)
	err := f.dump(func([]byte) {})
	f.spent += cpuTime(unix.CLOCK_THREAD_CPUTIME_ID) - before
	return unknown, err
}

func (f *floor) cpuTime() time.Duration { return f.spent }

func (f *floor) first() (sockets int, err error) {
	err = f.dump(func(messages []byte) {
		for len(messages) >= unix.SizeofNlMsghdr {
			sockets++
			length := binary.NativeEndian.Uint32(messages)
			messages = messages[min(max(unix.SizeofNlMsghdr, int(length+3)&^3), len(messages)):]
		}
	})
	return sockets, err
}

func (f *floor) dump(datagram func([]byte)) error {
	if _, err := unix.Write(f.fd, f.request[:]); err != nil {
		return fmt.Errorf("ask sock_diag: %w", err)
	}
	for {
		n, err := f.read()
		if err != nil {
			return fmt.Errorf("read sock_diag: %w", err)
		}
		// The end of a dump comes in a datagram of its own.
		switch binary.NativeEndian.Uint16(f.buf[4:]) {
		case unix.NLMSG_DONE:
			return nil
		case unix.NLMSG_ERROR:
			return fmt.Errorf("sock_diag: %w", unix.Errno(-int32(binary.NativeEndian.Uint32(f.buf[16:]))))
		}
		datagram(f.buf[:n])
	}
}

// read takes the next datagram. It does not tell Go's scheduler, as unix.Read
// would: that hands the processor on in the 0.1 ms that the kernel takes to make
// one, which costs more than a call in C does.
func (f *floor) read() (int, error) {
	n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(f.fd), uintptr(unsafe.Pointer(&f.buf[0])), uintptr(len(f.buf)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

func (f *floor) close() error { return unix.Close(f.fd) }
