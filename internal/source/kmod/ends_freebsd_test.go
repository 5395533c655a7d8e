// SPDX-License-Identifier: Apache-2.0

package kmod

import (
	"encoding/base64"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

const deviceEnds = Device + ".ends"

// ends returns how many connections a test ends.
func ends(t *testing.T, usual int) int {
	t.Helper()
	text := os.Getenv("TCPSTATS_ENDS")
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err)
	return n
}

func openEnds(t testing.TB) *closes {
	t.Helper()
	c, err := openCloses(deviceEnds)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() }) // a test may have closed it
	return c
}

// collector drains a stream until it is stopped.
type collector struct {
	t       *testing.T
	stream  *closes
	mu      sync.Mutex
	notices map[[2]netip.AddrPort][]tcp.Notice
	lost    uint64
	done    chan struct{}
}

func collect(t *testing.T) *collector {
	c := &collector{t: t, stream: openEnds(t), notices: map[[2]netip.AddrPort][]tcp.Notice{}, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		for {
			if err := c.stream.Wait(); err != nil {
				if !errors.Is(err, os.ErrClosed) {
					t.Errorf("wait: %v", err)
				}
				return
			}
			c.drain()
		}
	}()
	return c
}

func (c *collector) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	lost, err := c.stream.Drain(func(n *tcp.Notice) error {
		key := [2]netip.AddrPort{n.Local, n.Peer}
		c.notices[key] = append(c.notices[key], *n)
		return nil
	})
	c.lost += lost
	if err != nil && !errors.Is(err, os.ErrClosed) {
		c.t.Errorf("drain: %v", err)
	}
}

// of waits for the notices of a connection's end.
func (c *collector) of(local, peer net.Addr) (all []tcp.Notice) {
	key := [2]netip.AddrPort{addrPort(local), addrPort(peer)}
	for range 100 {
		c.mu.Lock()
		all = c.notices[key]
		c.mu.Unlock()
		if len(all) > 0 {
			return all
		}
		time.Sleep(50 * time.Millisecond)
	}
	return nil
}

func (c *collector) count() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, all := range c.notices {
		n += len(all)
	}
	return n
}

func (c *collector) stop() {
	require.NoError(c.t, c.stream.Close())
	<-c.done
}

// shutdown is a way to end a connection of which all that was sent was read.
type shutdown struct {
	name           string
	run            func(client, server *net.TCPConn)
	client, server []tcp.Cause // each of these is right
}

// fin closes one's own direction and waits until the other has closed its own.
func fin(c *net.TCPConn) {
	_ = c.CloseWrite()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.Copy(io.Discard, c)
	_ = c.Close()
}

// end closes after the peer has.
func end(c *net.TCPConn) {
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.Copy(io.Discard, c)
	_ = c.Close()
}

func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}

func shutdowns() []shutdown {
	one := func(c tcp.Cause) []tcp.Cause { return []tcp.Cause{c} }
	peerReset := one(tcp.PeerReset)
	orderly := []tcp.Cause{tcp.LocalClose, tcp.PeerClose}
	return []shutdown{
		{"client first", func(c, s *net.TCPConn) { go end(s); fin(c) }, one(tcp.LocalClose), one(tcp.PeerClose)},
		{"server first", func(c, s *net.TCPConn) { go end(c); fin(s) }, one(tcp.PeerClose), one(tcp.LocalClose)},
		{"client resets", func(c, s *net.TCPConn) { reset(c); end(s) }, one(tcp.LocalReset), peerReset},
		{"server resets", func(c, s *net.TCPConn) { reset(s); end(c) }, peerReset, one(tcp.LocalReset)},
		{"both at once", func(c, s *net.TCPConn) { go fin(s); fin(c) }, orderly, orderly},
		{"closed at once", func(c, s *net.TCPConn) { _ = c.Close(); end(s) }, one(tcp.LocalClose), one(tcp.PeerClose)},
	}
}

