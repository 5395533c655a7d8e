// SPDX-License-Identifier: Apache-2.0

package sockdiag

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/source/sourcetest"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

func cookieOf(t testing.TB, c syscall.Conn) (cookie uint64) {
	t.Helper()
	raw, err := c.SyscallConn()
	require.NoError(t, err)
	var errCookie error
	require.NoError(t, raw.Control(func(fd uintptr) {
		cookie, errCookie = unix.GetsockoptUint64(int(fd), unix.SOL_SOCKET, unix.SO_COOKIE)
	}))
	require.NoError(t, errCookie)
	return cookie
}

// ending is a connection of a namespace of its own, in which things take little time.
type ending struct {
	*testing.T
	client, server *net.TCPConn
	listener       net.Listener
	clients        map[uint64]bool // cookies
}

func (e *ending) pair() {
	c, err := net.Dial("tcp", e.listener.Addr().String())
	require.NoError(e, err)
	e.client = c.(*net.TCPConn)
	a, err := e.listener.Accept()
	require.NoError(e, err)
	e.server = a.(*net.TCPConn)
	e.clients[cookieOf(e, e.client)] = true
}

// FailNow ends what runs in the namespace, where the goroutine of the test is not.
func (e *ending) FailNow() { panic(errFailed) }

var errFailed = errors.New("failed, see above")

func (*ending) recover(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("%v", r)
	}
}

// rest is time for segments to arrive, be acknowledged, and be forgotten.
func (*ending) rest() { time.Sleep(60 * time.Millisecond) }

func (e *ending) send(from, to *net.TCPConn, n int) {
	_, err := from.Write(make([]byte, n))
	require.NoError(e, err)
	_, err = io.ReadFull(to, make([]byte, n))
	require.NoError(e, err)
}

func (e *ending) reset(c *net.TCPConn) {
	require.NoError(e, c.SetLinger(0))
	require.NoError(e, c.Close())
}

func (e *ending) close(c *net.TCPConn) { require.NoError(e, c.Close()) }

// fastOpen is pair, but the first data come with the SYN (RFC 7413).
func (e *ending) fastOpen() {
	dialer := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		return errors.Join(raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_FASTOPEN_CONNECT, 1)
		}), err)
	}}
	c, err := dialer.Dial("tcp", e.listener.Addr().String())
	require.NoError(e, err)
	e.client = c.(*net.TCPConn)
	_, err = e.client.Write(make([]byte, 10))
	require.NoError(e, err)
	a, err := e.listener.Accept()
	require.NoError(e, err)
	e.server = a.(*net.TCPConn)
	_, err = io.ReadFull(e.server, make([]byte, 10))
	require.NoError(e, err)
	e.rest()
	e.clients[cookieOf(e, e.client)] = true
	for c, role := range map[*net.TCPConn]tcp.Role{e.client: tcp.Client, e.server: tcp.Server} {
		info := e.info(c)
		require.NotZero(e, info.Options&infoOptionSYNData, "the SYN had no data")
		s := tcp.Socket{State: tcp.Established, SinceACKReceived: time.Second, BytesAcked: info.Bytes_acked, BytesSent: info.Bytes_sent, BytesRetransmitted: info.Bytes_retrans}
		for _, f := range []tcp.Field{tcp.FieldBytesAcked, tcp.FieldBytesSent, tcp.FieldBytesRetransmitted, tcp.FieldSendBufferUsage, tcp.FieldUnsent, tcp.FieldSinceACKReceived} {
			s.Fields = s.Fields.With(f)
		}
		require.Equal(e, role, tcp.RoleOf(&s), "while it is established")
	}
}

func (e *ending) info(c *net.TCPConn) (info *unix.TCPInfo) {
	raw, err := c.SyscallConn()
	require.NoError(e, err)
	require.NoError(e, raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }))
	require.NoError(e, err)
	return info
}

// connect starts a connection without waiting for it.
func (e *ending) connect(ip [4]byte, port int) (close func()) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	require.NoError(e, err)
	require.Equal(e, unix.EINPROGRESS, unix.Connect(fd, &unix.SockaddrInet4{Addr: ip, Port: port}))
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	require.NoError(e, err)
	e.clients[cookie] = true
	return func() { require.NoError(e, unix.Close(fd)) }
}

// blackHole swallows what is sent to it: the route leads to the loopback interface,
// which does not have the address.
var blackHole = [4]byte{192, 0, 2, 1}

