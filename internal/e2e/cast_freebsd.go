// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	endian "encoding/binary"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// ofSystem makes what only FreeBSD has, or in a way that only FreeBSD has.
func (c *Cast) ofSystem(t *testing.T) {
	c.handshakes(t)
	c.closed(t)
	c.notTaken(t)
}

// queueLimit is how many connections can wait at a listener with a backlog: FreeBSD
// turns others away once there are more than half as many again.
func queueLimit(backlog int64) int64 { return 3*backlog/2 + 1 }

// Where the guest of `make test-freebsd` has a network that answers nothing.
var (
	here    = netip.MustParseAddr("192.0.2.1")
	nowhere = netip.MustParseAddr("192.0.2.2")
)

// handshakes makes connections that do not get through.
func (c *Cast) handshakes(t *testing.T) {
	l, err := net.Listen("tcp4", netip.AddrPortFrom(here, 0).String())
	if err != nil {
		skip(t, "Handshakes", "there is no network that answers nothing, as there is in the guest of make test-freebsd")
		return
	}
	require.NoError(t, l.Close())
	c.add(Known{What: "not answered", State: "syn_sent", Restless: true,
		Held: c.Client.Connect(t, ConnectArgs{To: netip.AddrPortFrom(nowhere, 9), NoWait: true})})
	if os.Geteuid() != 0 {
		skip(t, "SYNReceived", "not root: packets cannot be forged")
		return
	}
	to := c.Server.Listen(t, ListenArgs{At: netip.AddrPortFrom(here, 0), Backlog: 4})
	from := netip.AddrPortFrom(nowhere, 4711)
	sendSYN(t, from, to.Local)
	c.add(Known{What: "handshake not complete", Tuple: Tuple{to.Local, from}, State: "syn_received", Bare: true})
	// The kernel gives up after some 15 s, unless the SYN comes again.
	done := make(chan struct{})
	t.Cleanup(func() { close(done) })
	go func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(time.Second):
				sendSYN(t, from, to.Local)
			}
		}
	}()
}

// sendSYN sends a SYN that claims to come from elsewhere, where the answer gets lost.
func sendSYN(t *testing.T, from, to netip.AddrPort) {
	t.Helper()
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if !assert.NoError(t, err) {
		return
	}
	defer unix.Close(s)
	assert.NoError(t, unix.SetsockoptInt(s, unix.IPPROTO_IP, unix.IP_HDRINCL, 1))

	src, dst := from.Addr().As4(), to.Addr().As4()
	tcp := make([]byte, 20) // RFC 9293 §3.1
	endian.BigEndian.PutUint16(tcp, from.Port())
	endian.BigEndian.PutUint16(tcp[2:], to.Port())
	endian.BigEndian.PutUint32(tcp[4:], 1)
	tcp[12], tcp[13] = 5<<4, 2 // five words, SYN
	endian.BigEndian.PutUint16(tcp[14:], 65535)
	pseudo := slices.Concat(src[:], dst[:], []byte{0, unix.IPPROTO_TCP, 0, byte(len(tcp))})
	endian.BigEndian.PutUint16(tcp[16:], checksum(append(pseudo, tcp...)))

	ip := make([]byte, 20) // RFC 791 §3.1; the kernel fills in the checksum
	ip[0] = 4<<4 | 5
	endian.BigEndian.PutUint16(ip[2:], uint16(len(ip)+len(tcp)))
	ip[8], ip[9] = 64, unix.IPPROTO_TCP
	copy(ip[12:], src[:])
	copy(ip[16:], dst[:])
	assert.NoError(t, unix.Sendto(s, append(ip, tcp...), 0, &unix.SockaddrInet4{Addr: dst}))
}

// checksum is that of RFC 1071, of an even number of bytes.
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) > 0; b = b[2:] {
		sum += uint32(endian.BigEndian.Uint16(b))
	}
	sum = sum>>16 + sum&0xffff
	return ^uint16(sum>>16 + sum)
}

// closed makes a connection that is closed on both sides.
func (c *Cast) closed(t *testing.T) {
	if !longTimeWait(t) {
		return
	}
	p := c.open(t)
	p.talk(t, 10, 20, 0)
	p.Client.ShutdownWrite(t)
	p.Server.ReceiveEnd(t)
	p.Server.Close(t)
	p.Client.ReceiveEnd(t)
	c.add(Known{What: "closed", Tuple: Tuple{p.Client.Local, p.Client.Peer}, State: "time_wait", Bare: true})
	p.Client.Close(t)
}

// longTimeWait makes the kernel keep connections in TIME_WAIT until a test has seen
// them. 15 has a second setting, of 10 ms, for those to the same host.
func longTimeWait(t *testing.T) bool {
	t.Helper()
	for _, name := range []string{"net.inet.tcp.msl", "net.inet.tcp.msl_local"} {
		old, err := unix.SysctlUint32(name)
		if err == unix.ENOENT {
			continue
		}
		require.NoError(t, err, name)
		if !ownNamespace() || os.Geteuid() != 0 {
			skip(t, "TimeWait", name+" is changed by root alone, in the guest of make test-freebsd")
			return false
		}
		require.NoError(t, setSysctl(name, uint32(patience.Milliseconds())), name)
		t.Cleanup(func() { assert.NoError(t, setSysctl(name, old)) })
	}
	return true
}

// notTaken makes connections whose FIN stands behind data that nobody reads.
func (c *Cast) notTaken(t *testing.T) {
	p := c.open(t)
	p.talk(t, 41, 43, 0)
	p.Client.Flood(t)
	p.Client.ShutdownWrite(t)
	c.both("nothing is read", p, "established", "fin_wait_1")
	c.restless(2)

	p = c.open(t)
	p.talk(t, 47, 53, 0)
	p.Server.ShutdownWrite(t)
	p.Client.await(t, "close_wait")
	p.Client.Flood(t)
	p.Client.ShutdownWrite(t)
	c.both("nothing is read, closed by the other first", p, "fin_wait_2", "last_ack")
	c.restless(2)

	p = c.open(t)
	p.talk(t, 59, 61, 0)
	p.Client.Flood(t)
	p.Client.ShutdownWrite(t)
	p.Server.ShutdownWrite(t)
	c.both("nothing is read, closed by both", p, "fin_wait_2", "closing")
	c.restless(2)
}

// Flood writes as much as the kernel takes.
func (h *Held) Flood(t *testing.T) {
	t.Helper()
	call[int](t, h.Process, "Flood", h.Socket)
}
