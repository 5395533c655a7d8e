// SPDX-License-Identifier: Apache-2.0

package sockdiag

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/source/sourcetest"
)

func TestConformance(t *testing.T) {
	sourcetest.Run(t, Factory(), sourcetest.Options{Unavailable: func(err error) bool {
		return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM)
	}})
}
