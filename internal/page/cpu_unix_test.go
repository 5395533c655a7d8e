// SPDX-License-Identifier: Apache-2.0

//go:build unix

package page

import (
	"time"

	"golang.org/x/sys/unix"
)

// processTime is the CPU time that this process has spent.
func processTime() time.Duration {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
