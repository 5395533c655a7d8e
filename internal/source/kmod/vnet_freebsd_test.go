// SPDX-License-Identifier: Apache-2.0

package kmod

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/netns/netnstest"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// epairEnv names the end of an epair that a child in a vnet jail listens at, once the
// host has moved it there.
const epairEnv = "TCPSTATS_TEST_EPAIR"

var hostAddr, jailAddr = [4]byte{10, 77, 0, 1}, [4]byte{10, 77, 0, 2}

func listenInJail() (r report, err error) {
	jid, err := netnstest.EnterJail(fmt.Sprintf("tcpstats-epair-%d", os.Getpid()), true)
	if err != nil {
		return r, err
	}
	r.Jail = uint32(jid)
	l, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		return r, err
	}
	children = append(children, l)
	r.Listener = fmt.Sprintf("10.77.0.2:%d", l.Addr().(*net.TCPAddr).Port)
	src, err := Factory().Open(context.Background())
	if err != nil {
		return r, err
	}
	r.Confined = src.Capabilities().Missing(source.Namespaces) != 0
	if err := src.(source.Spanning).Span(); !errors.As(err, &r.AllVnets) && err != nil {
		return r, err
	}
	if _, err := src.(source.Spanning).Stacks(context.Background()); !errors.Is(err, syscall.EPERM) {
		return r, fmt.Errorf("network stacks are listed in a jail: %w", err)
	}
	go func() {
		for netnstest.SetAddress(os.Getenv(epairEnv), jailAddr, 24) != nil {
			time.Sleep(20 * time.Millisecond) // it is not there yet
		}
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("hello"))
			go func() {
				_, _ = c.Read(make([]byte, 1)) // until the host closes
				_ = c.Close()
			}()
		}
	}()
	return r, nil
}

// seenThere counts the sockets of each network stack with an address of the epair.
func seenThere(t *testing.T, src source.Source) map[uint64]int {
	t.Helper()
	n := map[uint64]int{}
	require.NoError(t, src.Sockets(t.Context(), func(s *tcp.Socket) error {
		if s.State == tcp.Established && s.Local.Addr().Is4() && s.Local.Addr().As4()[0] == 10 {
			n[s.ID.Namespace]++
		}
		return nil
	}))
	return n
}

// A connection between the host and a vnet jail has one end in each: the host sees
// both, and how both ended, and the jail only its own.
func TestStacks(t *testing.T) {
	module(t)
	a, b, err := netnstest.NewEpair()
	if err != nil {
		t.Skipf("this kernel has no epair: %v", err)
	}
	t.Cleanup(func() { require.NoError(t, netnstest.Destroy(a)) })
	t.Setenv(epairEnv, b)

	opened, err := Factory().Open(t.Context())
	require.NoError(t, err)
	defer opened.Close()
	src := opened.(*Source)
	require.Zero(t, src.Capabilities().Missing(source.Namespaces), "root outside of jails")
	before, err := src.Stacks(t.Context())
	require.NoError(t, err)
	require.NoError(t, src.Span())
	stream, err := src.Closes()
	require.NoError(t, err)
	defer stream.Close()

	r := runChild(t, "epair")
	if r.Err != "" && r.Jail == 0 {
		t.Skipf("this kernel has no vnets: %s", r.Err)
	}
	require.Empty(t, r.Err)
	assert.True(t, r.Confined, "a jail cannot read others")
	assert.Equal(t, syscall.EPERM, r.AllVnets)
	require.NoError(t, netnstest.SetAddress(a, hostAddr, 24))
	require.NoError(t, netnstest.Move(b, int(r.Jail)))

	var stack *source.Stack
	stacks, err := src.Stacks(t.Context())
	require.NoError(t, err)
	assert.Len(t, stacks, len(before)+1)
	for i := range stacks {
		if stacks[i].Namespace == uint64(r.Jail) {
			stack = &stacks[i]
		}
	}
	require.NotNil(t, stack)
	require.NoError(t, stack.Err)
	assert.Contains(t, stack.Name, "tcpstats-epair-")
	assert.NotZero(t, stack.Cookie)
	assert.Equal(t, int64(1), stack.States[tcp.Listen])
	accepted, _ := stack.Counters.Get(tcp.OpensServer)
	assert.Zero(t, accepted)

	const n = 5
	var clients []net.Conn
	for range n {
		c, err := net.DialTimeout("tcp4", r.Listener, 20*time.Second)
		require.NoError(t, err)
		require.NoError(t, c.SetReadDeadline(time.Now().Add(20*time.Second)))
		_, err = c.Read(make([]byte, 5))
		require.NoError(t, err)
		clients = append(clients, c)
	}
	assert.Equal(t, map[uint64]int{0: n, uint64(r.Jail): n}, seenThere(t, src))
	alone, err := Open(t.Context(), Device, anyHost{})
	require.NoError(t, err)
	defer alone.Close()
	assert.Equal(t, map[uint64]int{0: n}, seenThere(t, alone), "who does not ask sees its own")

	stacks, err = src.Stacks(t.Context())
	require.NoError(t, err)
	for _, s := range stacks {
		if s.Namespace == uint64(r.Jail) {
			accepted, _ := s.Counters.Get(tcp.OpensServer)
			assert.Equal(t, uint64(n), accepted)
			assert.Equal(t, stack.Cookie, s.Cookie, "it is the same one")
		}
	}

	for _, c := range clients {
		reset(c.(*net.TCPConn))
	}
	ends := map[uint64]int{}
	require.Eventually(t, func() bool {
		_, err := stream.Drain(func(n *tcp.Notice) error {
			if n.Local.Addr().Is4() && n.Local.Addr().As4()[0] == 10 {
				ends[n.ID.Namespace]++
			}
			return nil
		})
		return assert.NoError(t, err) && ends[0]+ends[uint64(r.Jail)] >= 2*n
	}, 20*time.Second, 50*time.Millisecond)
	assert.Equal(t, map[uint64]int{0: n, uint64(r.Jail): n}, ends)
}

// A jail that is made again with the id of one that is gone has another cookie.
func TestStacksHaveCookies(t *testing.T) {
	module(t)
	src, err := Open(t.Context(), Device, anyHost{})
	require.NoError(t, err)
	defer src.Close()
	cookies := map[uint64]bool{}
	for range 3 {
		t.Run("jail", func(t *testing.T) {
			r := runChild(t, "vnet")
			if r.Err != "" {
				t.Skipf("this kernel has no vnets: %s", r.Err)
			}
			stacks, err := src.Stacks(t.Context())
			require.NoError(t, err)
			require.NotEmpty(t, stacks)
			for _, s := range stacks {
				if s.Namespace == uint64(r.Jail) {
					require.False(t, cookies[s.Cookie])
					cookies[s.Cookie] = true
				}
			}
		})
	}
}