func TestEvidenceOfEndings(t *testing.T) {
	const (
		yes    = 'y'
		no     = 'n'
		unsure = '?'
	)
	// evidence is what a notice should show: the role if nothing is known and if the
	// state before is; whether it connected; whether a FIN was sent, given the role.
	type evidence struct {
		role      tcp.Role
		left      tcp.State
		roleLeft  tcp.Role
		connected rune
		sentFIN   rune
		quiet     time.Duration // the least that LastActivity has; -1: it does not know
	}
	const c, s, none = tcp.Client, tcp.Server, tcp.NoRole
	inOrder := func(role tcp.Role, left tcp.State) evidence { return evidence{role, left, role, yes, yes, 0} }
	disconnected := evidence{none, tcp.Established, none, yes, unsure, -1}
	unconnected := evidence{c, tcp.SynSent, c, no, yes, -1} // what is outstanding is the SYN

	ns := sourcetest.NewNamespace(t)
	_, stream := openIn(t, ns)
	require.NoError(t, ns.Do(func() error { return addRoute(blackHole) }))
	for name, tt := range map[string]struct {
		do             func(*ending)
		client, server evidence // the zero value: there is none
	}{
		"client closes": {func(e *ending) { e.pair(); e.close(e.client); e.rest(); e.close(e.server) },
			inOrder(c, tcp.FinWait2), inOrder(s, tcp.CloseWait)},
		"server closes": {func(e *ending) { e.pair(); e.close(e.server); e.rest(); e.close(e.client) },
			inOrder(c, tcp.CloseWait), inOrder(s, tcp.FinWait2)},
		"client closes after data": {func(e *ending) {
			e.pair()
			e.send(e.client, e.server, 10)
			e.send(e.server, e.client, 5)
			e.close(e.client)
			e.rest()
			e.close(e.server)
		}, inOrder(c, tcp.Established), inOrder(s, tcp.Established)},
		"server closes after data": {func(e *ending) {
			e.pair()
			e.send(e.client, e.server, 100_000)
			e.send(e.server, e.client, 50_000)
			e.close(e.server)
			e.rest()
			e.close(e.client)
		}, inOrder(c, tcp.Established), inOrder(s, tcp.Established)},
		"both close": {func(e *ending) { e.pair(); e.close(e.client); e.close(e.server) },
			inOrder(c, tcp.Established), inOrder(s, tcp.Established)},
		"half-close, then data": {func(e *ending) {
			e.pair()
			require.NoError(e, e.client.CloseWrite())
			e.rest()
			e.send(e.server, e.client, 7)
			e.close(e.server)
			e.rest()
			e.close(e.client)
		}, inOrder(c, tcp.FinWait2), inOrder(s, tcp.CloseWait)},
		"client resets at once": {func(e *ending) { e.pair(); e.reset(e.client); e.rest(); e.close(e.server) },
			disconnected, evidence{s, tcp.Established, s, yes, no, 0}},
		"server resets at once": {func(e *ending) { e.pair(); e.reset(e.server); e.rest(); e.close(e.client) },
			evidence{c, tcp.Established, c, yes, no, 0}, disconnected},
		"client resets after data": {func(e *ending) {
			e.pair()
			e.send(e.client, e.server, 10)
			e.send(e.server, e.client, 5)
			e.reset(e.client)
			e.rest()
			e.close(e.server)
		}, disconnected, evidence{s, tcp.Established, s, yes, no, 0}},
		"server resets after data": {func(e *ending) {
			e.pair()
			e.send(e.client, e.server, 10)
			e.send(e.server, e.client, 5)
			e.reset(e.server)
			e.rest()
			e.close(e.client)
		}, evidence{none, tcp.Established, none, yes, no, 0}, disconnected},
		"server closes with unread data": {func(e *ending) {
			e.pair()
			_, err := e.client.Write(make([]byte, 10))
			require.NoError(e, err)
			e.rest()
			e.close(e.server)
			e.rest()
			e.close(e.client)
		}, evidence{none, tcp.Established, none, yes, no, 0}, evidence{s, tcp.Established, s, yes, no, 0}},
		"client closes with unread data": {func(e *ending) {
			e.pair()
			_, err := e.server.Write(make([]byte, 10))
			require.NoError(e, err)
			e.rest()
			e.close(e.client)
			e.rest()
			e.close(e.server)
		}, evidence{c, tcp.Established, c, yes, no, 0}, evidence{s, tcp.Established, s, yes, no, 0}},
		"reset, and closed by the owner a second later": {func(e *ending) {
			e.pair()
			e.send(e.server, e.client, 10)
			e.reset(e.server)
			time.Sleep(time.Second)
			e.close(e.client)
		}, evidence{c, tcp.Established, c, yes, no, time.Second}, disconnected},
		"writes to who has closed": {func(e *ending) {
			e.pair()
			e.close(e.client)
			e.rest()
			_, err := e.server.Write([]byte("xyz"))
			require.NoError(e, err)
			e.rest()
			e.close(e.server)
		}, inOrder(c, tcp.FinWait2), evidence{s, tcp.CloseWait, s, yes, no, 0}},
		"in the queue of a listener that closes": {func(e *ending) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(e, err)
			conn, err := net.Dial("tcp", l.Addr().String())
			require.NoError(e, err)
			e.clients[cookieOf(e, conn.(*net.TCPConn))] = true
			e.rest()
			require.NoError(e, l.Close())
			e.rest()
			require.NoError(e, conn.Close())
		}, evidence{c, tcp.Established, c, yes, no, 0}, disconnected},

		"data in the SYN": {func(e *ending) { e.fastOpen(); e.close(e.client); e.rest(); e.close(e.server) },
			evidence{c, tcp.FinWait2, c, yes, yes, 0}, evidence{none, tcp.LastAck, s, yes, yes, 0}},
		"data in the SYN, then a reset": {func(e *ending) { e.fastOpen(); e.reset(e.server); e.rest(); e.close(e.client) },
			evidence{none, tcp.Established, none, yes, no, 0}, disconnected},

		"refused": {do: func(e *ending) { done := e.connect([4]byte{127, 0, 0, 1}, 1); e.rest(); done() }, client: unconnected},
		"refused, and closed by the owner a second later": {do: func(e *ending) {
			done := e.connect([4]byte{127, 0, 0, 1}, 1)
			time.Sleep(time.Second)
			done()
		}, client: unconnected},
		"given up": {do: func(e *ending) { done := e.connect(blackHole, 80); e.rest(); done() }, client: unconnected},
		"timed out": {do: func(e *ending) {
			done := e.connect(blackHole, 80)
			time.Sleep(3500 * time.Millisecond) // 1 s, and 2 s for the one retry
			done()
		}, client: unconnected},
	} {
		t.Run(name, func(t *testing.T) {
			e := &ending{T: t, clients: make(map[uint64]bool)}
			require.NoError(t, ns.Do(func() (err error) {
				defer e.recover(&err)
				require.NoError(e, os.WriteFile("/proc/sys/net/ipv4/tcp_syn_retries", []byte("1"), 0))
				// For both ends, all listeners, without a cookie.
				require.NoError(e, os.WriteFile("/proc/sys/net/ipv4/tcp_fastopen", []byte("1543"), 0))
				e.listener, err = net.Listen("tcp", "127.0.0.1:0")
				require.NoError(e, err)
				tt.do(e)
				return e.listener.Close()
			}))
			wants := 0
			for _, one := range []evidence{tt.client, tt.server} {
				if one != (evidence{}) {
					wants++
				}
			}
			var got []tcp.Notice
			require.Eventually(t, func() bool {
				_, err := stream.Drain(func(n *tcp.Notice) error {
					// Listeners, and sockets that were never used, have no peer and no window.
					if n.Peer.Port() != 0 || n.SendWindow != 0 {
						got = append(got, *n)
					} else if connected, sure := n.Connected(); connected || !sure {
						t.Errorf("a listener is taken for a connection: %+v", n)
					}
					return nil
				})
				require.NoError(t, err)
				return len(got) >= wants
			}, 5*time.Second, 10*time.Millisecond)
			require.Len(t, got, wants)
			word := func(is, sure bool) rune {
				switch {
				case !sure:
					return unsure
				case is:
					return yes
				}
				return no
			}
			for i := range got {
				n := &got[i]
				want, role := tt.server, s
				if e.clients[n.ID.Cookie] {
					want, role = tt.client, c
				}
				assert.Equal(t, want.role, n.RoleEvidence(tcp.Closed), "role of the %v", role)
				assert.Equal(t, want.roleLeft, n.RoleEvidence(want.left), "role of the %v that left %v", role, want.left)
				assert.Equal(t, string(want.connected), string(word(n.Connected())), "the %v has connected", role)
				if want.connected == yes {
					assert.Equal(t, string(want.sentFIN), string(word(n.SentFIN(role))), "the %v has sent a FIN", role)
				}
				ago, ok := n.LastActivity()
				assert.Equal(t, want.quiet >= 0, ok, "activity of the %v is known", role)
				if ok {
					assert.GreaterOrEqual(t, ago, want.quiet-50*time.Millisecond, "of the %v", role)
					assert.Less(t, ago, want.quiet+2*time.Second, "of the %v", role)
				}
			}
		})
	}
}

// addRoute leads a network of 24 bits to the interface 1, lo.
func addRoute(to [4]byte) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	payload := []byte{unix.AF_INET, 24, 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_BOOT, unix.RT_SCOPE_LINK, unix.RTN_UNICAST, 0, 0, 0, 0}
	payload = append(payload, attribute(unix.RTA_DST, []byte{to[0], to[1], to[2], 0})...)
	payload = append(payload, attribute(unix.RTA_OIF, []byte{1, 0, 0, 0})...)
	request := message(unix.RTM_NEWROUTE, unix.NLM_F_REQUEST|unix.NLM_F_ACK|unix.NLM_F_CREATE, 1, payload)
	if err := unix.Sendto(fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil || n < headerLen {
		return fmt.Errorf("add a route: %d bytes of an answer, %w", n, err)
	}
	return errnoOf(answer[headerLen:n])
}
