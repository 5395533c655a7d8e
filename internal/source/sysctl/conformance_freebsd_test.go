// SPDX-License-Identifier: Apache-2.0

package sysctl

import (
	"testing"

	"github.com/netpulse/tcpstatsreceiver/internal/source/sourcetest"
)

func TestConformance(t *testing.T) {
	sourcetest.Run(t, Factory(), sourcetest.Options{})
}
