// SPDX-License-Identifier: Apache-2.0

package beneath

import (
	"encoding/binary"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/route"
	"golang.org/x/sys/unix"
)

// live reads all that this kernel counts.
func live(t testing.TB, r *Reader) Numbers {
	t.Helper()
	want := Parts(AllParts)
	if os.Geteuid() != 0 {
		want &^= Captures
	}
	n, err := r.Read(t.Context(), want)
	require.NoError(t, err)
	return n
}

// alone skips a test of exact numbers where others may change them.
func alone(t *testing.T) {
	t.Helper()
	if os.Getenv("TCPSTATS_ALONE") == "" {
		t.Skip("others may use the network: TCPSTATS_ALONE=1 if not")
	}
}

func get(n *Numbers, family Family, number Number) uint64 {
	v, _ := n.Get(family, number)
	return v
}

// closedPort returns an address to which no socket is bound, and one that is.
func closedPort(t *testing.T, address string) (closed string, open net.PacketConn) {
	t.Helper()
	c, err := net.ListenPacket("udp", address)
	require.NoError(t, err)
	closed = c.LocalAddr().String()
	require.NoError(t, c.Close())
	open, err = net.ListenPacket("udp", address)
	require.NoError(t, err)
	t.Cleanup(func() { open.Close() })
	if open.LocalAddr().String() == closed {
		t.Skip("the port was taken at once")
	}
	return closed, open
}

// datagrams sends n datagrams.
func datagrams(t *testing.T, to string, n int) {
	t.Helper()
	// A socket for each: an answer that the port is closed would fail the next.
	for range n {
		c, err := net.Dial("udp", to)
		require.NoError(t, err)
		_, err = c.Write(make([]byte, 100))
		require.NoError(t, err)
		require.NoError(t, c.Close())
	}
	time.Sleep(50 * time.Millisecond) // for the queue of the loopback interface
}

// limit reads an int.
func limit(t *testing.T, name string) uint64 {
	t.Helper()
	v, err := unix.SysctlUint32(name)
	require.NoError(t, err)
	return uint64(v)
}

// Datagrams to a port that nobody has, to one that somebody has, and to one whose
// socket has no room.
func TestDatagrams(t *testing.T) {
	alone(t)
	const n = 40 // below net.inet.icmp.icmplim and its like for IPv6
	for family, address := range []string{IPv4: "127.0.0.1:0", IPv6: "[::1]:0"} {
		family := Family(family)
		closed, open := closedPort(t, address)
		r := NewReader()
		grew := func(send func()) func(Family, Number) uint64 {
			before := live(t, r)
			send()
			after := live(t, r)
			return func(f Family, number Number) uint64 { return get(&after, f, number) - get(&before, f, number) }
		}
		send := func(to string) { datagrams(t, to, n) }

		g := grew(func() { send(closed) })
		assert.Equal(t, uint64(n), g(BothIP, UDPNoPort), address)
		assert.Equal(t, uint64(n), g(BothIP, UDPSent), address)
		assert.Zero(t, g(BothIP, UDPReceived), address)
		assert.Equal(t, uint64(n), g(family, ICMPUnreachablesSent), address)
		assert.Equal(t, uint64(n), g(family, ICMPUnreachablesReceived), address)
		assert.Equal(t, uint64(n), g(family, ICMPSent), address)
		assert.Equal(t, uint64(n), g(family, ICMPReceived), address)
		assert.Zero(t, g(family, ICMPReceiveErrors), address)
		assert.GreaterOrEqual(t, g(family, IPReceived), uint64(2*n), address)
		assert.GreaterOrEqual(t, g(family, IPSent), uint64(2*n), address)
		other := IPv6 - family
		assert.Zero(t, g(other, ICMPSent), address)

		g = grew(func() { send(open.LocalAddr().String()) })
		assert.Equal(t, uint64(n), g(BothIP, UDPReceived), address)
		assert.Zero(t, g(BothIP, UDPNoPort), address)
		assert.Zero(t, g(BothIP, UDPReceiveBuffer), address)

		require.NoError(t, open.(*net.UDPConn).SetReadBuffer(200))
		g = grew(func() { send(open.LocalAddr().String()) })
		assert.Equal(t, uint64(n), g(BothIP, UDPReceiveBuffer), address)
		assert.Zero(t, g(BothIP, UDPReceived), address)
		require.NoError(t, open.Close())
	}
}

