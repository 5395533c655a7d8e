// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func service(prefix string, port uint16, name string) Service {
	return Service{netip.MustParsePrefix(prefix), port, name}
}

func TestServices(t *testing.T) {
	s, warnings := NewServices([]Service{
		service("10.20.0.0/16", 5432, "orders-db"),
		service("10.20.3.0/24", 0, "third"),
		service("10.0.0.0/8", 443, "internal-https"),
		service("10.20.0.0/16", 0, "twenty"),
		service("10.0.0.0/8", 0, "internal"),
		service("2001:db8::/32", 0, "documentation"),
		service("0.0.0.0/0", 22, "ssh"),
		service("255.255.255.255/32", 0, "last"),
		service("::/0", 0, "ipv6"),
	})
	assert.Empty(t, warnings)
	for peer, want := range map[string]string{
		"10.20.1.1:5432":          "orders-db",
		"10.20.3.1:5432":          "orders-db", // the first in the list, not the narrowest
		"10.20.3.1:443":           "third",
		"10.20.4.1:443":           "internal-https",
		"10.20.4.1:80":            "twenty",
		"10.21.0.0:80":            "internal",
		"10.19.255.255:443":       "internal-https",
		"10.255.255.255:1":        "internal",
		"11.0.0.0:1":              "",
		"9.255.255.255:1":         "",
		"11.0.0.0:22":             "ssh",
		"0.0.0.0:22":              "ssh",
		"255.255.255.255:1":       "last",
		"255.255.255.255:22":      "ssh",
		"[2001:db8::1]:1":         "documentation",
		"[2001:db9::1]:1":         "ipv6",
		"[::ffff:10.20.3.1]:443":  "third",
		"[fe80::1%eth0]:1":        "ipv6",
		"[2001:db8:ffff::]:22":    "documentation",
		"[ffff:ffff::ffff]:65535": "ipv6",
	} {
		assert.Equal(t, want, s.Lookup(netip.MustParseAddrPort(peer)), peer)
	}
	none, _ := NewServices(nil)
	assert.Empty(t, none.Lookup(netip.MustParseAddrPort("10.0.0.1:1")))
	assert.Empty(t, none.Lookup(netip.AddrPort{}))
}

func TestServicesHidden(t *testing.T) {
	_, warnings := NewServices([]Service{
		service("10.0.0.0/8", 0, "internal"),
		service("10.20.0.0/16", 5432, "orders-db"),
		service("192.0.2.0/24", 80, "web"),
		service("192.0.2.0/24", 443, "web-tls"),
		service("192.0.2.0/24", 80, "web-again"),
		service("192.0.2.7/32", 80, "seven"),
		service("192.0.2.0/24", 0, "others"),
		service("192.0.0.0/16", 80, "larger"),
		service("::/0", 0, "ipv6"),
	})
	assert.Equal(t, []string{
		"orders-db (10.20.0.0/16, port 5432) is never found: internal (10.0.0.0/8) comes before it and matches all that it does",
		"web-again (192.0.2.0/24, port 80) is never found: web (192.0.2.0/24, port 80) comes before it and matches all that it does",
		"seven (192.0.2.7/32, port 80) is never found: web (192.0.2.0/24, port 80) comes before it and matches all that it does",
	}, warnings)
}

// some is a random list, of networks that lie in each other.
func some(random *rand.Rand, n int) []Service {
	list := make([]Service, n)
	for i := range list {
		var prefix netip.Prefix
		if random.IntN(3) == 0 {
			prefix = netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, byte(random.IntN(4)), byte(random.IntN(4)), 15: byte(random.IntN(4))}), random.IntN(129))
		} else {
			prefix = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(random.IntN(4)), byte(random.IntN(4)), byte(random.IntN(256))}), random.IntN(33))
		}
		list[i] = Service{prefix.Masked(), uint16(max(0, random.IntN(40)-10)), fmt.Sprint(i)}
	}
	return list
}

// Going through the list finds the same.
func TestServicesAgainstList(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 10))
	for range 100 {
		list := some(random, 1+random.IntN(400))
		s, _ := NewServices(list)
		for range 300 {
			addr := netip.AddrFrom4([4]byte{byte(8 + random.IntN(4)), byte(random.IntN(5)), byte(random.IntN(5)), byte(random.IntN(256))})
			if random.IntN(2) == 0 {
				addr = netip.AddrFrom16([16]byte{0x20, 1, byte(random.IntN(5)), byte(random.IntN(5)), 14: byte(random.IntN(2)), 15: byte(random.IntN(5))})
			}
			peer := netip.AddrPortFrom(addr, uint16(random.IntN(32)))
			want := ""
			for _, entry := range list {
				if entry.Prefix.Contains(addr) && (entry.Port == 0 || entry.Port == peer.Port()) {
					want = entry.Name
					break
				}
			}
			if got := s.Lookup(peer); got != want {
				t.Fatalf("%v is %q, not %q in %v", peer, got, want, list)
			}
		}
	}
}

// large is a list of 10,000 entries: hosts, networks, and ports of one network.
func large() []Service {
	random := rand.New(rand.NewPCG(11, 12))
	var list []Service
	for i := range 10_000 {
		addr := netip.AddrFrom4([4]byte{10, byte(random.IntN(256)), byte(random.IntN(256)), byte(random.IntN(256))})
		if i%2 == 0 {
			addr = netip.AddrFrom16([16]byte{0xfd, 0, 5: byte(random.IntN(256)), 6: byte(random.IntN(256)), 7: byte(random.IntN(256)), 15: byte(i)})
		}
		bits := addr.BitLen() - []int{0, 8, 12, 16}[random.IntN(4)]
		list = append(list, Service{netip.PrefixFrom(addr, bits).Masked(), uint16([]int{0, 0, 443, 5432}[random.IntN(4)]), fmt.Sprint(i)})
	}
	return append(list, service("10.0.0.0/8", 0, "internal"), service("fd00::/8", 0, "internal"))
}

func TestServicesLarge(t *testing.T) {
	began := time.Now()
	s, warnings := NewServices(large())
	t.Logf("%d networks, %d warnings, made in %v", len(s.networks), len(warnings), time.Since(began))
	assert.Less(t, time.Since(began), 2*time.Second)
}

func BenchmarkServices(b *testing.B) {
	list := large()
	s, _ := NewServices(list)
	random := rand.New(rand.NewPCG(13, 14))
	peers := make([]netip.AddrPort, 1<<12)
	for i := range peers {
		entry := list[random.IntN(len(list))]
		peers[i] = netip.AddrPortFrom(entry.Prefix.Addr(), uint16([]int{443, 5432, 80}[random.IntN(3)]))
	}
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		s.Lookup(peers[i&(1<<12-1)])
		i++
	}
}
