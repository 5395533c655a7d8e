// SPDX-License-Identifier: Apache-2.0

package kmod

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

const (
	tcpInfo        = 32   // TCP_INFO
	tcpCongestion  = 64   // TCP_CONGESTION
	tcpFunctionBlk = 8192 // TCP_FUNCTION_BLK, with struct tcp_function_set: a name of 32 bytes and a number
	fionread       = 0x4004667f
)

func getsockopt(t testing.TB, c *net.TCPConn, level, option int) raw {
	t.Helper()
	b := make([]byte, 512)
	n := uint32(len(b))
	rc, err := c.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, rc.Control(func(fd uintptr) {
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, uintptr(level), uintptr(option), uintptr(unsafe.Pointer(&b[0])), uintptr(unsafe.Pointer(&n)), 0)
		require.Zero(t, errno, "getsockopt %d", option)
	}))
	return raw(b[:n])
}

func setStack(name string) func(fd int) error {
	return func(fd int) error {
		b := make([]byte, 36)
		copy(b, name)
		return unix.SetsockoptString(fd, unix.IPPROTO_TCP, tcpFunctionBlk, string(b))
	}
}

// fieldOf is one value that TCP_INFO and the record both have.
type fieldOf struct {
	name   string
	info   func(raw) uint64 // struct tcp_info of <netinet/tcp.h>
	record func(raw) uint64
	since  int // the kernel's major version
}

func at32(at int) func(raw) uint64 { return func(r raw) uint64 { return uint64(r.u32(at)) } }
func at8(at int) func(raw) uint64  { return func(r raw) uint64 { return uint64(r.u8(at)) } }

// flag is 1 where all of bits are set.
func flag(get func(raw) uint64, bits uint64) func(raw) uint64 {
	return func(r raw) uint64 {
		if get(r)&bits != 0 {
			return 1
		}
		return 0
	}
}

var fieldsOfInfo = []fieldOf{
	{"state", at8(0), at8(atState), 13},
	{"timestamps", flag(at8(5), 1), flag(at32(atFlags), 1), 13},
	{"SACK", flag(at8(5), 2), flag(at32(atFlags), 2), 13},
	{"window scaling", flag(at8(5), 4), flag(at32(atFlags), 4), 13},
	{"ECN", flag(at8(5), 8), flag(at32(atFlags), 8), 13},
	{"snd_wscale", func(r raw) uint64 { return uint64(r[6] & 15) }, at8(atSendScale), 13},
	{"rcv_wscale", func(r raw) uint64 { return uint64(r[6] >> 4) }, at8(atRecvScale), 13},
	{"rto", at32(8), at32(atRTO), 13},
	{"snd_mss", at32(16), at32(atMaxseg), 13},
	{"rtt", at32(68), at32(atSRTT), 13},
	{"rttvar", at32(72), at32(atRTTVar), 13},
	{"snd_ssthresh", at32(76), at32(atSsthresh), 13},
	{"snd_cwnd", at32(80), at32(atCwnd), 13},
	{"rcv_space", at32(96), at32(atRecvWnd), 13},
	{"snd_wnd", at32(100), at32(atSendWnd), 13},
	{"snd_nxt", at32(108), at32(atSendNxt), 13},
	{"rcv_nxt", at32(112), at32(atRecvNxt), 13},
	{"snd_rexmitpack", at32(120), at32(atRexmits), 13},
	{"rcv_ooopack", at32(124), at32(atOutOfOrder), 13},
	{"snd_zerowin", at32(128), at32(atZeroWindows), 13},
	{"delivered_ce", at32(132), at32(atDeliveredCE), 14},
	{"received_ce", at32(136), at32(atReceivedCE), 14},
	{"snd_una", at32(176), at32(atSendUna), 14},
	{"snd_max", at32(180), at32(atSendMax), 14},
	{"rcv_numsacks", at32(184), at32(atRecvSacks), 14},
	{"rcv_adv", at32(188), at32(atRecvAdv), 14},
	{"dupacks", at32(192), at32(atDupacks), 14},
}

// notOfRACK are the members that RACK's own TCP_INFO leaves 0.
var notOfRACK = map[string]bool{"snd_una": true, "snd_max": true, "rcv_numsacks": true, "rcv_adv": true, "dupacks": true,
	"delivered_ce": true, "received_ce": true}

