// SPDX-License-Identifier: Apache-2.0

package kmod

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// These tests want a kernel to themselves: `make test-freebsd KERNEL=… KMOD=…`.
// TCPSTATS_KMOD names the module, which they load and unload. What the kernel
// says on its console meanwhile is judged by whoever reads it.

const deviceText = Device + ".text"

// module has the module loaded, as it is found at the end of the test.
func module(t testing.TB) string {
	t.Helper()
	path := os.Getenv("TCPSTATS_KMOD")
	if path == "" {
		t.Skip("the kernel module is not tested: TCPSTATS_KMOD does not name it")
	}
	if os.Getuid() != 0 {
		t.Skip("the kernel module is not tested: only root may load it")
	}
	_, err := kldfind(path)
	was := err == nil
	if !was {
		require.NoError(t, kldload(path))
	}
	t.Cleanup(func() {
		id, err := kldfind(path)
		switch {
		case err == nil && !was:
			require.NoError(t, kldunload(id, false))
		case err != nil && was:
			require.NoError(t, kldload(path))
		}
		if was {
			require.Zero(t, number(t, "held_records"), "memory of walks")
		}
	})
	return path
}

func kldload(path string) error {
	p, err := unix.BytePtrFromString(path)
	if err != nil {
		return err
	}
	if _, _, errno := unix.Syscall(unix.SYS_KLDLOAD, uintptr(unsafe.Pointer(p)), 0, 0); errno != 0 {
		return errno
	}
	return nil
}

func kldfind(path string) (int, error) {
	p, err := unix.BytePtrFromString(filepath.Base(path))
	if err != nil {
		return 0, err
	}
	id, _, errno := unix.Syscall(unix.SYS_KLDFIND, uintptr(unsafe.Pointer(p)), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(id), nil
}

func kldunload(id int, force bool) error {
	var flags uintptr // LINKER_UNLOAD_NORMAL
	if force {
		flags = 1 // LINKER_UNLOAD_FORCE
	}
	if _, _, errno := unix.Syscall(unix.SYS_KLDUNLOADF, uintptr(id), flags, 0); errno != 0 {
		return errno
	}
	return nil
}

// users are those who open the devices while the module comes and goes.
//
// When a descriptor is used whose device is gone, FreeBSD 13's devfs_fp_check looks at a
// pointer that it has not set (15.1's does not). Without INVARIANTS that is harmless;
// with it, the pointer is followed, and the kernel panics now and then, whosever device
// it is. There, nobody has a device open while the module is unloaded.
type users struct {
	devices sync.RWMutex
	apart   bool
}

func newUsers(t testing.TB) *users {
	t.Helper()
	release, err := unix.SysctlUint32("kern.osreldate")
	require.NoError(t, err)
	checks, err := unix.SysctlUint32("kern.features.invariants")
	u := &users{apart: release < 1_400_000 && err == nil && checks != 0}
	if u.apart {
		t.Log("FreeBSD 13 with INVARIANTS: the module is unloaded while nobody has its devices open")
	}
	return u
}

// use is called before a device is opened, and what it returns once that is closed.
func (u *users) use() (done func()) {
	if !u.apart {
		return func() {}
	}
	u.devices.RLock()
	return u.devices.RUnlock
}

func (u *users) unload(id int, force bool) error {
	if u.apart {
		u.devices.Lock()
		defer u.devices.Unlock()
	}
	return kldunload(id, force)
}

// anyHost has a fake host's numbers, and handshakes that are not looked at.
type anyHost struct{ fakeHost }

func (anyHost) Embryos(context.Context, uint64, func(*tcp.Socket) error) error { return nil }

// number reads one of the module's own.
func number(t testing.TB, name string) uint64 {
	t.Helper()
	b, err := unix.SysctlRaw("net.inet.tcp.tcpstats." + name)
	require.NoError(t, err)
	if len(b) == 4 {
		return uint64(binary.NativeEndian.Uint32(b))
	}
	return binary.NativeEndian.Uint64(b)
}

// setSysctl sets an integer and sets it back at the end of the test.
func setSysctl(t testing.TB, name string, value uint64) {
	t.Helper()
	old, err := unix.SysctlRaw(name)
	require.NoError(t, err)
	b := make([]byte, 8)
	binary.NativeEndian.PutUint64(b, value)
	require.NoError(t, writeSysctl(name, b[:len(old)]))
	t.Cleanup(func() { require.NoError(t, writeSysctl(name, old)) })
}

func writeSysctl(name string, value []byte) error {
	// {0, 3} gives the numbers of a name: sysctl(3), sysctlnametomib.
	var mib [24]int32
	size := unsafe.Sizeof(mib)
	n := []byte(name)
	_, _, errno := unix.Syscall6(unix.SYS___SYSCTL, uintptr(unsafe.Pointer(&[2]int32{0, 3})), 2,
		uintptr(unsafe.Pointer(&mib)), uintptr(unsafe.Pointer(&size)), uintptr(unsafe.Pointer(&n[0])), uintptr(len(n)))
	if errno != 0 {
		return errno
	}
	_, _, errno = unix.Syscall6(unix.SYS___SYSCTL, uintptr(unsafe.Pointer(&mib)), size/4, 0, 0,
		uintptr(unsafe.Pointer(&value[0])), uintptr(len(value)))
	if errno != 0 {
		return errno
	}
	return nil
}

func setAllVnets(f *os.File, v int32) error { return request(f, requestAllVnets, unsafe.Pointer(&v)) }

func openDevice(t testing.TB) *os.File {
	t.Helper()
	f, err := os.Open(Device)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() }) // a test may have closed it
	return f
}

