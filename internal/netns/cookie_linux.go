// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Cookie returns a number that no other namespace of the host has, or had since
// its boot: the inode of one that is gone is given to the next. It is 0 before
// Linux 5.14, which has no such number.
func (n *Namespace) Cookie() (cookie uint64, err error) {
	err = n.Do(func() (err error) {
		cookie, err = OwnCookie()
		return err
	})
	return cookie, err
}

// OwnCookie is Cookie for the namespace of the calling thread.
func OwnCookie() (uint64, error) {
	// A socket of any kind is in the namespace that it was made in.
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("learn the cookie of a network namespace: open a socket: %w", err)
	}
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	_ = unix.Close(fd)
	if errors.Is(err, unix.ENOPROTOOPT) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("learn the cookie of a network namespace: %w", err)
	}
	return cookie, nil
}
