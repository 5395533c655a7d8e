// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64 || loong64 || ppc64le || riscv64)

package bpf

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// set sets an option of a socket.
func set(t testing.TB, of syscall.Conn, option func(fd int) error) {
	t.Helper()
	raw, err := of.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, control(option)("", "", raw))
}

// deaf makes a socket drop what arrives for it, but for segments with one of the
// flags.
func deaf(t testing.TB, of syscall.Conn, but uint32) {
	t.Helper()
	filter(t, of, []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 13}, // flags of the TCP header
		{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: but, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 1 << 18},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	})
}

func filter(t testing.TB, of syscall.Conn, program []unix.SockFilter) {
	t.Helper()
	var err error
	set(t, of, func(fd int) error {
		err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
		return nil
	})
	if errors.Is(err, unix.EPERM) {
		t.Skipf("socket filters are not to be had here: %v", err)
	}
	require.NoError(t, err)
}

// Flags of the TCP header.
const (
	flagSYN = 0x02
	flagPSH = 0x08
)

func hearing(t testing.TB, of syscall.Conn) {
	t.Helper()
	set(t, of, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0) })
}

func userTimeout(d time.Duration) func(fd int) error {
	return func(fd int) error {
		return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
	}
}

// listenPlain listens without MPTCP, whose listeners take no filter.
func listenPlain(t testing.TB) *net.TCPListener {
	t.Helper()
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(bg, "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() }) // a test may have closed it
	return l.(*net.TCPListener)
}

// awaitUnread waits until so many bytes wait for their reader.
func awaitUnread(t testing.TB, c *net.TCPConn, want int) {
	t.Helper()
	require.Eventually(t, func() bool {
		n := 0
		set(t, c, func(fd int) (err error) { n, err = unix.IoctlGetInt(fd, unix.TIOCINQ); return err })
		return n == want
	}, 5*time.Second, time.Millisecond)
}

// awaitFINAcked waits until a connection that was shut down is FIN_WAIT2: the
// acknowledgement may be 200 ms late.
func awaitFINAcked(t testing.TB, c *net.TCPConn) {
	t.Helper()
	require.Eventually(t, func() bool {
		var info *unix.TCPInfo
		set(t, c, func(fd int) (err error) {
			info, err = unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
			return err
		})
		state, _ := tcp.LinuxState(uint64(info.State))
		return state == tcp.FinWait2
	}, 5*time.Second, time.Millisecond)
}

// gone reads until the connection has ended, which should be soon.
func gone(c *net.TCPConn) {
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	_, _ = io.Copy(io.Discard, c)
	_ = c.SetReadDeadline(time.Time{})
}

// Every way that the kernel ends a connection, seen from both ends.
func TestCausesOfTheKernel(t *testing.T) {
	const none = tcp.NumCauses // no notice of that end within the test
	s := opened(t)
	c := closesOf(t, s)
	for name, tt := range map[string]struct {
		end            func(t *testing.T, client, server *net.TCPConn)
		client, server tcp.Cause
		left           [2]tcp.State
	}{
		"client closes first": {func(t *testing.T, client, server *net.TCPConn) {
			require.NoError(t, client.Close())
			gone(server)
			require.NoError(t, server.Close())
		}, tcp.LocalClose, tcp.PeerClose, [2]tcp.State{tcp.FinWait2, tcp.LastAck}},
		"server closes first": {func(t *testing.T, client, server *net.TCPConn) {
			require.NoError(t, server.Close())
			gone(client)
			require.NoError(t, client.Close())
		}, tcp.PeerClose, tcp.LocalClose, [2]tcp.State{tcp.LastAck, tcp.FinWait2}},
		"half-closed, then in order": {func(t *testing.T, client, server *net.TCPConn) {
			require.NoError(t, client.CloseWrite())
			gone(server)
			_, err := server.Write(make([]byte, 100))
			require.NoError(t, err)
			require.NoError(t, server.Close())
			gone(client)
			require.NoError(t, client.Close())
		}, tcp.LocalClose, tcp.PeerClose, [2]tcp.State{tcp.FinWait2, tcp.LastAck}},
		"half-closed, and data left unread": {func(t *testing.T, client, server *net.TCPConn) {
			require.NoError(t, client.CloseWrite())
			gone(server)
			_, err := server.Write(make([]byte, 100))
			require.NoError(t, err)
			awaitUnread(t, client, 100)
			require.NoError(t, client.Close())
			require.Eventually(t, func() bool { _, err := server.Write([]byte{1}); return err != nil }, 5*time.Second, time.Millisecond)
			require.NoError(t, server.Close())
		}, tcp.LocalReset, tcp.PeerReset, [2]tcp.State{tcp.FinWait2, tcp.CloseWait}},
		"half-closed, and the rest never comes": {func(t *testing.T, client, server *net.TCPConn) {
			require.NoError(t, client.CloseWrite())
			gone(server)
			_, err := server.Write(make([]byte, 100))
			require.NoError(t, err)
			_, err = io.ReadFull(client, make([]byte, 100))
			require.NoError(t, err)
			require.NoError(t, client.Close())
		}, tcp.LocalClose, none, [2]tcp.State{tcp.FinWait2}},
		"client resets": {func(t *testing.T, client, server *net.TCPConn) {
			require.NoError(t, client.SetLinger(0))
			require.NoError(t, client.Close())
			gone(server)
		}, tcp.LocalReset, tcp.PeerReset, [2]tcp.State{tcp.Established, tcp.Established}},
		"server leaves bytes unread": {func(t *testing.T, client, server *net.TCPConn) {
			_, err := client.Write(make([]byte, 10))
			require.NoError(t, err)
			awaitUnread(t, server, 10)
			require.NoError(t, server.Close())
			gone(client)
		}, tcp.PeerReset, tcp.LocalReset, [2]tcp.State{tcp.Established, tcp.Established}},
		"client resets after the server's FIN": {func(t *testing.T, client, server *net.TCPConn) {
			require.NoError(t, server.CloseWrite())
			gone(client)
			awaitFINAcked(t, server)
			require.NoError(t, client.SetLinger(0))
			require.NoError(t, client.Close())
			gone(server)
		}, tcp.LocalReset, tcp.PeerReset, [2]tcp.State{tcp.CloseWait, tcp.FinWait2}},
		"data comes after close": {func(t *testing.T, client, server *net.TCPConn) {
			// Otherwise something smaller than a socket would get the data: the
			// client shall not hear that its FIN was acknowledged.
			deaf(t, client, flagPSH)
			require.NoError(t, client.Close())
			_, err := server.Write(make([]byte, 100))
			require.NoError(t, err)
			gone(server)
		}, tcp.LocalReset, tcp.PeerReset, [2]tcp.State{tcp.FinWait2, tcp.CloseWait}},
		"client disconnects": {func(t *testing.T, client, server *net.TCPConn) {
			set(t, client, func(fd int) error {
				nowhere := unix.RawSockaddr{Family: unix.AF_UNSPEC}
				_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&nowhere)), unix.SizeofSockaddrInet4)
				if errno != 0 {
					return errno
				}
				return nil
			})
			gone(server)
		}, tcp.LocalReset, tcp.PeerReset, [2]tcp.State{tcp.Established, tcp.Established}},
		"server does not answer any more": {func(t *testing.T, client, server *net.TCPConn) {
			deaf(t, server, 0)
			set(t, client, userTimeout(300*time.Millisecond))
			_, err := client.Write(make([]byte, 10))
			require.NoError(t, err)
			_, err = client.Read(make([]byte, 1))
			require.ErrorIs(t, err, unix.ETIMEDOUT)
		}, tcp.TimeoutCause, none, [2]tcp.State{tcp.Established}},
		"the administrator ends it": {func(t *testing.T, client, server *net.TCPConn) {
			p := endpoints(client)
			out, err := exec.Command("ss", "-KtnH", "src", p[0].String(), "dst", p[1].String()).CombinedOutput()
			if err != nil || len(out) == 0 || unix.Geteuid() != 0 {
				t.Skipf("ss -K is not to be had here (iproute2, CAP_NET_ADMIN, CONFIG_INET_DIAG_DESTROY): %v %s", err, out)
			}
			gone(server)
		}, tcp.Aborted, tcp.PeerReset, [2]tcp.State{tcp.Established, tcp.Established}},
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			client, server := connect(t, "127.0.0.1:0")
			of := []pair{endpoints(client), endpoints(server)}
			live := sockets(t, s)
			assert.Equal(t, tcp.Client, live[of[0]].Role)
			assert.Equal(t, tcp.Server, live[of[1]].Role)
			tt.end(t, client, server)
			if tt.server == none {
				of = of[:1]
			}
			got := noticesOf(t, c, of...)
			for i, p := range of {
				n := got[p]
				assert.Equal(t, [2]tcp.Cause{tt.client, tt.server}[i].String(), n.Cause.String(), p)
				assert.Equal(t, tt.left[i], n.Left, p)
				assert.Equal(t, [2]tcp.Role{tcp.Client, tcp.Server}[i], n.Role, p)
				assert.False(t, n.NeverEstablished)
				assert.Equal(t, tcp.NoFailure, n.Failure)
				assert.Positive(t, n.Handshake)
				assert.Less(t, n.Handshake, 500*time.Millisecond)
				assert.WithinRange(t, n.Established, began.Add(-10*time.Millisecond), n.Ended)
				assert.WithinRange(t, n.Ended, n.Established, time.Now().Add(10*time.Millisecond))
			}
		})
	}
}

