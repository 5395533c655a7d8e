// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// loopbackUp brings lo up, which is down in a new network namespace.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	lo.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		return errors.Join(fmt.Errorf("bring lo up: %w", err), unix.Close(fd))
	}
	return unix.Close(fd)
}
