// SPDX-License-Identifier: Apache-2.0

package procfs

import (
	"bytes"
	"fmt"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// portRange has the first and the last of the ports that the kernel gives to
// sockets that ask for none (ip(7), ip_local_port_range), of the calling thread's
// network namespace.
const portRange = "/proc/sys/net/ipv4/ip_local_port_range"

// readPorts adds the range of ephemeral ports to the counters.
func (r *CounterReader) readPorts(counters *tcp.Counters) error {
	text, buf, err := slurp(r.ports, r.buf)
	r.buf = buf
	if err != nil {
		return fmt.Errorf("range of ephemeral ports: %w", err)
	}
	first, last, err := parsePorts(text)
	if err != nil {
		return fmt.Errorf("range of ephemeral ports in %s: %w", r.ports, err)
	}
	counters.Set(tcp.EphemeralPortFirst, uint64(first))
	counters.Set(tcp.EphemeralPortLimit, uint64(last)-uint64(first)+1)
	return nil
}

// parsePorts reads two ports, the first of which is not above the last.
func parsePorts(text []byte) (first, last uint16, err error) {
	fields := bytes.Fields(text)
	if len(fields) != 2 {
		return 0, 0, fmt.Errorf("got %q, not two ports", text)
	}
	var ports [2]uint64
	for i, field := range fields {
		var ok bool
		if ports[i], ok = parseDecimal(field); !ok || ports[i] > 65535 {
			return 0, 0, fmt.Errorf("%q is not a port", field)
		}
	}
	if ports[0] > ports[1] {
		return 0, 0, fmt.Errorf("got %q, the first above the last", text)
	}
	return uint16(ports[0]), uint16(ports[1]), nil
}