const infoLastDataReceived = 52 // µs

// quiet returns the record of a connection at a moment at which its owner's
// TCP_INFO did not change.
func quiet(t *testing.T, c *net.TCPConn) (info, record raw) {
	t.Helper()
	f := openDevice(t)
	for range 50 {
		before := getsockopt(t, c, unix.IPPROTO_TCP, tcpInfo)
		s, err := takeWalk(f, bufferLen)
		require.NoError(t, err)
		after := getsockopt(t, c, unix.IPPROTO_TCP, tcpInfo)
		record = s.find(addrPort(c.LocalAddr()), addrPort(c.RemoteAddr()))
		require.NotNil(t, record, "no record of %v", c.LocalAddr())
		idle := record.u64(atIdleRecv)
		stable := append(raw{}, before...)
		copy(stable[infoLastDataReceived:], after[infoLastDataReceived:infoLastDataReceived+4])
		if bytes.Equal(stable, after) && uint64(before.u32(infoLastDataReceived)) <= idle && idle <= uint64(after.u32(infoLastDataReceived)) {
			return after, record
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("TCP_INFO of %v never stands still, or the time since the last segment is another", c.LocalAddr())
	return nil, nil
}

// Each record says what the owner of the socket is told.
func TestRecordsAreTCPInfo(t *testing.T) {
	module(t)
	release, err := unix.SysctlUint32("kern.osreldate")
	require.NoError(t, err)
	major := int(release / 100000)

	conns := map[string]*net.TCPConn{}
	add := func(name string, c, s *net.TCPConn) { conns[name+" client"], conns[name+" server"] = c, s }
	exchange := func(c, s *net.TCPConn, n int) {
		for range n {
			_, err := c.Write(make([]byte, 1000))
			require.NoError(t, err)
			_, err = io.ReadFull(s, make([]byte, 1000))
			require.NoError(t, err)
			_, err = s.Write(make([]byte, 10))
			require.NoError(t, err)
			_, err = io.ReadFull(c, make([]byte, 10))
			require.NoError(t, err)
		}
	}
	for name, address := range map[string]string{"ipv4": "127.0.0.1:0", "ipv6": "[::1]:0"} {
		c, s := pair(t, "tcp", address, nil)
		exchange(c, s, 50)
		add(name, c, s)
	}
	{ // An IPv6 socket with an IPv4 connection.
		l, err := net.Listen("tcp", "[::]:0")
		require.NoError(t, err)
		defer l.Close()
		c, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", l.Addr().(*net.TCPAddr).Port))
		require.NoError(t, err)
		defer c.Close()
		s, err := l.Accept()
		require.NoError(t, err)
		defer s.Close()
		exchange(c.(*net.TCPConn), s.(*net.TCPConn), 3)
		add("mapped", c.(*net.TCPConn), s.(*net.TCPConn))
	}
	{ // The receiver does not read: its window closes.
		c, s := pair(t, "tcp", "127.0.0.1:0", func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 8192) })
		require.NoError(t, c.SetWriteDeadline(time.Now().Add(time.Second)))
		_, err := c.Write(make([]byte, 1<<20))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		add("stalled", c, s)
	}
	{ // A FIN one way.
		c, s := pair(t, "tcp", "127.0.0.1:0", nil)
		exchange(c, s, 3)
		require.NoError(t, c.CloseWrite())
		add("half-closed", c, s)
	}
	{ // No timestamps, no window scaling.
		setSysctl(t, "net.inet.tcp.rfc1323", 0)
		c, s := pair(t, "tcp", "127.0.0.1:0", nil)
		exchange(c, s, 3)
		add("without rfc1323", c, s)
		require.NoError(t, writeSysctl("net.inet.tcp.rfc1323", []byte{1, 0, 0, 0}))
	}
	if l, err := (&net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		if e := c.Control(func(fd uintptr) { err = setStack("rack")(int(fd)) }); e != nil {
			return e
		}
		return err
	}}).Listen(t.Context(), "tcp", "127.0.0.1:0"); err == nil {
		require.NoError(t, l.Close())
		c, s := pair(t, "tcp", "127.0.0.1:0", setStack("rack"))
		exchange(c, s, 50)
		add("rack", c, s)
	} else {
		t.Logf("without RACK, which this kernel does not have: %v", err)
	}
	time.Sleep(300 * time.Millisecond) // delayed ACKs

	equal, compared := map[string]int{}, map[string]int{}
	for name, c := range conns {
		info, record := quiet(t, c)
		rack := strings.HasPrefix(name, "rack")
		for _, f := range fieldsOfInfo {
			if f.since > major || rack && notOfRACK[f.name] {
				continue
			}
			// Before the first sample TCP_INFO shows the initial value.
			if strings.HasPrefix(f.name, "rtt") && record.u32(atValid)&validRTT == 0 {
				continue
			}
			compared[f.name]++
			if assert.Equal(t, f.info(info), f.record(record), "%s of %s", f.name, name) {
				equal[f.name]++
			}
		}
		if major >= 14 {
			// tcpi_rttmin is not converted: ms where there are timestamps, else ticks;
			// µs in RACK.
			factor := uint64(1000)
			if rack {
				factor = 1
			} else if record.u32(atFlags)&1 == 0 {
				hz, err := unix.SysctlClockinfo("kern.clockrate")
				require.NoError(t, err)
				factor = uint64(hz.Tick)
			}
			compared["rttmin"]++
			if assert.Equal(t, uint64(info.u32(196))*factor, uint64(record.u32(atRTTMin)), "rttmin of %s", name) {
				equal["rttmin"]++
			}
		}
		others := map[string][2]uint64{
			"SO_SNDBUF": {uint64(getsockopt(t, c, unix.SOL_SOCKET, unix.SO_SNDBUF).u32(0)), uint64(record.u32(atSendLimit))},
			"SO_RCVBUF": {uint64(getsockopt(t, c, unix.SOL_SOCKET, unix.SO_RCVBUF).u32(0)), uint64(record.u32(atRecvLimit))},
			"FIONREAD":  {readable(t, c), uint64(record.u32(atRecvUsed))},
			"uid":       {0, uint64(record.u32(atUID))},
			"jail":      {0, uint64(record.u32(atJail))},
		}
		for what, v := range others {
			compared[what]++
			if assert.Equal(t, v[0], v[1], "%s of %s", what, name) {
				equal[what]++
			}
		}
		compared["names"]++
		cc := cString(getsockopt(t, c, unix.IPPROTO_TCP, tcpCongestion))
		stack := cString(getsockopt(t, c, unix.IPPROTO_TCP, tcpFunctionBlk)[:32])
		if assert.Equal(t, [2]string{cc, stack}, [2]string{cString(record[atCongestion : atCongestion+16]), cString(record[atStack : atStack+32])}, name) {
			equal["names"]++
		}
		compared["kern.file"]++
		if assert.Contains(t, ownSockets(t), record.u64(atSocket), "the socket of %s in kern.file", name) {
			equal["kern.file"]++
		}
	}
	t.Logf("%d connections", len(conns))
	for _, f := range append(fieldsOfInfo, fieldOf{name: "rttmin"}, fieldOf{name: "SO_SNDBUF"}, fieldOf{name: "SO_RCVBUF"},
		fieldOf{name: "FIONREAD"}, fieldOf{name: "uid"}, fieldOf{name: "jail"}, fieldOf{name: "names"}, fieldOf{name: "kern.file"}) {
		t.Logf("| %-14s | equal in %2d of %2d |", f.name, equal[f.name], compared[f.name])
	}
}

