// SPDX-License-Identifier: Apache-2.0

//go:build freebsd

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"
)

// openConsole makes the console our standard input, output and error.
func openConsole() error {
	fd, err := syscall.Open("/dev/console", syscall.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("open /dev/console: %w", err)
	}
	for i := range 3 {
		if err := syscall.Dup2(fd, i); err != nil {
			return err
		}
	}
	// As long as somebody reads it, what the kernel logs (log(9), not printf(9)) does
	// not come to the console, in the middle of our lines.
	klog, err := os.Open("/dev/klog")
	if err != nil {
		return err
	}
	go discard(klog)
	return nil
}

// drainConsole waits until all that was written is out. The kernel does not wait for
// that when it has to say something.
func drainConsole() {
	const tiocDRAIN = 0x2000745e // <sys/ttycom.h>
	_, _, _ = syscall.Syscall(syscall.SYS_IOCTL, 1, tiocDRAIN, 0)
}

// furnish makes what programs expect to find.
func furnish() error {
	if err := remountRoot(); err != nil {
		return err
	}
	if err := os.MkdirAll("/tmp", 0o777); err != nil {
		return err
	}
	if err := os.Chmod("/tmp", 0o777|os.ModeSticky); err != nil {
		return err
	}
	// Once it is up, the kernel gives lo0 ::1 and fe80::1, too.
	if err := configure("lo0", [4]byte{127, 0, 0, 1}, [4]byte{}, [4]byte{255, 0, 0, 0}); err != nil {
		return err
	}
	if err := voidUp(); err != nil {
		return err
	}
	// What one job leaves in TIME_WAIT is gone a second later, and not a minute.
	return setSysctl("net.inet.tcp.msl", 500)
}

// setSysctl sets a number.
func setSysctl(name string, value int32) error {
	// sysctl(3): the name of this one is {0, 3}, and it turns a name into numbers.
	var (
		lookup = [2]int32{0, 3}
		mib    [24]int32
		size   = unsafe.Sizeof(mib)
		text   = []byte(name)
	)
	if _, _, errno := syscall.Syscall6(syscall.SYS___SYSCTL, uintptr(unsafe.Pointer(&lookup)), uintptr(len(lookup)),
		uintptr(unsafe.Pointer(&mib)), uintptr(unsafe.Pointer(&size)), uintptr(unsafe.Pointer(&text[0])), uintptr(len(text))); errno != 0 {
		return fmt.Errorf("look up %s: %w", name, errno)
	}
	if _, _, errno := syscall.Syscall6(syscall.SYS___SYSCTL, uintptr(unsafe.Pointer(&mib)), size/unsafe.Sizeof(mib[0]),
		0, 0, uintptr(unsafe.Pointer(&value)), unsafe.Sizeof(value)); errno != 0 {
		return fmt.Errorf("set %s: %w", name, errno)
	}
	return nil
}

// remountRoot makes the root file system, which the kernel mounts for reading only,
// writable.
func remountRoot() error {
	const mntUpdate = 0x10000 // <sys/mount.h>
	var options []syscall.Iovec
	for _, s := range []string{"fstype", "ufs", "fspath", "/", "from", "/dev/vtbd0", "rw", ""} {
		text, err := syscall.ByteSliceFromString(s)
		if err != nil {
			return err
		}
		option := syscall.Iovec{Base: &text[0], Len: uint64(len(text))}
		if s == "" { // an option without a value
			option = syscall.Iovec{}
		}
		options = append(options, option)
	}
	_, _, errno := syscall.Syscall(syscall.SYS_NMOUNT, uintptr(unsafe.Pointer(&options[0])), uintptr(len(options)), mntUpdate)
	runtime.KeepAlive(options)
	if errno != 0 {
		return fmt.Errorf("mount the root file system for writing: %w", errno)
	}
	return nil
}

