// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64 || loong64 || ppc64le || riscv64)

package bpf

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

func moved(t testing.TB, s source.Incremental) (visited map[pair]tcp.Socket, all bool) {
	t.Helper()
	visited = make(map[pair]tcp.Socket)
	all, err := s.Moved(bg, func(sock *tcp.Socket) error {
		visited[pair{sock.Local, sock.Peer}] = *sock
		return nil
	})
	require.NoError(t, err)
	return visited, all
}

// rest waits until what happened so far is no longer in the overlap of two dumps;
// late acknowledgements included.
func rest() { time.Sleep(time.Duration(overlap)*time.Microsecond + 250*time.Millisecond) }

func TestOnlyWhatMoved(t *testing.T) {
	s := opened(t)
	l := listenPlain(t)
	client, server := dial(t, l)
	half, other := dial(t, l)
	require.NoError(t, half.CloseWrite())
	gone(other)
	listener := listening(l)
	idle := func(visited map[pair]tcp.Socket) {
		t.Helper()
		assert.NotContains(t, visited, endpoints(client))
		assert.NotContains(t, visited, endpoints(server))
		assert.Contains(t, visited, endpoints(half), "in FIN_WAIT2")
		assert.Contains(t, visited, endpoints(other), "in CLOSE_WAIT")
		assert.Contains(t, visited, listener)
	}
	rest()
	visited, all := moved(t, s)
	assert.True(t, all, "the first")
	assert.Contains(t, visited, endpoints(client))
	visited, all = moved(t, s)
	assert.False(t, all)
	idle(visited)

	_, err := client.Write([]byte{1})
	require.NoError(t, err)
	visited, _ = moved(t, s)
	assert.Equal(t, uint64(1), visited[endpoints(client)].BytesSent)
	assert.Equal(t, uint64(1), visited[endpoints(server)].BytesReceived)
	rest()
	moved(t, s)
	visited, _ = moved(t, s)
	idle(visited)

	_, err = server.Read(make([]byte, 1))
	require.NoError(t, err)
	visited, _ = moved(t, s)
	assert.Contains(t, visited, endpoints(server), "a read is something, too")

	// What a dump that failed may have shown is shown again.
	rest()
	moved(t, s)
	_, err = client.Write([]byte{1})
	require.NoError(t, err)
	rest()
	stop := errors.New("stop")
	_, err = s.Moved(bg, func(*tcp.Socket) error { return stop })
	require.Equal(t, stop, err)
	visited, _ = moved(t, s)
	assert.Contains(t, visited, endpoints(client))
	visited, _ = moved(t, s)
	idle(visited)

	// A filter makes all that it wants news, and what it does not want is counted.
	port := listener[0].Port()
	f := &source.Filter{LocalPorts: []source.PortRange{{First: port, Last: port}}}
	require.NoError(t, s.Narrow(f, true))
	visited, all = moved(t, s)
	assert.True(t, all, "another filter")
	assert.Contains(t, visited, endpoints(server))
	visited, all = moved(t, s)
	assert.False(t, all)
	assert.NotContains(t, visited, endpoints(server))
	if assert.Contains(t, visited, endpoints(client)) {
		assert.Zero(t, visited[endpoints(client)].ID.Cookie)
	}
	assert.Contains(t, sockets(t, s), endpoints(server), "Sockets are all of them")
	require.NoError(t, s.Narrow(nil, true))
	_, all = moved(t, s)
	assert.True(t, all)
}

// listening is how a dump shows a listener.
func listening(l net.Listener) pair {
	local := l.Addr().(*net.TCPAddr).AddrPort()
	return pair{local, netip.AddrPortFrom(netip.IPv4Unspecified(), 0)}
}

// model is what somebody knows who only looks at what moves.
type model map[tcp.Identity]tcp.Socket

// follow does what the contract of source.Incremental asks for.
func (m model) follow(t testing.TB, s source.Incremental, c *closes, ours func(*tcp.Socket) bool) (visited int) {
	seen := make(map[tcp.Identity]bool)
	all, err := s.Moved(bg, func(sock *tcp.Socket) error {
		if ours(sock) {
			m[sock.ID] = *sock
			seen[sock.ID] = true
		}
		return nil
	})
	require.NoError(t, err)
	maps.DeleteFunc(m, func(id tcp.Identity, sock tcp.Socket) bool {
		return !seen[id] && (all || sock.State != tcp.Established)
	})
	lost, err := c.Drain(func(n *tcp.Notice) error {
		if sock, ok := m[n.ID]; ok && sock.State == tcp.Established {
			delete(m, n.ID)
		}
		return nil
	})
	require.NoError(t, err)
	require.Zero(t, lost)
	return len(seen)
}