func cString(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b)
}

func readable(t *testing.T, c *net.TCPConn) uint64 {
	t.Helper()
	var n int32
	rc, err := c.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, rc.Control(func(fd uintptr) {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, fionread, uintptr(unsafe.Pointer(&n)))
		require.Zero(t, errno)
	}))
	return uint64(n)
}

// ownSockets are the socket addresses of this process in kern.file: struct xfile
// of <sys/file.h>, of which xf_pid is at 8 and xf_data at 56.
func ownSockets(t *testing.T) (all []uint64) {
	t.Helper()
	b, err := unix.SysctlRaw("kern.file")
	require.NoError(t, err)
	for len(b) >= 64 {
		n := binary.NativeEndian.Uint64(b)
		if int(binary.NativeEndian.Uint32(b[8:])) == os.Getpid() {
			all = append(all, binary.NativeEndian.Uint64(b[56:]))
		}
		b = b[n:]
	}
	return all
}

// The bytes that both ends know of are those that the source tells.
func TestByteCountsInTheKernel(t *testing.T) {
	module(t)
	s, err := Open(t.Context(), Device, anyHost{})
	require.NoError(t, err)
	defer s.Close()
	find := func(c *net.TCPConn) (found tcp.Socket) {
		require.NoError(t, s.Sockets(t.Context(), func(sock *tcp.Socket) error {
			if sock.Local == addrPort(c.LocalAddr()) && sock.Peer == addrPort(c.RemoteAddr()) {
				found = *sock
			}
			return nil
		}))
		return found
	}
	for _, stack := range []string{"freebsd", "rack"} {
		t.Run(stack, func(t *testing.T) {
			probe, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
			require.NoError(t, err)
			err = setStack(stack)(probe)
			require.NoError(t, unix.Close(probe))
			if err != nil {
				t.Skipf("this kernel has no stack %s: %v", stack, err)
			}
			c, server := pair(t, "tcp", "127.0.0.1:0", setStack(stack))
			const there, back = 3_000_017, 1_234_567
			go func() { _, _ = c.Write(make([]byte, there)) }()
			_, err = io.ReadFull(server, make([]byte, there))
			require.NoError(t, err)
			go func() { _, _ = server.Write(make([]byte, back)) }()
			_, err = io.ReadFull(c, make([]byte, back))
			require.NoError(t, err)
			settled := func() bool { a, b := find(c), find(server); return a.BytesAcked == there && b.BytesAcked == back }
			require.Eventually(t, settled, 10*time.Second, 50*time.Millisecond, "%+v %+v", find(c), find(server))
			a, b := find(c), find(server)
			assert.Equal(t, [2]uint64{there + a.BytesRetransmitted, back}, [2]uint64{a.BytesSent, a.BytesReceived})
			assert.Equal(t, [2]uint64{back + b.BytesRetransmitted, there}, [2]uint64{b.BytesSent, b.BytesReceived})
			if stack == "freebsd" { // RACK counts bytes alone
				assert.Equal(t, a.Retransmits > 0, a.BytesRetransmitted > 0, "%d and %d", a.Retransmits, a.BytesRetransmitted)
			}
			assert.True(t, a.Has(tcp.FieldSmoothedRTT) && b.Has(tcp.FieldSmoothedRTT))
			assert.NotEqual(t, a.ID, b.ID)

			// FINs are no bytes.
			require.NoError(t, c.CloseWrite())
			require.Eventually(t, func() bool { return find(server).State == tcp.CloseWait && find(c).State == tcp.FinWait2 }, 5*time.Second, 20*time.Millisecond)
			assert.Equal(t, uint64(there), find(server).BytesReceived)
			assert.Equal(t, uint64(there), find(c).BytesAcked)
			assert.Equal(t, a.ID, find(c).ID)
		})
	}
}

