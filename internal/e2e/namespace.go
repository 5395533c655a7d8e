// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ownNamespace tells whether nothing but these tests talks in this process's
// network namespace.
func ownNamespace() bool { return os.Getenv(roleVariable) == roleNamespace }

// runInNamespace runs this binary once more, with the same arguments, in a new
// network namespace, and returns its exit code. Everything that it starts is in
// there, too.
func runInNamespace() (code int, err error) {
	// The child gets its signal when the thread that made it ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), roleVariable+"="+roleNamespace)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: unix.SIGKILL}
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return max(1, exit.ExitCode()), nil
	}
	return 0, err
}

// furnish makes a new network namespace one in which connections can be made:
// the loopback interface is up and has a link-local address. That is enough:
// traffic to an address of the host itself takes the loopback interface anyway,
// whichever interface the address belongs to.
func furnish() error {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	}
	if err != nil {
		return fmt.Errorf("socket for ioctl: %w", err)
	}
	defer unix.Close(fd)
	up, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	up.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, up); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		return err
	}
	// struct in6_ifreq of <linux/ipv6.h>. Without IPv6 there is no such address,
	// and the tests that want one say so.
	address := struct {
		addr      [16]byte
		prefixLen uint32
		ifindex   int32
	}{netip.MustParseAddr("fe80::5").As16(), 64, int32(lo.Index)}
	_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCSIFADDR, uintptr(unsafe.Pointer(&address)))
	return nil
}