// differences compares it with a full dump.
func (m model) differences(full model) (differs error) {
	for id, is := range full {
		has, ok := m[id]
		if !ok {
			differs = errors.Join(differs, fmt.Errorf("%v %v %v: not there", is.State, is.Local, is.Peer))
		} else if err := difference(has, is, time.Hour); err != nil {
			differs = errors.Join(differs, fmt.Errorf("%v %v %v: %w", is.State, is.Local, is.Peer, err))
		}
	}
	for id, has := range m {
		if _, ok := full[id]; !ok {
			differs = errors.Join(differs, fmt.Errorf("%v %v %v: still there", has.State, has.Local, has.Peer))
		}
	}
	return differs
}

// traffic is connections to which random things happen.
type traffic struct {
	testing.TB
	l     *net.TCPListener
	rand  *rand.Rand
	conns [][2]*net.TCPConn
	buf   []byte
}

func (x *traffic) step() {
	i := x.rand.IntN(len(x.conns))
	// Most rest, as in life.
	i = min(i, x.rand.IntN(len(x.conns)), x.rand.IntN(len(x.conns)), x.rand.IntN(len(x.conns)))
	side := x.rand.IntN(2)
	one, other := x.conns[i][side], x.conns[i][1-side]
	soon := time.Now().Add(time.Millisecond)
	switch x.rand.IntN(12) {
	case 0, 1, 2:
		_ = one.SetWriteDeadline(soon)
		_, _ = one.Write(x.buf[:1+x.rand.IntN(1<<x.rand.IntN(17))])
	case 3, 4, 5:
		_ = other.SetReadDeadline(soon)
		_, _ = other.Read(x.buf[:1+x.rand.IntN(1<<x.rand.IntN(17))])
	case 6:
		_ = other.SetReadDeadline(soon)
		_, _ = io.Copy(io.Discard, other)
	case 7:
		set(x, one, func(fd int) error { return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_CORK, x.rand.IntN(2)) })
	case 8:
		_ = one.SetNoDelay(x.rand.IntN(2) == 0)
	case 9:
		_ = one.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second})
	case 10:
		if x.rand.IntN(4) == 0 {
			_ = one.CloseWrite()
		}
	case 11:
		if x.rand.IntN(2) == 0 {
			_ = one.SetLinger(0)
		}
		_ = one.Close()
		_ = other.Close()
		x.conns[i] = x.pair()
	}
}

func (x *traffic) pair() [2]*net.TCPConn {
	client, err := net.DialTCP("tcp", nil, x.l.Addr().(*net.TCPAddr))
	require.NoError(x, err)
	server, err := x.l.AcceptTCP()
	require.NoError(x, err)
	return [2]*net.TCPConn{client, server}
}

// Whoever looks only at what moves knows what a full dump shows: however the
// traffic was, and however many such looks there were since the only full one.
// TCPSTATS_TEST_MOVED says for how long, such as 10m.
func TestMovedIsEverything(t *testing.T) {
	length := 4 * time.Second
	if text := os.Getenv("TCPSTATS_TEST_MOVED"); text != "" {
		var err error
		length, err = time.ParseDuration(text)
		require.NoError(t, err)
	}
	shared := new(iterator)
	referee := openedBy(t, shared)
	s := openedBy(t, shared)
	t.Run("by the iterator", func(t *testing.T) { movedIsEverything(t, s, closesOf(t, s), referee, func(*rand.Rand) {}, length) })
	m := mixedOf(t, openedBy(t, shared))
	t.Run("by turns", func(t *testing.T) {
		turns := 0
		movedIsEverything(t, m, closesOf(t, m), referee, func(random *rand.Rand) {
			was := m.iterates
			if m.iterates = random.IntN(3) == 0; was != m.iterates {
				turns++
			}
		}, length)
		t.Logf("%d turns", turns)
		assert.Greater(t, turns, 10)
	})
}

