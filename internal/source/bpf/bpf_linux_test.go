// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64 || loong64 || ppc64le || riscv64)

package bpf

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

var bg = context.Background()

// opened returns an open source whose dumps are the iterator's, or skips the test
// where there can be none.
func opened(t testing.TB) *Source {
	t.Helper()
	return openedBy(t, new(iterator))
}

// openedBy returns a source that shares its program with others.
func openedBy(t testing.TB, shared *iterator) *Source {
	t.Helper()
	s, err := open(shared)
	skipWithout(t, err)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s
}

// skipWithout skips the test if an error says that this user may not use BPF, or
// that this kernel does not have what it takes.
func skipWithout(t testing.TB, err error) {
	t.Helper()
	for _, lack := range []error{unix.EPERM, errors.ErrUnsupported, ebpf.ErrNotSupported, btf.ErrNotFound} {
		if errors.Is(err, lack) {
			t.Skipf("BPF is not to be had here: %v", err)
		}
	}
}

type pair = [2]netip.AddrPort

func sockets(t testing.TB, s source.Source) map[pair]tcp.Socket {
	t.Helper()
	for {
		all := make(map[pair]tcp.Socket)
		err := s.Sockets(bg, func(sock *tcp.Socket) error {
			all[pair{sock.Local, sock.Peer}] = *sock
			return nil
		})
		if !errors.Is(err, source.ErrInterrupted) {
			require.NoError(t, err)
			return all
		}
	}
}

// connect returns both ends of a connection by a listener of the address.
func connect(t testing.TB, listen string) (client, server *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", listen)
	if err != nil {
		t.Skipf("cannot listen on %s here: %v", listen, err)
	}
	defer func() { assert.NoError(t, l.Close()) }()
	return dial(t, l)
}

func dial(t testing.TB, l net.Listener) (client, server *net.TCPConn) {
	t.Helper()
	c, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	s, err := l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = c.Close(), s.Close() }) // a test may have closed them
	return c.(*net.TCPConn), s.(*net.TCPConn)
}

