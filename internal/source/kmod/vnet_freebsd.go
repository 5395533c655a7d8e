// SPDX-License-Identifier: Apache-2.0

package kmod

import (
	"context"
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
)

// Requests of kmod/tcpstats.h, made as <sys/ioccom.h> makes them.
const (
	iocIn, iocInOut = 0x80000000, 0xc0000000

	requestAllVnets = iocIn | 4<<16 | 'T'<<8 | 3          // TCPSTATS_ALLVNETS
	requestVnet     = iocInOut | vnetLen<<16 | 'T'<<8 | 4 // TCPSTATS_VNET
)

// request makes an ioctl(2).
func request(file *os.File, what uintptr, arg unsafe.Pointer) error {
	conn, err := file.SyscallConn() // not by Fd, which makes the descriptor block
	if err != nil {
		return err
	}
	var errno unix.Errno
	if err := conn.Control(func(fd uintptr) {
		_, _, errno = unix.Syscall(unix.SYS_IOCTL, fd, what, uintptr(arg))
	}); err != nil {
		return err
	}
	if errno != 0 {
		return errno
	}
	return nil
}

// span asks the module for every network stack: from the next walk on, and of the
// ends to come.
func span(file *os.File) error {
	yes := int32(1)
	if err := request(file, requestAllVnets, unsafe.Pointer(&yes)); err != nil {
		return fmt.Errorf("read every network stack by %s: %w (takes root, outside of jails)", file.Name(), err)
	}
	return nil
}

// maySpan reports whether the module would let this process read every network
// stack, without asking it to.
func maySpan(file *os.File) bool {
	var b [vnetLen]byte
	err := request(file, requestVnet, unsafe.Pointer(&b))
	return err == nil || errors.Is(err, unix.ENOENT) // there are no others now
}

// Stacks implements source.Spanning.
func (s *Source) Stacks(ctx context.Context) ([]source.Stack, error) {
	var stacks []source.Stack
	var b [vnetLen]byte
	for {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("list network stacks, cut short: %w", err)
		}
		// b has the last one, above whose id the next is asked for.
		switch asked := request(s.file, requestVnet, unsafe.Pointer(&b)); {
		case errors.Is(asked, unix.ENOENT):
			return stacks, nil
		case asked != nil:
			return nil, advice(fmt.Errorf("list network stacks by %s: %w", s.file.Name(), asked))
		}
		stack, err := parseVnet(b[:], s.Host)
		if err != nil {
			return nil, fmt.Errorf("list network stacks by %s: %w", s.file.Name(), err)
		}
		stacks = append(stacks, stack)
	}
}
