// SPDX-License-Identifier: Apache-2.0

package engines

import (
	"github.com/netpulse/tcpstatsreceiver/internal/capture"
	"github.com/netpulse/tcpstatsreceiver/internal/capture/bpfdev"
)

// All returns the engines, in no order.
func All() []capture.Factory { return []capture.Factory{bpfdev.Factory()} }
