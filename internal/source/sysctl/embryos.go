// SPDX-License-Identifier: Apache-2.0

package sysctl

import (
	"encoding/binary"
	"fmt"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// embryos visits the handshakes at the beginning of a list, whose end may be
// missing: those of the syncache, which the kernel puts before all sockets.
func (d *Decoder) embryos(list []byte, visit func(*tcp.Socket) error) error {
	if len(list) < xinpgenLen {
		return fmt.Errorf("net.inet.tcp.pcblist of %d bytes: %w", len(list), errTruncated)
	}
	for rest := list[xinpgenLen:]; len(rest) >= xtcpcbLen; rest = rest[xtcpcbLen:] {
		if n := binary.NativeEndian.Uint64(rest); n == xinpgenLen {
			return nil // a list without sockets
		} else if n != xtcpcbLen {
			return fmt.Errorf("struct xtcpcb of %d bytes, not %d: %w", n, xtcpcbLen, errLayout)
		}
		if binary.NativeEndian.Uint64(rest[atXinpcbLen:]) != 0 {
			return nil // the first socket
		}
		if err := d.record(rest[:xtcpcbLen]); err != nil {
			return err
		}
		if err := visit(&d.socket); err != nil {
			return err
		}
	}
	return nil
}
