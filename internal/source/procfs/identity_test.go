package procfs

import (
	"hash/maphash"
	"net/netip"
	"os"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

func TestIdentify(t *testing.T) {
	id := identifier{namespace: 4026531833, seed: maphash.MakeSeed()}
	base := tcp.Socket{
		Local: netip.MustParseAddrPort("192.0.2.1:80"), Peer: netip.MustParseAddrPort("192.0.2.2:1024"),
		State: tcp.Established, Inode: 7, UID: 1000,
	}
	require.Equal(t, uint64(4026531833), id.identify(&base).Namespace)
	for _, test := range []struct {
		name   string
		change func(*tcp.Socket)
		same   bool
	}{
		{"nothing", func(*tcp.Socket) {}, true},
		{"orphaned", func(s *tcp.Socket) { s.Inode, s.State = 0, tcp.FinWait1 }, true},
		{"TIME_WAIT", func(s *tcp.Socket) { s.Inode, s.UID, s.State = 0, 0, tcp.TimeWait }, true},
		{"local address", func(s *tcp.Socket) { s.Local = netip.MustParseAddrPort("192.0.2.3:80") }, false},
		{"local port", func(s *tcp.Socket) { s.Local = netip.MustParseAddrPort("192.0.2.1:81") }, false},
		{"peer address", func(s *tcp.Socket) { s.Peer = netip.MustParseAddrPort("192.0.2.3:1024") }, false},
		{"peer port", func(s *tcp.Socket) { s.Peer = netip.MustParseAddrPort("192.0.2.2:1025") }, false},
		{"the two ends of a connection", func(s *tcp.Socket) { s.Local, s.Peer = s.Peer, s.Local }, false},
	} {
		s := base
		test.change(&s)
		require.Equal(t, test.same, id.identify(&base) == id.identify(&s), test.name)
	}

	one := tcp.Socket{Local: netip.MustParseAddrPort("[::]:80"), Peer: netip.MustParseAddrPort("[::]:0"), State: tcp.Listen, Inode: 7}
	two := one
	require.Equal(t, id.identify(&one), id.identify(&two))
	two.Inode = 8
	require.NotEqual(t, id.identify(&one), id.identify(&two), "SO_REUSEPORT")
	two = one
	two.Local, two.Peer = netip.MustParseAddrPort("0.0.0.0:80"), netip.MustParseAddrPort("0.0.0.0:0")
	require.NotEqual(t, id.identify(&one), id.identify(&two))

	other := identifier{seed: maphash.MakeSeed()}
	require.NotEqual(t, id.identify(&base).Cookie, other.identify(&base).Cookie)
}

func TestNamespace(t *testing.T) {
	require.Zero(t, Namespace("testdata/states"))
	if runtime.GOOS != "linux" {
		t.Skip("network namespaces are Linux's")
	}
	link, err := os.Readlink("/proc/self/ns/net")
	require.NoError(t, err)
	want := parseNamespace(link)
	require.NotZero(t, want)
	require.Equal(t, want, Namespace(DefaultDir))
	require.Equal(t, want, Namespace("/proc/self/net"))
	require.Zero(t, Namespace("/proc/0/net"))
}

func TestParseNamespace(t *testing.T) {
	require.Equal(t, uint64(4026531833), parseNamespace("net:[4026531833]"))
	for _, bad := range []string{"", "net:[]", "net:[1", "net:1]", "mnt:[4026531833]", "net:[-1]", "net:[18446744073709551616]", "net:[1]x"} {
		require.Zero(t, parseNamespace(bad), bad)
	}
}

func FuzzParseNamespace(f *testing.F) {
	f.Add("net:[4026531833]")
	f.Add("net:[")
	f.Fuzz(func(_ *testing.T, link string) { parseNamespace(link) })
}
