// SPDX-License-Identifier: Apache-2.0

package sysctl

import (
	"context"
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// EmbryoReader reads the handshakes that have no socket yet, for a source that
// reads the sockets elsewhere.
type EmbryoReader struct {
	Decoder *Decoder
	buf     []byte
}

// Embryos visits up to count handshakes, or somewhat more. The kernel stops
// where the buffer is full, with ENOMEM (sysctl(3)), so this does not cost what
// a list of all sockets costs.
func (r *EmbryoReader) Embryos(_ context.Context, count uint64, visit func(*tcp.Socket) error) error {
	const most = 1 << 16 // net.inet.tcp.syncache.cachelimit is 15375 by default
	count = min(count, most)
	if n := int(xinpgenLen + (count+count/8+8)*xtcpcbLen); len(r.buf) < n {
		r.buf = make([]byte, n)
	}
	name := []byte("net.inet.tcp.pcblist")
	length := uintptr(len(r.buf))
	_, _, errno := unix.Syscall6(unix.SYS___SYSCTLBYNAME, uintptr(unsafe.Pointer(&name[0])), uintptr(len(name)),
		uintptr(unsafe.Pointer(&r.buf[0])), uintptr(unsafe.Pointer(&length)), 0, 0)
	if errno != 0 && !errors.Is(errno, unix.ENOMEM) {
		return fmt.Errorf("sysctl net.inet.tcp.pcblist: %w", errno)
	}
	return r.Decoder.embryos(r.buf[:length], visit)
}
