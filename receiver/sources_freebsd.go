// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/source/kmod"
	"github.com/netpulse/tcpstatsreceiver/internal/source/sysctl"
)

// sources are the kernel interfaces of this system.
func sources() []source.Factory {
	return []source.Factory{kmod.Factory(), sysctl.Factory()}
}