// Listeners, connections nobody has accepted, and those still to be.
func TestOtherSockets(t *testing.T) {
	module(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	time.Sleep(100 * time.Millisecond)

	s := walkOnce(t)
	listener := s.find(addrPort(l.Addr()), netip.AddrPortFrom(netip.IPv4Unspecified(), 0))
	require.NotNil(t, listener)
	assert.Equal(t, uint8(tcp.Listen), listener.u8(atState))
	assert.NotZero(t, listener.u32(atValid)&validQueue)
	queued := s.find(addrPort(l.Addr()), addrPort(c.LocalAddr()))
	require.NotNil(t, queued)
	// Go accepts as soon as it is asked to, and nobody has asked.
	assert.Equal(t, uint32(1), listener.u32(atQueue))
	assert.NotZero(t, queued.u32(atFlags)&flagNotAccepted)
	assert.NotZero(t, queued.u64(atSocket))

	text, err := os.ReadFile(deviceText)
	require.NoError(t, err)
	assert.Contains(t, string(text), fmt.Sprintf("tcp4 %s 0.0.0.0:0 LISTEN uid=0 jail=0 vnet=0", l.Addr()))
	assert.Contains(t, string(text), fmt.Sprintf("tcp4 %s %s ESTABLISHED", c.LocalAddr(), l.Addr()))
	for _, line := range strings.SplitN(string(text), "\n", 4)[:3] {
		t.Log(line)
	}
}
