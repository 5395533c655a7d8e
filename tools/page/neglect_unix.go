// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// neglect listens with a short queue and accepts nothing.
func neglect(address string, backlog int) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}); err != nil {
		return err
	}
	if err := unix.Listen(fd, backlog); err != nil {
		return err
	}
	ready()
	select {}
}
