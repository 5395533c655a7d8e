// SPDX-License-Identifier: Apache-2.0

package route

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// kernel4 is an IPv4 address as the kernel of this machine writes it.
func kernel4(text string) string {
	b := netip.MustParseAddr(text).As4()
	return fmt.Sprintf("%08X", binary.NativeEndian.Uint32(b[:]))
}

func line4(to, gateway string, flags, metric int, mask string) string {
	return fmt.Sprintf("eth0\t%s\t%s\t%04X\t0\t0\t%d\t%s\t0\t0\t0\n", kernel4(to), kernel4(gateway), flags, metric, kernel4(mask))
}

const zero6 = "00000000000000000000000000000000"

func line6(to string, length int, gateway string, metric, flags int) string {
	b, g := netip.MustParseAddr(to).As16(), netip.MustParseAddr(gateway).As16()
	return fmt.Sprintf("%x %02x %s 00 %x %08x 00000001 00000000 %08x     eth0\n", b, length, zero6, g, metric, flags)
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
}

func TestGateway(t *testing.T) {
	dir := t.TempDir()
	_, err := Read(dir)
	require.ErrorIs(t, err, os.ErrNotExist)
	write(t, dir, "route", "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"+
		line4("0.0.0.0", "192.0.2.2", flagUp|flagGateway, 200, "0.0.0.0")+
		line4("0.0.0.0", "192.0.2.1", flagUp|flagGateway, 100, "0.0.0.0")+
		line4("192.0.2.0", "0.0.0.0", flagUp, 100, "255.255.255.0")+
		line4("10.0.0.0", "192.0.2.9", flagUp|flagGateway, 0, "255.0.0.0")+
		line4("203.0.113.0", "0.0.0.0", flagUp|flagReject, 0, "255.255.255.0"))
	table, err := Read(dir)
	require.NoError(t, err, "no IPv6")
	_, ok := table.Gateway(netip.MustParseAddr("2001:db8::1"))
	assert.False(t, ok)
	write(t, dir, "ipv6_route",
		line6("::", 0, "fe80::1", 1024, flagUp|flagGateway)+
			line6("2001:db8::", 64, "::", 256, flagUp)+
			line6("2001:db8::10", 128, "::", 0, flagUp|flagLocal)+
			line6("::", 0, "::", 0xffffffff, flagUp|flagReject))
	table, err = Read(dir)
	require.NoError(t, err)
	assert.Equal(t, 6, table.Len())
	for to, want := range map[string]string{
		"198.51.100.7": "192.0.2.1", "192.0.2.77": "link", "10.1.2.3": "192.0.2.9", "203.0.113.7": "192.0.2.1",
		"2001:db8::77": "link", "2001:db8:1::1": "fe80::1%eth0", "::ffff:198.51.100.7": "192.0.2.1",
	} {
		gateway, ok := table.Gateway(netip.MustParseAddr(to))
		require.True(t, ok, to)
		got := "link"
		if gateway.IsValid() {
			got = gateway.String()
		}
		assert.Equal(t, want, got, to)
	}
	_, ok = Table{}.Gateway(netip.MustParseAddr("192.0.2.1"))
	assert.False(t, ok)
}

// A router's table is not searched for each network of peers.
func TestTooManyRoutes(t *testing.T) {
	dir := t.TempDir()
	var text strings.Builder
	for n := range maxRoutes + 1 {
		text.WriteString(line4(fmt.Sprintf("10.%d.%d.0", n/256, n%256), "192.0.2.1", flagUp|flagGateway, 0, "255.255.255.0"))
	}
	write(t, dir, "route", text.String())
	_, err := Read(dir)
	require.ErrorIs(t, err, errTooMany)
}

func FuzzParse(f *testing.F) {
	f.Add(line4("0.0.0.0", "192.0.2.1", flagUp|flagGateway, 100, "0.0.0.0"))
	f.Add(line6("2001:db8::", 64, "fe80::1", 256, flagUp|flagGateway))
	f.Fuzz(func(t *testing.T, line string) {
		for _, parse := range []func(string) (entry, bool){parse4, parse6} {
			if one, ok := parse(line); ok && (!one.prefix.IsValid() || one.prefix != one.prefix.Masked()) {
				t.Errorf("%q is %+v", line, one)
			}
		}
	})
}
