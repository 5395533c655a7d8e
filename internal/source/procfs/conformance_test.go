// SPDX-License-Identifier: Apache-2.0

package procfs

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/netpulse/tcpstatsreceiver/internal/source/sourcetest"
)

func TestConformance(t *testing.T) {
	sourcetest.Run(t, Factory(), sourcetest.Options{Unavailable: func(err error) bool { return errors.Is(err, fs.ErrNotExist) }})
}
