// SPDX-License-Identifier: Apache-2.0

package netnstest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// EnterJail makes a jail, with a network stack of its own or with the host's, and
// enters it with the whole process, for good: jail_set(2) with JAIL_CREATE and
// JAIL_ATTACH. The jail goes with its last process.
func EnterJail(name string, vnet bool) (id int, err error) {
	const createAndAttach = 1 | 4
	number := func(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }
	message := make([]byte, 256)
	params := [][]byte{[]byte("path\x00"), []byte("/\x00"), []byte("name\x00"), []byte(name + "\x00"), []byte("errmsg\x00"), message}
	if vnet {
		params = append(params, []byte("vnet\x00"), number(1)) // JAIL_SYS_NEW
	} else {
		params = append(params, []byte("ip4\x00"), number(2), []byte("ip6\x00"), number(2)) // JAIL_SYS_INHERIT
	}
	vector := make([]unix.Iovec, len(params))
	for i, p := range params {
		vector[i].Base = &p[0]
		vector[i].SetLen(len(p))
	}
	jid, _, errno := unix.Syscall(unix.SYS_JAIL_SET, uintptr(unsafe.Pointer(&vector[0])), uintptr(len(vector)), createAndAttach)
	runtime.KeepAlive(params)
	if errno != 0 {
		text, _, _ := bytes.Cut(message, []byte{0})
		return 0, fmt.Errorf("jail_set: %w (%s)", errno, text)
	}
	return int(jid), nil
}

// SetAddress gives an interface an IPv4 address and brings it up, as ifconfig(8) does.
func SetAddress(name string, addr [4]byte, bits int) error {
	var alias struct { // struct ifaliasreq of <net/if.h>
		name             [16]byte
		addr, peer, mask unix.RawSockaddrInet4
		vhid             int32
	}
	copy(alias.name[:], name)
	alias.addr = unix.RawSockaddrInet4{Len: unix.SizeofSockaddrInet4, Family: unix.AF_INET, Addr: addr}
	alias.mask = unix.RawSockaddrInet4{Len: unix.SizeofSockaddrInet4, Family: unix.AF_INET}
	binary.BigEndian.PutUint32(alias.mask.Addr[:], ^uint32(0)<<(32-bits))
	const siocAIFADDR = 0x8044692b
	return control(siocAIFADDR, unsafe.Pointer(&alias))
}

// ifreq is struct ifreq of <net/if.h>.
type ifreq struct {
	name [16]byte
	jid  int32
	_    [12]byte
}

// NewEpair makes a pair of interfaces and returns their names.
func NewEpair() (a, b string, err error) {
	const siocIFCREATE = 0xc020697a
	var req ifreq
	copy(req.name[:], "epair")
	if err := control(siocIFCREATE, unsafe.Pointer(&req)); err != nil {
		return "", "", err
	}
	name, _, _ := bytes.Cut(req.name[:], []byte{0})
	return string(name), string(name[:len(name)-1]) + "b", nil
}

// Destroy destroys an interface, and of a pair the other, too.
func Destroy(name string) error {
	const siocIFDESTROY = 0x80206979
	var req ifreq
	copy(req.name[:], name)
	return control(siocIFDESTROY, unsafe.Pointer(&req))
}

// Move moves an interface into the network stack of a jail.
func Move(name string, jid int) error {
	const siocSIFVNET = 0xc020695a
	req := ifreq{jid: int32(jid)}
	copy(req.name[:], name)
	return control(siocSIFVNET, unsafe.Pointer(&req))
}

func control(request uintptr, arg unsafe.Pointer) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(s), request, uintptr(arg)); errno != 0 {
		return errors.Join(fmt.Errorf("interface request %#x: %w", request, errno), unix.Close(s))
	}
	return unix.Close(s)
}
