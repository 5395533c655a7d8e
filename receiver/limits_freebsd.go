// SPDX-License-Identifier: Apache-2.0

package receiver

import "golang.org/x/sys/unix"

// readLimits reads the ephemeral ports (ip(4), net.inet.ip.portrange). Packet filters
// have their own limits, which are not read.
func readLimits() (l limits) {
	first, errFirst := unix.SysctlUint32("net.inet.ip.portrange.first")
	last, errLast := unix.SysctlUint32("net.inet.ip.portrange.last")
	if errFirst == nil && errLast == nil && first <= 65535 && last <= 65535 {
		l.firstPort, l.lastPort = uint16(first), uint16(last)
	}
	return l
}