// Nobody has accepted the connection when its listener is closed.
func TestAbortedInTheAcceptQueue(t *testing.T) {
	c := watched(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	client, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer func() { assert.NoError(t, client.Close()) }()
	p := endpoints(client)
	require.NoError(t, l.Close())
	gone(client.(*net.TCPConn))
	got := noticesOf(t, c, p, pair{p[1], p[0]})
	assert.Equal(t, tcp.PeerReset, got[p].Cause)
	assert.Equal(t, tcp.Aborted, got[pair{p[1], p[0]}].Cause)
	assert.Equal(t, tcp.Server, got[pair{p[1], p[0]}].Role)
}

// Every way that an attempt to connect fails, with the process that tried.
func TestFailuresOfTheKernel(t *testing.T) {
	executable, err := os.Executable()
	require.NoError(t, err)
	c := watched(t)
	for name, tt := range map[string]struct {
		listens bool
		timeout time.Duration // of the dialler
		option  func(fd int) error
		during  func(t *testing.T, to netip.AddrPort)
		want    tcp.Failure
	}{
		"refused":             {want: tcp.Refused},
		"nobody answers":      {listens: true, timeout: 10 * time.Second, option: userTimeout(100 * time.Millisecond), want: tcp.TimedOut},
		"its owner gives up":  {listens: true, timeout: 100 * time.Millisecond, want: tcp.OtherFailure},
		"no way to the host":  {listens: true, timeout: 10 * time.Second, during: unreachable(1), want: tcp.HostUnreachable},
		"no way to a network": {listens: true, timeout: 10 * time.Second, during: unreachable(0), want: tcp.NetUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			l := listenPlain(t)
			to := l.Addr().(*net.TCPAddr).AddrPort()
			if tt.listens {
				deaf(t, l, 0)
			} else {
				require.NoError(t, l.Close())
			}
			if tt.during != nil {
				tt.during(t, to)
			}
			d := net.Dialer{Timeout: tt.timeout, Control: control(tt.option)}
			_, err := d.Dial("tcp", to.String())
			require.Error(t, err)
			n := 0
			for deadline := time.Now().Add(5 * time.Second); n == 0 && time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
				_, err := c.Drain(func(got *tcp.Notice) error {
					if got.Peer != to {
						return nil
					}
					n++
					assert.Equal(t, tt.want.String(), got.Failure.String())
					assert.True(t, got.NeverEstablished)
					assert.Equal(t, tcp.SynSent, got.Left)
					assert.Equal(t, tcp.UnknownCause, got.Cause)
					assert.Equal(t, tcp.Client, got.Role)
					assert.Zero(t, got.Handshake)
					assert.True(t, got.Established.IsZero())
					assert.WithinDuration(t, time.Now(), got.Ended, 6*time.Second)
					if assert.NotNil(t, got.Holder) {
						assert.Equal(t, filepath.Base(executable), got.Holder.Executable)
					}
					return nil
				})
				require.NoError(t, err)
			}
			assert.Equal(t, 1, n)
		})
	}
}

