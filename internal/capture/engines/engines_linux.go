// SPDX-License-Identifier: Apache-2.0

package engines

import (
	"github.com/netpulse/tcpstatsreceiver/internal/capture"
	"github.com/netpulse/tcpstatsreceiver/internal/capture/afpacket"
	"github.com/netpulse/tcpstatsreceiver/internal/capture/tcx"
	"github.com/netpulse/tcpstatsreceiver/internal/capture/tpacket"
)

// All returns the engines, in no order.
func All() []capture.Factory {
	return []capture.Factory{tcx.Factory(), tpacket.Factory(), afpacket.Factory()}
}