// exchange sends so many bytes each way, and reads them.
func exchange(t *testing.T, client, server *net.TCPConn, up, down int) {
	t.Helper()
	var group sync.WaitGroup
	send := func(from, to *net.TCPConn, n int) {
		group.Go(func() { _, err := from.Write(make([]byte, n)); assert.NoError(t, err) })
		group.Go(func() { _, err := io.CopyN(io.Discard, to, int64(n)); assert.NoError(t, err) })
	}
	send(client, server, up)
	send(server, client, down)
	group.Wait()
}

func kernelMajor(t *testing.T) int {
	t.Helper()
	v, err := unix.SysctlUint32("kern.osreldate")
	require.NoError(t, err)
	return int(v / 100000)
}

// listener accepts for whoever dials it, one at a time.
type listener struct {
	net.Listener
	mu sync.Mutex
}

func (l *listener) pair(network string) (client, server *net.TCPConn, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return nil, nil, err
	}
	host := "127.0.0.1"
	if network == "tcp6" {
		host = "::1"
	}
	c, err := net.DialTimeout(network, net.JoinHostPort(host, port), 10*time.Second)
	if err != nil {
		return nil, nil, err
	}
	s, err := l.Accept()
	if err != nil {
		return nil, nil, errors.Join(err, c.Close())
	}
	return c.(*net.TCPConn), s.(*net.TCPConn), nil
}

// Each end comes once, with every byte, role, cause and process right, for both
// ends of each connection.
func TestEndsAreExact(t *testing.T) {
	module(t)
	stacks := []string{""}
	if stack, err := unix.Sysctl("net.inet.tcp.functions_default"); err == nil && stack == "freebsd" {
		if writeSysctl("net.inet.tcp.functions_default", []byte("rack\x00")) == nil {
			require.NoError(t, writeSysctl("net.inet.tcp.functions_default", []byte("freebsd\x00")))
			stacks = append(stacks, "rack")
		}
	}
	for _, stack := range stacks {
		for _, kind := range []struct{ name, network, address string }{
			{"IPv4", "tcp4", "127.0.0.1:0"}, {"IPv6", "tcp6", "[::1]:0"}, {"IPv4 in IPv6", "tcp4", "[::]:0"},
		} {
			t.Run(stack+kind.name, func(t *testing.T) {
				if stack != "" {
					require.NoError(t, writeSysctl("net.inet.tcp.functions_default", []byte(stack+"\x00")))
					defer func() {
						require.NoError(t, writeSysctl("net.inet.tcp.functions_default", []byte("freebsd\x00")))
					}()
				}
				exact(t, kind.network, kind.address, ends(t, 300))
			})
		}
	}
}

type endpoints struct{ local, peer net.Addr }

