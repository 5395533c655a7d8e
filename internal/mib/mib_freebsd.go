// SPDX-License-Identifier: Apache-2.0

package mib

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// New returns a variable by its name.
func New(name string) (*Variable, error) {
	key, err := unix.ByteSliceFromString(name)
	if err != nil {
		return nil, fmt.Errorf("sysctl %q: %w", name, err)
	}
	return &Variable{name: name, call: func(dst []byte) (int, error) { return byName(key, dst) }}, nil
}

// byName asks for a variable by its name, which ends in NUL. The call is there
// since FreeBSD 12.2.
func byName(name, dst []byte) (int, error) {
	length := uintptr(len(dst))
	var at unsafe.Pointer
	if len(dst) > 0 {
		at = unsafe.Pointer(&dst[0])
	}
	_, _, errno := unix.Syscall6(unix.SYS___SYSCTLBYNAME, uintptr(unsafe.Pointer(&name[0])), uintptr(len(name)-1),
		uintptr(at), uintptr(unsafe.Pointer(&length)), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(length), nil
}

// Numbered returns a variable that has numbers, but no name of its own: the name is
// for errors.
func Numbered(name string, numbers ...int32) *Variable {
	return &Variable{name: name, call: func(dst []byte) (int, error) {
		length := uintptr(len(dst))
		var at unsafe.Pointer
		if len(dst) > 0 {
			at = unsafe.Pointer(&dst[0])
		}
		_, _, errno := unix.Syscall6(unix.SYS___SYSCTL, uintptr(unsafe.Pointer(&numbers[0])), uintptr(len(numbers)),
			uintptr(at), uintptr(unsafe.Pointer(&length)), 0, 0)
		if errno != 0 {
			return 0, errno
		}
		return int(length), nil
	}}
}

// Int returns a variable that is a C int.
func Int(name string) (int32, error) {
	v, err := unix.SysctlUint32(name)
	if err != nil {
		return 0, fmt.Errorf("sysctl %s: %w", name, err)
	}
	return int32(v), nil
}

// Timeval returns a variable that is a struct timeval, in microseconds.
func Timeval(name string) (int64, error) {
	tv, err := unix.SysctlTimeval(name)
	if err != nil {
		return 0, fmt.Errorf("sysctl %s: %w", name, err)
	}
	return tv.Nano() / 1000, nil
}

// PerProcess is a variable that there is one of for each process, such as
// kern.proc.pid.
type PerProcess struct {
	name string
	mib  [4]int32
}

// The variables of a process: CTL_KERN, KERN_PROC and a number of
// <sys/sysctl.h>.
var (
	ProcessInfo     = PerProcess{"kern.proc.pid", [4]int32{1, 14, 1}}       // KERN_PROC_PID: struct kinfo_proc
	ProcessArgs     = PerProcess{"kern.proc.args", [4]int32{1, 14, 7}}      // KERN_PROC_ARGS: each ends in NUL
	ProcessPathname = PerProcess{"kern.proc.pathname", [4]int32{1, 14, 12}} // KERN_PROC_PATHNAME: ends in NUL
)

// Read reads the variable of one process into dst, as far as that takes it.
// Of a process that is gone or hidden from us the error is ESRCH, and so it is
// where nothing is written.
func (p PerProcess) Read(pid int32, dst []byte) ([]byte, error) {
	p.mib[3] = pid
	length := uintptr(len(dst))
	_, _, errno := unix.Syscall6(unix.SYS___SYSCTL, uintptr(unsafe.Pointer(&p.mib)), uintptr(len(p.mib)),
		uintptr(unsafe.Pointer(&dst[0])), uintptr(unsafe.Pointer(&length)), 0, 0)
	if errno != 0 && !errors.Is(errno, unix.ENOMEM) {
		return nil, fmt.Errorf("sysctl %s.%s: %w", p.name, strconv.Itoa(int(pid)), errno)
	}
	if length == 0 {
		return nil, fmt.Errorf("sysctl %s.%s is empty: %w", p.name, strconv.Itoa(int(pid)), unix.ESRCH)
	}
	return dst[:min(int(length), len(dst))], nil
}

// Version returns the kernel's __FreeBSD_version, such as 1501000 for 15.1. A
// jail may be told another one (osreldate in jail(8)).
func Version() (int, error) {
	b, err := unix.SysctlRaw("kern.osreldate")
	if err == nil && len(b) != 4 {
		err = fmt.Errorf("%d bytes for an int", len(b))
	}
	if err != nil {
		return 0, fmt.Errorf("sysctl kern.osreldate: %w", err)
	}
	return int(binary.NativeEndian.Uint32(b)), nil
}
