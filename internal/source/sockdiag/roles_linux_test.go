// SPDX-License-Identifier: Apache-2.0

package sockdiag

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/source/sourcetest"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// lossy makes the socket drop one in n of the segments that come to it: a random
// number, and nothing of the segment if it is small.
func lossy(t testing.TB, c syscall.Conn, oneIn uint32) {
	t.Helper()
	raw, err := c.SyscallConn()
	require.NoError(t, err)
	const random = 0xfffff000 + 56 // SKF_AD_OFF + SKF_AD_RANDOM of <linux/filter.h>
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: random},
		{Code: unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, K: ^uint32(0) / oneIn, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: ^uint32(0)},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
	var errFilter error
	require.NoError(t, raw.Control(func(fd uintptr) {
		errFilter = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
	}))
	require.NoError(t, errFilter)
}

// Whatever goes over a connection, and whenever it is looked at, its role is right or
// not known: single bytes, bulk, segments that are lost, and ends of all sorts.
func TestRolesAreNeverWrong(t *testing.T) {
	const pairs = 40
	duration := 3 * time.Second
	if d, err := time.ParseDuration(os.Getenv("TCPSTATS_STRESS")); err == nil {
		duration = d
	}
	ns := sourcetest.NewNamespace(t)
	src, stream := openIn(t, ns)

	var truth sync.Map // cookie → role
	var stopped atomic.Bool
	var workers sync.WaitGroup
	for i := range pairs {
		workers.Add(1)
		go func() {
			defer workers.Done()
			random := rand.New(rand.NewPCG(uint64(i), 3))
			for !stopped.Load() {
				var client, server *net.TCPConn
				err := ns.Do(func() error {
					l, err := net.Listen("tcp", "127.0.0.1:0")
					if err != nil {
						return err
					}
					c, err := net.Dial("tcp", l.Addr().String())
					if err != nil {
						return err
					}
					a, err := l.Accept()
					if err != nil {
						return err
					}
					client, server = c.(*net.TCPConn), a.(*net.TCPConn)
					return l.Close()
				})
				if !assert.NoError(t, err) {
					return
				}
				truth.Store(cookieOf(t, client), tcp.Client)
				truth.Store(cookieOf(t, server), tcp.Server)
				if random.IntN(2) == 0 {
					lossy(t, client, 20)
					lossy(t, server, 20)
				}
				talk(random, client, server, &stopped)
			}
		}()
	}
	right := [2]map[tcp.Role]int{{}, {}} // of samples, of notices
	var wrong, unknown [2]int
	count := func(what int, cookie uint64, role tcp.Role, show func() string) {
		want, ok := truth.Load(cookie)
		switch {
		case !ok: // not connected yet
		case role == tcp.NoRole:
			unknown[what]++
		case role == want:
			right[what][role]++
		default:
			wrong[what]++
			if wrong[what] < 10 {
				t.Errorf("a %v is taken for a %v: %s", want, role, show())
			}
		}
	}
	drain := func() {
		_, err := stream.Drain(func(n *tcp.Notice) error {
			if n.Peer.Port() != 0 {
				count(1, n.ID.Cookie, n.RoleEvidence(tcp.Closed), func() string { return fmt.Sprintf("%+v", *n) })
			}
			return nil
		})
		assert.NoError(t, err)
	}
	for end := time.Now().Add(duration); time.Now().Before(end); {
		err := src.Sockets(t.Context(), func(s *tcp.Socket) error {
			if s.State != tcp.Listen {
				count(0, s.ID.Cookie, tcp.RoleOf(s), func() string { return fmt.Sprintf("%+v", *s) })
			}
			return nil
		})
		require.NoError(t, err)
		drain()
	}
	stopped.Store(true)
	workers.Wait()
	drain()
	t.Logf("samples: right %v, %d not known; notices: right %v, %d not known", right[0], unknown[0], right[1], unknown[1])
	assert.Zero(t, wrong)
	for _, role := range []tcp.Role{tcp.Client, tcp.Server} {
		assert.Greater(t, right[0][role], 10)
		assert.Greater(t, right[1][role], 20)
	}
}

// talk sends something over a connection and ends it, one way or another.
func talk(random *rand.Rand, client, server *net.TCPConn, stopped *atomic.Bool) {
	ends := []*net.TCPConn{client, server}
	random.Shuffle(2, func(i, j int) { ends[i], ends[j] = ends[j], ends[i] })
	deadline := time.Now().Add(time.Duration(20+random.IntN(400)) * time.Millisecond)
	var both sync.WaitGroup
	style, size := random.IntN(4), 1+random.IntN(3)
	if style == 3 {
		size = 1 + random.IntN(200_000)
	}
	for i, c := range ends {
		_ = c.SetDeadline(deadline)
		both.Add(1)
		go func() {
			defer both.Done()
			buf := make([]byte, size)
			for !stopped.Load() && time.Now().Before(deadline) {
				if i == 0 || style == 1 {
					if _, err := c.Write(buf); err != nil {
						return
					}
				}
				if i == 1 || style == 1 {
					if _, err := c.Read(buf); err != nil {
						return
					}
				}
				if style == 2 {
					time.Sleep(time.Millisecond)
				}
			}
		}()
	}
	both.Wait()
	if random.IntN(8) == 0 {
		time.Sleep(1200 * time.Millisecond) // idle
	}
	if random.IntN(4) == 0 {
		_ = ends[0].SetLinger(0)
	}
	_ = ends[0].Close()
	if random.IntN(2) == 0 {
		_ = ends[1].SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		_, _ = io.Copy(io.Discard, ends[1])
	}
	_ = ends[1].Close()
}
