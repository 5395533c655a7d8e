// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import (
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// neglect listens with a short queue and accepts nothing.
func neglect(address string, backlog int) error {
	if _, err := listen(address, backlog); err != nil {
		return err
	}
	ready()
	select {}
}

// dawdle serves, with a queue of its own length, those that it accepts one at a time.
func dawdle(address string, backlog, answer, pause int) error {
	fd, err := listen(address, backlog)
	if err != nil {
		return err
	}
	l, err := net.FileListener(os.NewFile(uintptr(fd), address))
	if err != nil {
		return err
	}
	return serveOn(l, answer, time.Duration(pause)*time.Millisecond)
}

// listen returns a socket whose accept queue takes so many connections.
func listen(address string, backlog int) (int, error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return 0, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return 0, err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}); err != nil {
		return 0, err
	}
	return fd, unix.Listen(fd, backlog)
}
