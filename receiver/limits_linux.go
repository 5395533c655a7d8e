// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/netpulse/tcpstatsreceiver/internal/route"
)

// readLimits reads the limits of the network namespace that the collector is in. What
// cannot be read is not known: connection tracking is a module that may not be loaded,
// and the routes of a router are too many.
func readLimits() limits { return limitsFrom("/proc/sys/net", "/proc/net") }

func limitsFrom(dir, routes string) (l limits) {
	if table, err := route.Read(routes); err == nil {
		l.routes = table
	}
	if text, err := os.ReadFile(dir + "/ipv4/ip_local_port_range"); err == nil {
		if _, err := fmt.Sscan(string(text), &l.firstPort, &l.lastPort); err != nil {
			l.firstPort, l.lastPort = 0, 0
		}
	}
	l.tracked = readNumber(dir + "/netfilter/nf_conntrack_count")
	l.trackedLimit = readNumber(dir + "/netfilter/nf_conntrack_max")
	return l
}

func readNumber(name string) uint64 {
	text, err := os.ReadFile(name)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