// unreachable answers a retransmitted SYN to an address with an ICMP message
// "destination unreachable" of a code.
func unreachable(code byte) func(t *testing.T, to netip.AddrPort) {
	return func(t *testing.T, to netip.AddrPort) {
		raw, err := net.ListenPacket("ip4:tcp", "127.0.0.1")
		if errors.Is(err, unix.EPERM) {
			t.Skipf("raw sockets are not to be had here: %v", err)
		}
		require.NoError(t, err)
		icmp, err := net.Dial("ip4:icmp", "127.0.0.1")
		require.NoError(t, err)
		done := make(chan struct{})
		go func() {
			defer close(done)
			segment := make([]byte, 1500)
			syns := 0
			for {
				n, _, err := raw.ReadFrom(segment)
				if err != nil {
					return
				}
				if n < 20 || binary.BigEndian.Uint16(segment[2:]) != to.Port() {
					continue
				}
				// While connect(2) is under way, the kernel would only note it: the second
				// SYN is a timer's.
				if syns++; syns == 1 {
					continue
				}
				message := []byte{3, code, 0, 0, 0, 0, 0, 0,
					0x45, 0, 0, byte(20 + n), 0, 0, 0, 0, 64, unix.IPPROTO_TCP, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1}
				message = append(message, segment[:8]...)
				binary.BigEndian.PutUint16(message[2:], checksum(message))
				if _, err := icmp.Write(message); err != nil {
					return
				}
			}
		}()
		t.Cleanup(func() {
			assert.NoError(t, raw.Close())
			<-done
			assert.NoError(t, icmp.Close())
		})
	}
}

