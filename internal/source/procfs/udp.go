// SPDX-License-Identifier: Apache-2.0

package procfs

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// UDPSockets visits the UDP sockets of the network namespace that dir shows, see
// [DefaultDir]: the address that each is bound to, and its inode. The kernel writes
// them as it writes TCP's (net/ipv4/udp.c udp4_format_sock). Lines that cannot be
// parsed are left out. A host without IPv6 has no udp6.
func UDPSockets(dir string, visit func(local netip.AddrPort, inode uint64)) error {
	for _, name := range [...]string{"udp", "udp6"} {
		f, err := os.Open(dir + "/" + name)
		if name == "udp6" && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("listing UDP sockets: %w", err)
		}
		err = udpSockets(f, visit)
		f.Close() // was only read: there is nothing to lose
		if err != nil {
			return fmt.Errorf("listing UDP sockets: reading %s/%s: %w", dir, name, err)
		}
	}
	return nil
}

func udpSockets(f fs.File, visit func(netip.AddrPort, uint64)) error {
	var s tcp.Socket
	lines := bufio.NewScanner(f)
	for order := hostOrder(); lines.Scan(); {
		line := lines.Bytes()
		if bytes.HasPrefix(bytes.TrimLeft(line, " "), []byte("sl")) || parseSocket(line, order, &s) != nil {
			continue
		}
		visit(s.Local, s.Inode)
	}
	return lines.Err()
}