func TestNoRoute(t *testing.T) {
	alone(t)
	r := NewReader()
	for family, address := range []string{IPv4: "198.51.100.1:9", IPv6: "[2001:db8::1]:9"} {
		// One with an address, else a route is missing already when one is chosen.
		c, err := net.ListenPacket("udp", []string{IPv4: "127.0.0.1:0", IPv6: "[::1]:0"}[family])
		require.NoError(t, err)
		to, err := net.ResolveUDPAddr("udp", address)
		require.NoError(t, err)
		before := live(t, r)
		const n = 7
		for range n {
			_, err := c.WriteTo([]byte{1}, to)
			assert.Error(t, err)
		}
		after := live(t, r)
		require.NoError(t, c.Close())
		assert.Equal(t, uint64(n), get(&after, Family(family), IPNoRoutes)-get(&before, Family(family), IPNoRoutes), address)
	}
}

func zoneOf(t *testing.T, n *Numbers, name string) MbufZone {
	t.Helper()
	for _, z := range n.Mbufs {
		if z.Name == name {
			return z
		}
	}
	require.Fail(t, "no such zone", name)
	return MbufZone{}
}

// What is not read stays in the kernel's memory.
func TestMbufs(t *testing.T) {
	alone(t)
	r := NewReader()
	before := live(t, r)
	assert.Len(t, before.Mbufs, len(mbufZones))
	assert.Equal(t, limit(t, "kern.ipc.nmbclusters"), zoneOf(t, &before, clusterZone).Limit)
	assert.Equal(t, limit(t, "kern.ipc.nmbufs"), zoneOf(t, &before, "mbuf").Limit)

	_, open := closedPort(t, "127.0.0.1:0")
	require.NoError(t, open.(*net.UDPConn).SetReadBuffer(1<<18))
	c, err := net.Dial("udp", open.LocalAddr().String())
	require.NoError(t, err)
	const n = 100
	for range n {
		_, err := c.Write([]byte{1})
		require.NoError(t, err)
	}
	held := live(t, r)
	mbufs := func(n *Numbers) int64 {
		return int64(zoneOf(t, n, "mbuf").Usage + zoneOf(t, n, packetZone).Usage)
	}
	// Each datagram comes with another mbuf, of its sender's address.
	assert.InDelta(t, 2*n, mbufs(&held)-mbufs(&before), n/2)
	require.NoError(t, open.Close())
	require.NoError(t, c.Close())
	freed := live(t, r)
	assert.InDelta(t, 0, mbufs(&freed)-mbufs(&before), n/2)

	// The kernel shows the same in another way.
	for _, z := range freed.Mbufs {
		b, err := unix.SysctlRaw("vm.uma." + z.Name + ".stats.current")
		require.NoError(t, err)
		now := live(t, r)
		if z.Name != clusterZone {
			assert.InDelta(t, int64(binary.NativeEndian.Uint32(b)), int64(zoneOf(t, &now, z.Name).Usage), 8, z.Name)
		}
		fails, err := unix.SysctlUint64("vm.uma." + z.Name + ".stats.fails")
		require.NoError(t, err)
		assert.Equal(t, fails, z.Denied, z.Name)
	}
}

func TestQueues(t *testing.T) {
	alone(t)
	of := func(n *Numbers, protocol string) NetISR {
		for _, p := range n.NetISR {
			if p.Protocol == protocol {
				return p
			}
		}
		require.Fail(t, "no such protocol", protocol)
		return NetISR{}
	}
	r := NewReader()
	before := live(t, r)
	assert.Equal(t, limit(t, "net.inet.ip.intr_queue_maxlen"), of(&before, "ip").Limit)
	_, open := closedPort(t, "127.0.0.1:0")
	c, err := net.Dial("udp", open.LocalAddr().String())
	require.NoError(t, err)
	const n = 50
	for range n {
		_, err := c.Write([]byte{1})
		require.NoError(t, err)
	}
	time.Sleep(50 * time.Millisecond)
	after := live(t, r)
	ip, was := of(&after, "ip"), of(&before, "ip")
	assert.InDelta(t, n, ip.Handled-was.Handled, 5)
	assert.Positive(t, ip.Watermark)
	assert.Equal(t, of(&before, "ip6").Handled, of(&after, "ip6").Handled)
	require.NotNil(t, after.Softnet)
	assert.False(t, after.Softnet.HasSqueezes)
	var drops uint64
	for _, p := range after.NetISR {
		if p.Protocol != routingMessages {
			drops += p.Drops
		}
	}
	assert.Equal(t, drops, after.Softnet.Drops)
}

func TestInterfaces(t *testing.T) {
	n := live(t, NewReader())
	want, err := net.Interfaces()
	require.NoError(t, err)
	var names, got []string
	for _, in := range want {
		names = append(names, in.Name)
	}
	for _, in := range n.Interfaces {
		got = append(got, in.Name)
	}
	assert.Equal(t, names, got)
	assert.Contains(t, got, "lo0")
}

