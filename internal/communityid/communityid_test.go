// SPDX-License-Identifier: Apache-2.0

package communityid

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
)

// The reference values of TCP in the specification, baseline/baseline_deflt.json.
func TestReferenceVectors(t *testing.T) {
	for _, tt := range []struct{ a, b, want string }{
		{"128.232.110.120:34855", "66.35.250.204:80", "1:LQU9qZlK+B5F3KDmev6m5PMibrg="},
		{"[2001:470:e5bf:dead:4957:2174:e82c:4887]:63943", "[2607:f8b0:400c:c03::1a]:25", "1:/qFaeAR+gFe1KYjMzVDsMv+wgU4="},
	} {
		a, b := netip.MustParseAddrPort(tt.a), netip.MustParseAddrPort(tt.b)
		assert.Equal(t, tt.want, text(a, b), "%s to %s", a, b)
		assert.Equal(t, tt.want, text(b, a), "%s to %s", b, a)
	}
}

// Between ports of one address, the lower port comes first.
func TestOneAddress(t *testing.T) {
	a, b := netip.MustParseAddrPort("127.0.0.1:8080"), netip.MustParseAddrPort("127.0.0.1:40000")
	assert.Equal(t, text(a, b), text(b, a))
	assert.NotEqual(t, text(a, b), text(a, a))
}

// Each host has a zone of its own for one link.
func TestZonesDoNotCount(t *testing.T) {
	here := text(netip.MustParseAddrPort("[fe80::1%eth0]:80"), netip.MustParseAddrPort("[fe80::2%eth0]:5000"))
	there := text(netip.MustParseAddrPort("[fe80::2%wlan0]:5000"), netip.MustParseAddrPort("[fe80::1%wlan0]:80"))
	assert.Equal(t, here, there)
}

func text(a, b netip.AddrPort) string { return string(AppendTCP(nil, a, b)) }

func BenchmarkTCP(b *testing.B) {
	x, y := netip.MustParseAddrPort("192.0.2.1:40000"), netip.MustParseAddrPort("198.51.100.7:443")
	var room []byte
	b.ReportAllocs()
	for b.Loop() {
		room = AppendTCP(room[:0], x, y)
	}
}