func exact(t *testing.T, network, address string, n int) {
	tcpListener, err := net.Listen("tcp", address)
	require.NoError(t, err)
	defer tcpListener.Close()
	l := &listener{Listener: tcpListener}
	c := collect(t)
	type life struct {
		how            shutdown
		client, server endpoints
		up, down       int
	}
	ways := shutdowns()
	lives := make([]life, n)
	began := time.Now()
	var group sync.WaitGroup
	for worker := range 8 {
		group.Go(func() {
			for i := worker; i < n; i += 8 {
				client, server, err := l.pair(network)
				if !assert.NoError(t, err) {
					return
				}
				v := life{
					how: ways[i%len(ways)], up: 1 + rand.IntN(20000), down: 1 + rand.IntN(20000),
					client: endpoints{client.LocalAddr(), client.RemoteAddr()},
					server: endpoints{server.LocalAddr(), server.RemoteAddr()},
				}
				exchange(t, client, server, v.up, v.down)
				lives[i] = v
				v.how.run(client, server)
			}
		})
	}
	group.Wait()
	took := time.Since(began)

	// Ports are used again, so an end is known by its connection's bytes, too.
	expected := map[[2]netip.AddrPort]int{}
	for i := range lives {
		if v := &lives[i]; v.how.name != "" {
			expected[[2]netip.AddrPort{addrPort(v.client.local), addrPort(v.client.peer)}]++
			expected[[2]netip.AddrPort{addrPort(v.server.local), addrPort(v.server.peer)}]++
		}
	}
	total := 0
	for _, n := range expected {
		total += n
	}
	require.Eventually(t, func() bool { return c.count() >= total }, 10*time.Second, 50*time.Millisecond, "ends are missing")
	c.stop()
	assert.Equal(t, total, c.count(), "one end each")
	assert.Zero(t, c.lost)

	path, err := os.Executable()
	require.NoError(t, err)
	executable := filepath.Base(path)
	executable = executable[:min(len(executable), commLen-1)]
	wrong, causes := 0, map[string]int{}
	check := func(v *life, role tcp.Role, at endpoints, sent, received int, right []tcp.Cause) {
		key := [2]netip.AddrPort{addrPort(at.local), addrPort(at.peer)}
		all := c.notices[key]
		i := slices.IndexFunc(all, func(n tcp.Notice) bool {
			return n.BytesSent-n.BytesRetransmitted == uint64(sent) && n.BytesReceived == uint64(received)
		})
		if i < 0 || len(all) > expected[key] {
			wrong++
			for _, n := range all {
				t.Logf("sent %d - %d, received %d", n.BytesSent, n.BytesRetransmitted, n.BytesReceived)
			}
			t.Errorf("%s, the %s, %v: none of %d ends has sent %d and received %d", v.how.name, role, key, len(all), sent, received)
			return
		}
		n := all[i]
		ok := assert.Contains(t, right, n.Cause, "%s, the %s: left %s, sent %d", v.how.name, role, n.Left, sent) &&
			assert.Equal(t, role, n.Role, v.how.name) && assert.False(t, n.NeverEstablished) && assert.Zero(t, n.Low32) &&
			assert.NotEmpty(t, n.CongestionControl) &&
			assert.WithinRange(t, n.Ended, began.Add(-time.Second), time.Now().Add(time.Second)) &&
			assert.WithinRange(t, n.Established, began.Add(-time.Second), n.Ended.Add(time.Millisecond))
		if ok && assert.NotNil(t, n.Holder, "%s, the %s", v.how.name, role) {
			ok = assert.Equal(t, int32(os.Getpid()), n.Holder.PID, "%s, the %s", v.how.name, role) && assert.Equal(t, executable, n.Holder.Executable)
		}
		if !ok {
			wrong++
		}
		causes[v.how.name+": "+role.String()+" "+n.Cause.String()]++
	}
	for i := range lives {
		v := &lives[i]
		if v.how.name == "" {
			continue // no connection came of it, which was said
		}
		check(v, tcp.Client, v.client, v.up, v.down, v.how.client)
		check(v, tcp.Server, v.server, v.down, v.up, v.how.server)
		if wrong > 3 {
			t.Fatal("and so on")
		}
	}
	t.Logf("%d connections in %s, %d of their %d ends wrong: %v", n, took.Round(time.Millisecond), wrong, 2*n, causes)
}

