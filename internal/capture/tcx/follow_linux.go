package tcx

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/capture/socket"
)

// interfaces follows the interfaces of one network namespace.
type interfaces struct {
	fd   int
	wake socket.Waker
	buf  []byte
}

// openInterfaces follows those of the calling thread's namespace.
func openInterfaces() (*interfaces, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	f := &interfaces{fd: fd, buf: make([]byte, 32<<10)}
	if f.wake, err = socket.NewWaker(); err != nil {
		return nil, errors.Join(err, f.close())
	}
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

// read visits what has happened to interfaces, and waits for something to happen
// until ctx is done. done reports that a list has come to its end.
func (f *interfaces) read(ctx context.Context, visit func(change)) (done bool, err error) {
	for ctx.Err() == nil {
		n, _, err := unix.Recvfrom(f.fd, f.buf, unix.MSG_TRUNC)
		switch {
		case errors.Is(err, unix.EAGAIN):
			if _, err := f.wake.Wait(ctx, f.fd); err != nil {
				return false, fmt.Errorf("follow interfaces: %w", err)
			}
			continue
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ENOBUFS), err == nil && n > len(f.buf):
			// Something was missed.
			if err := f.ask(); err != nil {
				return false, err
			}
			continue
		case err != nil:
			return false, fmt.Errorf("follow interfaces: %w", err)
		}
		return changes(f.buf[:n], visit)
	}
	return false, nil
}

func (f *interfaces) close() error { return errors.Join(unix.Close(f.fd), f.wake.Close()) }