// movedIsEverything compares what moves with what the referee shows. turn is called
// before each dump.
func movedIsEverything(t *testing.T, s source.Incremental, c *closes, referee *Source, turn func(*rand.Rand), length time.Duration) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	choices := rand.New(rand.NewPCG(seed, 1))
	x := &traffic{TB: t, l: listenPlain(t), rand: rand.New(rand.NewPCG(seed, 0)), buf: make([]byte, 1<<17)}
	for range 200 {
		x.conns = append(x.conns, x.pair())
	}
	defer func() {
		for _, ends := range x.conns {
			_, _ = ends[0].Close(), ends[1].Close()
		}
	}()
	port := uint16(x.l.Addr().(*net.TCPAddr).Port)
	ours := func(sock *tcp.Socket) bool { return sock.Local.Port() == port || sock.Peer.Port() == port }

	m := make(model)
	dumps, visited, compared := 0, 0, 0
	follow := func() {
		turn(choices)
		visited += m.follow(t, s, c, ours)
		dumps++
	}
	var (
		pause sync.Mutex
		stop  = make(chan struct{})
		ended = make(chan struct{})
	)
	go func() {
		defer close(ended)
		for {
			select {
			case <-stop:
				return
			default:
			}
			pause.Lock()
			x.step()
			pause.Unlock()
			if x.rand.IntN(20) == 0 {
				time.Sleep(time.Duration(x.rand.IntN(3000)) * time.Microsecond)
			}
		}
	}()
	defer func() { close(stop); <-ended }()
	for end := time.Now().Add(length); time.Now().Before(end); {
		for range 5 + rand.IntN(30) {
			follow()
			time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
		}
		// Timers go on: what moves between the two dumps is no difference if at another
		// time there is none.
		pause.Lock()
		var differs error
		for range 20 {
			time.Sleep(50 * time.Millisecond)
			follow()
			full := make(model)
			require.NoError(t, referee.Sockets(bg, func(sock *tcp.Socket) error {
				if ours(sock) {
					full[sock.ID] = *sock
				}
				return nil
			}))
			compared += len(full)
			if differs = m.differences(full); differs == nil {
				break
			}
		}
		pause.Unlock()
		require.NoError(t, differs)
	}
	t.Logf("%d dumps of %d sockets on average, %d at the end; %d compared", dumps, visited/dumps, len(m), compared)
}

// BenchmarkMoved dumps quiet connections: all of them, only what moved, which is
// nothing, and with a program that does nothing. ns/socket is of all sockets there.
func BenchmarkMoved(b *testing.B) {
	s := opened(b)
	var limit unix.Rlimit
	require.NoError(b, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	n := min(10_000, int(limit.Cur/2)-100)
	l := listenPlain(b)
	for range n {
		client, server := dial(b, l)
		// So that nothing of it is left for the next benchmark.
		require.NoError(b, errors.Join(client.SetLinger(0), server.SetLinger(0)))
	}
	time.Sleep(time.Second)
	sockets := 0
	count := func(*tcp.Socket) error { sockets++; return nil }
	require.NoError(b, s.Sockets(bg, count))
	per := func(b *testing.B) {
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(sockets*b.N), "ns/socket")
	}
	b.Run("all", func(b *testing.B) {
		for b.Loop() {
			require.NoError(b, s.Sockets(bg, func(*tcp.Socket) error { return nil }))
		}
		per(b)
	})
	b.Run("moved", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, err := s.Moved(bg, func(*tcp.Socket) error { return nil })
			require.NoError(b, err)
		}
		per(b)
	})
	b.Run("nothing", func(b *testing.B) {
		program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
			Name: "nothing", Type: ebpf.Tracing, AttachType: ebpf.AttachTraceIter, AttachTo: "tcp", License: "Dual BSD/GPL",
			Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
		})
		require.NoError(b, err)
		defer func() { assert.NoError(b, program.Close()) }()
		it, err := link.AttachIter(link.IterOptions{Program: program})
		require.NoError(b, err)
		defer func() { assert.NoError(b, it.Close()) }()
		buf := make([]byte, bufferLen)
		for b.Loop() {
			dump, err := it.Open()
			require.NoError(b, err)
			for err = nil; err == nil; _, err = read(dump, buf) {
			}
			require.ErrorIs(b, err, io.EOF)
			require.NoError(b, dump.Close())
		}
		per(b)
	})
}