// Nothing is seen while nobody reads, and a connection that is older than the
// reader ends nevertheless.
func TestEndsOfOlderConnections(t *testing.T) {
	module(t)
	tcpListener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer tcpListener.Close()
	l := &listener{Listener: tcpListener}

	before := number(t, "ends_seen")
	client, server, err := l.pair("tcp4")
	require.NoError(t, err)
	go end(server)
	fin(client)
	time.Sleep(200 * time.Millisecond)
	assert.Equal(t, before, number(t, "ends_seen"), "nobody reads")

	client, server, err = l.pair("tcp4")
	require.NoError(t, err)
	exchange(t, client, server, 5000, 300)
	c := collect(t)
	exchange(t, client, server, 70, 7)
	at := endpoints{client.LocalAddr(), client.RemoteAddr()}
	go end(server)
	fin(client)
	all := c.of(at.local, at.peer)
	require.Len(t, all, 1)
	n := all[0]
	assert.Equal(t, uint64(5070), n.BytesSent)
	assert.Equal(t, uint64(307), n.BytesReceived)
	assert.Equal(t, fields(tcp.FieldBytesReceived), n.Low32)
	assert.Equal(t, tcp.NoRole, n.Role, "its beginning was not seen")
	assert.Equal(t, tcp.LocalClose, n.Cause)
	assert.Zero(t, n.Handshake)

	// The same identity as in a walk.
	client, server, err = l.pair("tcp4")
	require.NoError(t, err)
	at = endpoints{client.LocalAddr(), client.RemoteAddr()}
	r := walkOnce(t).find(addrPort(at.local), addrPort(at.peer))
	require.NotNil(t, r)
	reset(client)
	end(server)
	all = c.of(at.local, at.peer)
	require.Len(t, all, 1)
	assert.Equal(t, tcp.Identity{Cookie: r.u64(atGencnt)}, all[0].ID)
	assert.Positive(t, all[0].Handshake)
	assert.Less(t, all[0].Handshake, 5*time.Second)

	// And the sysctl follows connections for the reader to come.
	c.stop()
	setSysctl(t, "net.inet.tcp.tcpstats.ends", 1)
	client, server, err = l.pair("tcp4")
	require.NoError(t, err)
	at = endpoints{client.LocalAddr(), client.RemoteAddr()}
	c = collect(t)
	go end(server)
	fin(client)
	all = c.of(at.local, at.peer)
	require.Len(t, all, 1)
	assert.Equal(t, tcp.Client, all[0].Role)
	c.stop()

	// The process of an end is the one that the processes say it is.
	require.NotNil(t, all[0].Holder)
	resolver, err := process.NewResolver(process.Options{})
	require.NoError(t, err)
	defer resolver.Close()
	p := resolver.Seen(time.Now(), all[0].Holder)
	assert.Equal(t, int32(os.Getpid()), p.PID)
	assert.Equal(t, int32(os.Getppid()), p.ParentPID, "it is still there: all is known of it")
	ended := *all[0].Holder
	ended.Started -= time.Second
	p = resolver.Seen(time.Now(), &ended)
	assert.Zero(t, p.ParentPID, "another one of that number, of which nothing else is known")
	assert.Equal(t, ended.Executable, p.Executable)
}

// Attempts that fail end, too.
func TestEndsOfAttempts(t *testing.T) {
	module(t)
	c := collect(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	nobody := l.Addr().(*net.TCPAddr)
	require.NoError(t, l.Close())
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	require.NoError(t, err)
	require.NoError(t, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	sa, err := unix.Getsockname(fd)
	require.NoError(t, err)
	local := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: sa.(*unix.SockaddrInet4).Port}
	require.ErrorIs(t, unix.Connect(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: nobody.Port}), unix.ECONNREFUSED)
	require.NoError(t, unix.Close(fd))
	all := c.of(local, nobody)
	require.Len(t, all, 1)
	n := all[0]
	assert.True(t, n.NeverEstablished)
	assert.Equal(t, tcp.SynSent, n.Left)
	assert.Equal(t, tcp.Client, n.Role)
	assert.Zero(t, n.BytesSent)
	assert.Zero(t, n.BytesReceived)
	assert.True(t, n.Established.IsZero())
	if kernelMajor(t) >= 15 {
		assert.Equal(t, tcp.Refused, n.Failure)
	} else {
		assert.Equal(t, tcp.NoFailure, n.Failure, "13 does not say")
	}
	c.stop()
}