// device opens a bpf device of the loopback interface, with a buffer that is soon full.
func device(t *testing.T) (fd int) {
	t.Helper()
	fd, err := unix.Open("/dev/bpf", unix.O_RDONLY, 0)
	require.NoError(t, err)
	control := func(request uintptr, p unsafe.Pointer) {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(p))
		require.Zero(t, errno)
	}
	length := uint32(512)
	control(unix.BIOCSBLEN, unsafe.Pointer(&length))
	var name [32]byte // struct ifreq
	copy(name[:], "lo0")
	control(unix.BIOCSETIF, unsafe.Pointer(&name))
	return fd
}

func TestDevices(t *testing.T) {
	alone(t)
	if os.Geteuid() != 0 {
		_, err := NewReader().Read(t.Context(), Captures)
		require.ErrorIs(t, err, unix.EPERM)
		assert.ErrorContains(t, err, "net.bpf.stats")
		assert.ErrorContains(t, err, "only root")
		return
	}
	r := NewReader()
	read := func() []Device { n := live(t, r); return n.Devices }
	assert.Empty(t, read())
	first, second := device(t), device(t)
	assert.Equal(t, []Device{{Interface: "lo0", PID: int32(os.Getpid())}}, read(), "two, as one")
	_, open := closedPort(t, "127.0.0.1:0")
	c, err := net.Dial("udp", open.LocalAddr().String())
	require.NoError(t, err)
	const n = 50
	send := func() {
		for range n {
			_, err := c.Write(make([]byte, 200))
			require.NoError(t, err)
		}
	}
	send()
	both := read()
	require.Len(t, both, 1)
	assert.Equal(t, uint64(2*n), both[0].Received)
	// Two buffers of 512 bytes take four of them at most.
	assert.GreaterOrEqual(t, both[0].Dropped, uint64(2*(n-4)))

	require.NoError(t, unix.Close(first))
	one := read()
	assert.Equal(t, both, one, "a count never falls")
	send()
	assert.Equal(t, uint64(3*n), read()[0].Received)
	require.NoError(t, unix.Close(second))
	assert.Empty(t, read())
}

// change adds or removes routes to n hosts.
func change(t *testing.T, kind, n int) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_ROUTE, unix.SOCK_RAW, unix.AF_UNSPEC)
	require.NoError(t, err)
	defer unix.Close(fd)
	for i := range n {
		m := route.RouteMessage{
			Version: unix.RTM_VERSION, Type: kind, Flags: unix.RTF_UP | unix.RTF_HOST | unix.RTF_GATEWAY | unix.RTF_STATIC, Seq: i + 1,
			Addrs: []route.Addr{
				syscall.RTAX_DST:     &route.Inet4Addr{IP: [4]byte{203, 0, 113, byte(i + 1)}},
				syscall.RTAX_GATEWAY: &route.Inet4Addr{IP: [4]byte{127, 0, 0, 1}},
			},
		}
		b, err := m.Marshal()
		require.NoError(t, err)
		_, err = unix.Write(fd, b)
		require.NoError(t, err)
	}
}

func TestRoutes(t *testing.T) {
	alone(t)
	if os.Geteuid() != 0 {
		t.Skip("routes are root's to make")
	}
	r := NewReader()
	before := live(t, r)
	require.NotNil(t, before.Routes)
	assert.Positive(t, before.Routes.Routes)
	assert.Positive(t, before.Routes.Nexthops)
	const n = 20
	change(t, unix.RTM_ADD, n)
	with := live(t, r)
	assert.Equal(t, before.Routes.Routes+n, with.Routes.Routes)
	assert.Equal(t, before.Routes.Nexthops+1, with.Routes.Nexthops, "one for all of them")
	change(t, unix.RTM_DELETE, n)
	require.Eventually(t, func() bool {
		now := live(t, r)
		return *now.Routes == *before.Routes
	}, 10*time.Second, 50*time.Millisecond)
}

// Only what is wanted is read.
func TestWants(t *testing.T) {
	n, err := NewReader().Read(t.Context(), 0)
	require.NoError(t, err)
	assert.Equal(t, Numbers{}, n)
	n, err = NewReader().Read(t.Context(), Memory)
	require.NoError(t, err)
	assert.NotEmpty(t, n.Mbufs)
	assert.Nil(t, n.Routes)
	assert.Nil(t, n.NetISR)
}

func BenchmarkRead(b *testing.B) {
	r := NewReader()
	b.ReportAllocs()
	for b.Loop() {
		live(b, r)
	}
}
