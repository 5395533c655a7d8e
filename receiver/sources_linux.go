// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/source/bpf"
	"github.com/netpulse/tcpstatsreceiver/internal/source/procfs"
	"github.com/netpulse/tcpstatsreceiver/internal/source/sockdiag"
)

// sources are the kernel interfaces of this system.
func sources() []source.Factory {
	return []source.Factory{bpf.Factory(), sockdiag.Factory(), procfs.Factory()}
}