// Reads of every size, full rings, and what waits for something to read.
func TestEndsDevice(t *testing.T) {
	module(t)
	tcpListener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer tcpListener.Close()
	l := &listener{Listener: tcpListener}
	one := func() {
		client, server, err := l.pair("tcp4")
		require.NoError(t, err)
		reset(client)
		end(server)
	}
	setSysctl(t, "net.inet.tcp.tcpstats.ends_ring", 8)
	fd, err := unix.Open(deviceEnds, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	for _, size := range []int{0, 1, endsHeaderLenV1, endsHeaderLenV1 + endLenV1 - 1} {
		_, err := unix.Read(fd, make([]byte, size))
		if size == 0 {
			assert.NoError(t, err)
			continue
		}
		assert.ErrorIs(t, err, unix.EINVAL, "%d bytes", size)
	}
	_, err = unix.Read(fd, make([]byte, 4096))
	assert.ErrorIs(t, err, unix.EAGAIN)
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	require.NoError(t, err)
	assert.Zero(t, n)

	time.AfterFunc(300*time.Millisecond, one)
	n, err = unix.Poll(fds, 10000)
	require.NoError(t, err)
	assert.Equal(t, 1, n, "poll(2) wakes")
	time.Sleep(300 * time.Millisecond)
	d, seen := NewEndDecoder(), 0
	visit := func(*tcp.Notice) error { seen++; return nil }
	buf := make([]byte, endsHeaderLenV1+endLenV1+100)
	for _, pending := range []uint64{1, 0} {
		n, err = unix.Read(fd, buf)
		require.NoError(t, err)
		require.Equal(t, endsHeaderLenV1+endLenV1, n, "one end at a time")
		assert.Equal(t, pending, raw(buf).u64(atEndsPending))
		lost, err := d.Read(buf[:n], visit)
		require.NoError(t, err)
		assert.Zero(t, lost)
	}
	assert.Equal(t, 2, seen, "both ends of the connection")
	_, err = unix.Read(fd, buf)
	assert.ErrorIs(t, err, unix.EAGAIN)

	// A full ring.
	lostBefore := number(t, "ends_lost")
	for range 10 {
		one()
	}
	time.Sleep(200 * time.Millisecond)
	assert.Equal(t, lostBefore+12, number(t, "ends_lost"))
	big := make([]byte, 1<<20)
	_, _, errno := unix.Syscall(unix.SYS_READ, uintptr(fd), 8, 1<<20)
	assert.Equal(t, unix.EFAULT, errno, "which loses nothing")
	n, err = unix.Read(fd, big)
	require.NoError(t, err)
	seen = 0
	lost, err := d.Read(big[:n], visit)
	require.NoError(t, err)
	assert.Equal(t, uint64(12), lost)
	assert.Equal(t, 8, seen)
	one()
	time.Sleep(200 * time.Millisecond)
	n, err = unix.Read(fd, big)
	require.NoError(t, err)
	lost, err = d.Read(big[:n], visit)
	require.NoError(t, err)
	assert.Zero(t, lost, "each is said once")
	if os.Getenv("TCPSTATS_DUMP") != "" {
		t.Logf("DUMP %s", base64.StdEncoding.EncodeToString(big[:n]))
	}

	// A read that blocks.
	blocking, err := unix.Open(deviceEnds, unix.O_RDONLY, 0)
	require.NoError(t, err)
	got := make(chan error, 1)
	go func() { _, err := unix.Read(blocking, make([]byte, 4096)); got <- err }()
	select {
	case err := <-got:
		t.Fatalf("did not block: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	one()
	require.NoError(t, <-got)
	require.NoError(t, unix.Close(blocking))
	for _, flags := range []int{unix.O_WRONLY, unix.O_RDWR} {
		_, err := unix.Open(deviceEnds, flags, 0)
		assert.ErrorIs(t, err, unix.EPERM)
	}
}

// As many readers as there may be, each with the same ends.
func TestEndsReaders(t *testing.T) {
	module(t)
	tcpListener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer tcpListener.Close()
	l := &listener{Listener: tcpListener}
	var all []*collector
	for range 16 {
		all = append(all, collect(t))
	}
	assert.Equal(t, uint64(16), number(t, "ends_readers"))
	_, err = os.Open(deviceEnds)
	assert.ErrorIs(t, err, unix.EBUSY)
	client, server, err := l.pair("tcp4")
	require.NoError(t, err)
	at := endpoints{client.LocalAddr(), client.RemoteAddr()}
	go end(server)
	fin(client)
	want := all[0].of(at.local, at.peer)
	require.Len(t, want, 1)
	for _, c := range all[1:] {
		got := c.of(at.local, at.peer)
		require.Len(t, got, 1)
		assert.Equal(t, want[0].ID, got[0].ID)
		c.stop()
	}
	all[0].stop()
	assert.Zero(t, number(t, "ends_readers"))
}
