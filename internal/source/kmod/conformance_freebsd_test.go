// SPDX-License-Identifier: Apache-2.0

package kmod

import (
	"testing"

	"github.com/netpulse/tcpstatsreceiver/internal/source/sourcetest"
)

func TestConformance(t *testing.T) {
	module(t)
	sourcetest.Run(t, Factory(), sourcetest.Options{})
}