// raw is a record as the kernel wrote it.
type raw []byte

func (r raw) u8(at int) uint8   { return r[at] }
func (r raw) u32(at int) uint32 { return binary.NativeEndian.Uint32(r[at:]) }
func (r raw) u64(at int) uint64 { return binary.NativeEndian.Uint64(r[at:]) }
func (r raw) u16(at int) uint16 { return binary.NativeEndian.Uint16(r[at:]) }

func (r raw) endpoints() [2]netip.AddrPort {
	d := NewDecoder()
	return [2]netip.AddrPort{
		netip.AddrPortFrom(d.addr(r, atLocal), r.u16(atLocalPort)),
		netip.AddrPortFrom(d.addr(r, atPeer), r.u16(atPeerPort)),
	}
}

// snapshot is one walk.
type snapshot struct {
	header  raw
	records []raw
	trailer Trailer
}

var errInconsistent = errors.New("header, records and trailer do not go together")

// takeWalk reads one walk from its beginning with reads of size bytes.
func takeWalk(f *os.File, size int) (*snapshot, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	var b []byte
	for buf := make([]byte, size); ; {
		n, err := f.Read(buf)
		b = append(b, buf[:n]...)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	h, err := parseHeader(b)
	if err != nil {
		return nil, err
	}
	s := &snapshot{header: raw(b[:h.headerLen])}
	rest := b[h.headerLen:]
	if uint64(len(rest)) != h.count*uint64(h.recordLen)+uint64(h.trailerLen) {
		return nil, errInconsistent
	}
	for range h.count {
		s.records = append(s.records, raw(rest[:h.recordLen]))
		rest = rest[h.recordLen:]
	}
	if s.trailer, err = parseTrailer(rest); err != nil {
		return nil, err
	}
	if tr := s.trailer; tr.Records != h.count || tr.Seen != tr.Records+tr.Withheld+tr.Cut+tr.Fresh {
		return nil, errInconsistent
	}
	return s, nil
}

func walkOnce(t testing.TB) *snapshot {
	t.Helper()
	s, err := takeWalk(openDevice(t), bufferLen)
	require.NoError(t, err)
	return s
}

// find returns the record of a connection.
func (s *snapshot) find(local, peer netip.AddrPort) raw {
	for _, r := range s.records {
		if r.endpoints() == [2]netip.AddrPort{local, peer} {
			return r
		}
	}
	return nil
}

func addrPort(a net.Addr) netip.AddrPort {
	ap := a.(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// pair connects two sockets, each of which control has seen first.
func pair(t testing.TB, network, address string, control func(fd int) error) (client, server *net.TCPConn) {
	t.Helper()
	hook := func(_, _ string, c syscall.RawConn) error {
		var err error
		if e := c.Control(func(fd uintptr) {
			if control != nil {
				err = control(int(fd))
			}
		}); e != nil {
			return e
		}
		return err
	}
	l, err := (&net.ListenConfig{Control: hook}).Listen(t.Context(), network, address)
	require.NoError(t, err)
	defer l.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			close(accepted)
			return
		}
		accepted <- c
	}()
	dialer := net.Dialer{Control: hook, Timeout: 10 * time.Second}
	c, err := dialer.DialContext(t.Context(), "tcp", l.Addr().String())
	require.NoError(t, err)
	s, ok := <-accepted
	require.True(t, ok)
	t.Cleanup(func() { c.Close(); s.Close() })
	return c.(*net.TCPConn), s.(*net.TCPConn)
}