// voidUp makes a network of which nothing ever comes back, for the tests to send to:
// a tun(4) of which everything is thrown away. 192.0.2.1 is here, 192.0.2.2 is not.
func voidUp() error {
	tun, err := os.OpenFile("/dev/tun0", os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil // a kernel without: what wants it is skipped
	}
	if err != nil {
		return err
	}
	go discard(tun)
	return configure("tun0", [4]byte{192, 0, 2, 1}, [4]byte{192, 0, 2, 2}, [4]byte{255, 255, 255, 255})
}

// discard reads a device as long as there is something to read.
func discard(device *os.File) {
	for buf := make([]byte, 1<<16); ; {
		if _, err := device.Read(buf); err != nil {
			return
		}
	}
}

// configure gives an interface an address, and the peer's where it has a peer, and
// sets it up.
func configure(name string, addr, peer, mask [4]byte) error {
	const (
		ifNameSize = 16
		iffUp      = 1
		// <sys/sockio.h>, amd64 and arm64.
		siocAIFADDR   = 0x8044692b // struct ifaliasreq
		siocGIFFLAGS  = 0xc0206911 // struct ifreq
		siocSIFFLAGS  = 0x80206910 // struct ifreq
		sizeofSockIn  = 16
		sizeofAlias   = ifNameSize + 3*sizeofSockIn + 4
		sizeofRequest = ifNameSize + 16
	)
	s, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(s)
	ioctl := func(what string, request uintptr, arg []byte) error {
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(s), request, uintptr(unsafe.Pointer(&arg[0]))); errno != 0 {
			return fmt.Errorf("%s of %s: %w", what, name, errno)
		}
		return nil
	}

	// The address, the peer or broadcast address, the mask: a struct sockaddr_in each.
	alias := make([]byte, sizeofAlias)
	copy(alias, name)
	for i, a := range [][4]byte{addr, peer, mask} {
		if a != ([4]byte{}) {
			sockaddr := alias[ifNameSize+i*sizeofSockIn:]
			sockaddr[0], sockaddr[1] = sizeofSockIn, syscall.AF_INET
			copy(sockaddr[4:], a[:])
		}
	}
	if err := ioctl("SIOCAIFADDR", siocAIFADDR, alias); err != nil {
		return err
	}

	request := make([]byte, sizeofRequest)
	copy(request, name)
	if err := ioctl("SIOCGIFFLAGS", siocGIFFLAGS, request); err != nil {
		return err
	}
	flags := request[ifNameSize:]
	binary.LittleEndian.PutUint16(flags, binary.LittleEndian.Uint16(flags)|iffUp)
	return ioctl("SIOCSIFFLAGS", siocSIFFLAGS, request)
}

// loadModule loads a kernel module from a file.
func loadModule(path string) error { return kld("kldload", syscall.SYS_KLDLOAD, path, nil) }

// unloadModule unloads a kernel module by the name of its file.
func unloadModule(name string) error {
	var id uintptr
	if err := kld("kldfind", syscall.SYS_KLDFIND, name, &id); err != nil {
		return err
	}
	if _, _, errno := syscall.Syscall(syscall.SYS_KLDUNLOAD, id, 0, 0); errno != 0 {
		return fmt.Errorf("kldunload %s: %w", name, errno)
	}
	return nil
}

func kld(what string, call uintptr, name string, id *uintptr) error {
	p, err := syscall.BytePtrFromString(name)
	if err != nil {
		return err
	}
	r, _, errno := syscall.Syscall(call, uintptr(unsafe.Pointer(p)), 0, 0)
	runtime.KeepAlive(p)
	if errno != 0 {
		return fmt.Errorf("%s %s: %w", what, name, errno)
	}
	if id != nil {
		*id = r
	}
	return nil
}

func powerOff() {
	const rbPowerOff = 0x4000 // <sys/reboot.h>
	syscall.Sync()
	_, _, errno := syscall.Syscall(syscall.SYS_REBOOT, rbPowerOff, 0, 0)
	fmt.Println("reboot:", errno)
}