func endpoints(c net.Conn) pair {
	unmap := func(a net.Addr) netip.AddrPort {
		ap := a.(*net.TCPAddr).AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return pair{unmap(c.LocalAddr()), unmap(c.RemoteAddr())}
}

func TestLive(t *testing.T) {
	s := opened(t)
	assert.Equal(t, "bpf", s.Name())
	assert.Zero(t, s.Capabilities().Missing(source.RTT|source.Processes|source.Bytes))
	for name, listen := range map[string]string{"ipv4": "127.0.0.1:0", "ipv6": "[::1]:0"} {
		t.Run(name, func(t *testing.T) {
			client, server := connect(t, listen)
			_, err := client.Write(make([]byte, 1000))
			require.NoError(t, err)
			_, err = io.ReadFull(server, make([]byte, 600))
			require.NoError(t, err)

			all := sockets(t, s)
			c, srv := all[endpoints(client)], all[endpoints(server)]
			assert.Equal(t, tcp.Established, c.State)
			assert.Equal(t, tcp.Established, srv.State)
			assert.Equal(t, uint64(1000), c.BytesSent)
			assert.Equal(t, uint64(1000), srv.BytesReceived)
			assert.Equal(t, uint32(400), srv.ReceiveBufferUsage)
			assert.NotEqual(t, c.ID, srv.ID)

			require.NoError(t, client.CloseWrite())
			_, err = io.ReadFull(server, make([]byte, 400))
			require.NoError(t, err)
			_, err = server.Read(make([]byte, 1))
			require.ErrorIs(t, err, io.EOF)
			// The FIN may be acknowledged up to 200 ms late.
			for range 100 {
				all = sockets(t, opened(t))
				if all[endpoints(client)].State != tcp.FinWait1 {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
			assert.Equal(t, tcp.FinWait2, all[endpoints(client)].State)
			assert.Equal(t, tcp.CloseWait, all[endpoints(server)].State)
			assert.Equal(t, uint64(1000), all[endpoints(server)].BytesReceived, "the FIN is no byte")
			assert.Equal(t, c.ID, all[endpoints(client)].ID, "the identity outlives the reader")
		})
	}
}

func TestDumpingAllocatesNothingPerSocket(t *testing.T) {
	s := opened(t)
	c := play(t)
	n := 0
	visit := func(sock *tcp.Socket) error {
		if c.has(pair{sock.Local, sock.Peer}) {
			n++
		}
		return nil
	}
	allocs := testing.AllocsPerRun(20, func() { assert.NoError(t, s.Sockets(bg, visit)) })
	assert.Less(t, allocs, 10.0)
	assert.Greater(t, n, 21*10)
}

func TestDumpAfterAnUnfinishedOne(t *testing.T) {
	s := opened(t)
	client, _ := connect(t, "127.0.0.1:0")
	stop := errors.New("stop")
	assert.Equal(t, stop, s.Sockets(bg, func(*tcp.Socket) error { return stop }))
	ctx, cancel := context.WithCancel(bg)
	cancel()
	assert.ErrorIs(t, s.Sockets(ctx, func(*tcp.Socket) error { return nil }), context.Canceled)
	assert.Contains(t, sockets(t, s), endpoints(client))
}

func TestCounters(t *testing.T) {
	counters, err := opened(t).Counters(bg)
	require.NoError(t, err)
	_, ok := counters.Get(tcp.SegmentsReceived)
	assert.True(t, ok)
}

// As on Linux before 5.12.
func TestWithoutCookies(t *testing.T) {
	s := opened(t)
	spec, err := loadSockets()
	require.NoError(t, err)
	require.NoError(t, spec.Variables["cookies"].Set(false))
	old := new(iterator)
	require.NoError(t, load(spec, &old.objects, nil))
	old.link, err = link.AttachIter(link.IterOptions{Program: old.objects.DumpSockets})
	require.NoError(t, err)
	old.uses = 1
	without, err := open(old)
	require.NoError(t, err)
	require.NoError(t, old.release()) // ours; the source has its own
	defer func() { assert.NoError(t, without.Close()) }()
	stream, err := without.Closes()
	require.NoError(t, err)
	defer func() { assert.NoError(t, stream.Close()) }()

	client, server := connect(t, "127.0.0.1:0")
	p := endpoints(client)
	first, other := sockets(t, without)[p], sockets(t, s)[p]
	assert.Zero(t, first.ID.Cookie)
	assert.NotZero(t, other.ID.Cookie)
	assert.Equal(t, other.ID.Namespace, first.ID.Namespace)
	require.NoError(t, client.Close())
	require.NoError(t, server.Close())
	got := noticesOf(t, stream.(*closes), p)
	assert.Equal(t, first.ID, got[p].ID)
}

func TestOneProgramForAll(t *testing.T) {
	opened(t) // or skip
	factory := Factory()
	one, err := factory.Open(bg)
	require.NoError(t, err)
	other, err := factory.Open(bg)
	require.NoError(t, err)
	assert.Same(t, one.(*mixed).iterator, other.(*mixed).iterator)
	client, _ := connect(t, "127.0.0.1:0")
	require.NoError(t, one.Close())
	require.Contains(t, sockets(t, other), endpoints(client), "the other still has it")
	require.NoError(t, other.Close())
	again, err := factory.Open(bg)
	require.NoError(t, err)
	require.Contains(t, sockets(t, again), endpoints(client))
	require.NoError(t, again.Close())
}

// What is missing is said in one line, with what to do about it.
func TestWithoutPrivileges(t *testing.T) {
	if os.Getenv("TCPSTATS_TEST_UNPRIVILEGED") != "" {
		_, err := Factory().Open(bg)
		_, errHolders := OpenHolders()
		fmt.Println(strings.ReplaceAll(fmt.Sprint(err), "\n", "|") + "\n" + strings.ReplaceAll(fmt.Sprint(errHolders), "\n", "|"))
		os.Exit(0)
	}
	if unix.Geteuid() != 0 {
		t.Skip("only root can become somebody else")
	}
	// The test's own file is where nobody else may look.
	self, err := os.Open("/proc/self/exe")
	require.NoError(t, err)
	defer func() { assert.NoError(t, self.Close()) }()
	cmd := exec.Command("/proc/self/fd/3", "-test.run", "^TestWithoutPrivileges$")
	cmd.ExtraFiles = []*os.File{self}
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "TCPSTATS_TEST_UNPRIVILEGED=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	require.Len(t, lines, 2, string(out))
	for _, line := range lines {
		assert.NotContains(t, line, "|")
		assert.Contains(t, line, "operation not permitted")
		assert.Contains(t, line, "CAP_BPF and CAP_PERFMON")
	}
	t.Log(string(out))
}
