// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64 || riscv64

package bpfdev

import (
	"errors"
	"fmt"
	"sync"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/capture/filter"
	"github.com/netpulse/tcpstatsreceiver/internal/capture/packet"
)

// bufferLen is how many bytes a descriptor holds, twice: what is read, and what
// comes meanwhile. The kernel takes as much of it as sysctl net.bpf.maxbufsize
// allows.
const bufferLen = 256 << 10

// device is a descriptor of /dev/bpf for one interface.
type device struct {
	fd    int
	index int
	link  packet.Link

	mu      sync.Mutex
	last    uint32 // of the kernel's counter, which wraps
	dropped uint64
}

// errLink says that the link-layer header of an interface is not supported.
var errLink = errors.New("link of an unknown kind")

// openDevice opens a descriptor for an interface of the calling process's vnet.
func openDevice(name string, index int, ip []bpf.Instruction) (*device, int, error) {
	fd, err := unix.Open("/dev/bpf", unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return nil, 0, fmt.Errorf("open /dev/bpf: %w (let the user read it: own or perm in devfs.conf(5), or devfs.rules(5) in a jail; see docs/sources.md, Permissions)", err)
	case errors.Is(err, unix.ENOENT):
		return nil, 0, fmt.Errorf("open /dev/bpf: %w (the kernel is not built with device bpf, or the jail's devfs_ruleset hides it)", err)
	case err != nil:
		return nil, 0, fmt.Errorf("open /dev/bpf: %w", err)
	}
	d := &device{fd: fd, index: index}
	length, err := d.set(name, ip)
	if err != nil {
		return nil, 0, errors.Join(err, d.close())
	}
	return d, length, nil
}

// set chooses the interface and the filter, and returns how long reads are.
func (d *device) set(name string, ip []bpf.Instruction) (length int, err error) {
	wanted := uint32(bufferLen)
	if err := d.ioctl("the buffer's length", unix.BIOCSBLEN, unsafe.Pointer(&wanted)); err != nil {
		return 0, err
	}
	// struct ifreq of <net/if.h>: a name, and 16 bytes that do not matter here.
	var request [unix.IFNAMSIZ + 16]byte
	copy(request[:unix.IFNAMSIZ-1], name)
	if err := d.ioctl("the interface "+name, unix.BIOCSETIF, unsafe.Pointer(&request)); err != nil {
		return 0, err
	}
	var dlt uint32
	if err := d.ioctl("the kind of link of "+name, unix.BIOCGDLT, unsafe.Pointer(&dlt)); err != nil {
		return 0, err
	}
	link, ok := linkOf(dlt)
	if !ok {
		return 0, fmt.Errorf("%s: %w: DLT %d", name, errLink, dlt)
	}
	d.link = link
	if err := d.filter(link, ip); err != nil {
		return 0, err
	}
	at := uint32(1)
	if err := d.ioctl("immediate reads", unix.BIOCIMMEDIATE, unsafe.Pointer(&at)); err != nil {
		return 0, err
	}
	if err := d.ioctl("the buffer's length", unix.BIOCGBLEN, unsafe.Pointer(&wanted)); err != nil {
		return 0, err
	}
	return int(wanted), nil
}

// filter sets the filter. What came before it is thrown away.
func (d *device) filter(link packet.Link, ip []bpf.Instruction) error {
	linked, err := filter.ForLink(link, ip)
	if err != nil {
		return err
	}
	raw, err := bpf.Assemble(linked)
	if err != nil {
		return fmt.Errorf("assemble the filter of packets: %w", err)
	}
	if len(raw) == 0 {
		return errors.New("a filter of no instructions")
	}
	code := make([]unix.BpfInsn, len(raw))
	for i, r := range raw {
		code[i] = unix.BpfInsn{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	program := unix.BpfProgram{Len: uint32(len(code)), Insns: &code[0]}
	return d.ioctl("the filter", unix.BIOCSETF, unsafe.Pointer(&program))
}

func (d *device) ioctl(what string, request uintptr, argument unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(d.fd), request, uintptr(argument)); errno != 0 {
		return fmt.Errorf("/dev/bpf: %s: %w", what, errno)
	}
	return nil
}

// drops returns how many packets were lost for want of room.
func (d *device) drops() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	var stat unix.BpfStat
	if d.ioctl("counters", unix.BIOCGSTATS, unsafe.Pointer(&stat)) == nil {
		d.dropped += uint64(stat.Drop - d.last)
		d.last = stat.Drop
	}
	return d.dropped
}

func (d *device) close() error { return unix.Close(d.fd) }