// checksum is that of RFC 1071, of an even number of bytes.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// Handshakes that come late: the first SYN is lost, or the last ACK.
func TestHandshakeDurations(t *testing.T) {
	c := watched(t)
	for name, tt := range map[string]struct {
		hears          uint32
		client, server time.Duration // at least
	}{
		"the SYN is lost": {0, time.Second, 0},
		"the ACK is lost": {flagSYN, 0, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			l := listenPlain(t)
			deaf(t, l, tt.hears)
			time.AfterFunc(500*time.Millisecond, func() { hearing(t, l) })
			client, server := dial(t, l)
			of := []pair{endpoints(client), endpoints(server)}
			require.NoError(t, client.Close())
			require.NoError(t, server.Close())
			got := noticesOf(t, c, of...)
			for i, least := range []time.Duration{tt.client, tt.server} {
				n := got[of[i]]
				took := n.Handshake
				assert.True(t, n.Has(tcp.FieldRetransmitsBy))
				assert.Equal(t, least > 0, n.RetransmitsBy[tcp.SYNRetransmit] > 0, n.RetransmitsBy)
				assert.Equal(t, n.Retransmits, n.RetransmitsBy[tcp.SYNRetransmit])
				if i == 1 && least > 0 && took == 0 {
					t.Log("this kernel does not keep how long it took (Linux 6.7)")
					continue
				}
				assert.Positive(t, took)
				// The kernel counts in milliseconds.
				assert.GreaterOrEqual(t, took, least-10*time.Millisecond)
				assert.Less(t, took, least+2*time.Second)
				if least == 0 {
					assert.Less(t, took, 500*time.Millisecond)
				}
			}
		})
	}
}
