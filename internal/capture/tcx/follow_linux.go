// SPDX-License-Identifier: Apache-2.0

package tcx

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/capture/socket"
)

// interfaces follows the interfaces of one network namespace.
type interfaces struct {
	fd     int
	poller socket.Poller
	buf    []byte
}

// openInterfaces follows those of the calling thread's namespace.
func openInterfaces() (*interfaces, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	poller, err := socket.NewPoller(fd, "netlink socket")
	if err != nil {
		return nil, err
	}
	f := &interfaces{fd: fd, poller: poller, buf: make([]byte, 32<<10)}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: unix.RTMGRP_LINK}); err != nil {
		return nil, errors.Join(fmt.Errorf("follow interfaces: %w", err), f.close())
	}
	return f, nil
}

// ask asks for a list of all interfaces.
func (f *interfaces) ask() error {
	request := make([]byte, messageHeader+infoLen)
	binary.NativeEndian.PutUint32(request, uint32(len(request)))
	binary.NativeEndian.PutUint16(request[4:], getLink)
	binary.NativeEndian.PutUint16(request[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	if err := unix.Sendto(f.fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("list interfaces: %w", err)
	}
	return nil
}

// read visits what has happened to interfaces, and waits for something to happen.
// listed reports that a list has come to its end, done that the waiting was ended.
func (f *interfaces) read(visit func(change)) (listed, done bool, err error) {
	var (
		n      int
		failed error
	)
	done, err = f.poller.Wait(func() bool {
		for {
			n, _, failed = unix.Recvfrom(f.fd, f.buf, unix.MSG_TRUNC)
			if !errors.Is(failed, unix.EINTR) {
				return !errors.Is(failed, unix.EAGAIN)
			}
		}
	})
	switch {
	case done:
		return false, true, nil
	case errors.Is(failed, unix.ENOBUFS), err == nil && failed == nil && n > len(f.buf):
		// Something was missed.
		return false, false, f.ask()
	case err != nil || failed != nil:
		return false, false, fmt.Errorf("follow interfaces: %w", errors.Join(err, failed))
	}
	listed, err = changes(f.buf[:n], visit)
	return listed, false, err
}

func (f *interfaces) close() error { return f.poller.Close() }
