// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

var start = time.Unix(1_700_000_000, 0)

func at(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }

func add(n *Names, name, addr string, ttl int, key uint64, when int) {
	n.Add([]byte(name), addresses(addr, ttl), key, at(when))
}

func TestNamesLast(t *testing.T) {
	addr := netip.MustParseAddr("192.0.2.1")
	n := NewNames(10)
	add(n, "a.example", "192.0.2.1", 60, 1, 10)
	add(n, "b.example", "192.0.2.1", 60, 2, 20)

	assert.Empty(t, n.Lookup(addr, at(9), 0), "opened before any was asked for")
	assert.Equal(t, "a.example", n.Lookup(addr, at(10), 0))
	assert.Equal(t, "a.example", n.Lookup(addr, at(19), 0))
	assert.Equal(t, "b.example", n.Lookup(addr, at(21), 0))
	assert.Equal(t, "a.example", n.Lookup(addr, at(21), 1), "the same process")
	assert.Equal(t, "b.example", n.Lookup(addr, at(21), 2))
	assert.Equal(t, "b.example", n.Lookup(addr, at(21), 3), "a process that has asked for none")
	assert.Equal(t, "a.example", n.Lookup(addr, at(15), 2), "its own was asked for later")
	assert.Equal(t, "b.example", n.Lookup(netip.MustParseAddr("::ffff:192.0.2.1"), at(21), 0))
	assert.Empty(t, n.Lookup(netip.MustParseAddr("192.0.2.2"), at(21), 0))

	// An opening that is reported late must not get a name that was asked for after it.
	add(n, "a.example", "192.0.2.1", 60, 1, 30)
	assert.Equal(t, "b.example", n.Lookup(addr, at(25), 0))
	assert.Equal(t, "a.example", n.Lookup(addr, at(15), 0))
	assert.Equal(t, "a.example", n.Lookup(addr, at(31), 0))
	for i := range 10 {
		add(n, "a.example", "192.0.2.1", 60, 1, 40+i)
	}
	assert.Equal(t, "b.example", n.Lookup(addr, at(25), 0))
	assert.Equal(t, "a.example", n.Lookup(addr, at(15), 0))
}

// Openings and packets are not stamped by the same clock.
func TestNamesTolerance(t *testing.T) {
	addr := netip.MustParseAddr("192.0.2.1")
	n := NewNames(10)
	add(n, "a.example", "192.0.2.1", 60, 0, 10)
	add(n, "b.example", "192.0.2.1", 60, 0, 11)
	assert.Equal(t, "a.example", n.Lookup(addr, at(10).Add(-tolerance), 0))
	assert.Empty(t, n.Lookup(addr, at(10).Add(-tolerance-1), 0))
	assert.Equal(t, "a.example", n.Lookup(addr, at(11).Add(-1), 0))
}

func TestNamesExpire(t *testing.T) {
	short, long := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	n := NewNames(10)
	add(n, "short.example", "192.0.2.1", 5, 0, 0)
	add(n, "long.example", "2001:db8::1", 7200, 0, 0)
	add(n, "forever.example", "192.0.2.3", 1<<31-1, 0, 0)
	half := 30 * 60
	assert.Equal(t, "short.example", n.Lookup(short, at(half), 0))
	assert.Empty(t, n.Lookup(short, at(half+1), 0))
	assert.Equal(t, "long.example", n.Lookup(long, at(7200), 0))
	assert.Empty(t, n.Lookup(long, at(7201), 0))
	assert.Empty(t, n.Lookup(netip.MustParseAddr("192.0.2.3"), at(8*24*3600), 0), "an implausible TTL")

	assert.True(t, n.Hold(short))
	assert.False(t, n.Hold(netip.MustParseAddr("192.0.2.9")))
	n.Expire(at(half + 1))
	assert.Equal(t, "short.example", n.Lookup(short, at(half+1), 0), "a connection uses it")
	n.Release(short)
	assert.Empty(t, n.Lookup(short, at(half+1), 0))
	assert.Equal(t, 3, n.Counts().Addresses)
	n.Expire(at(half + 1))
	assert.Equal(t, 2, n.Counts().Addresses)
	n.Expire(at(8 * 24 * 3600))
	assert.Zero(t, n.Counts().Addresses)
	assert.Zero(t, n.texts.bytes)
	assert.Zero(t, n.texts.index.used)
	assert.Zero(t, n.used)
}

func TestNamesMisleading(t *testing.T) {
	n := NewNames(10)
	for _, addr := range []string{"0.0.0.0", "127.0.0.1", "::", "::1", "224.0.0.1"} {
		add(n, "blocked.example", addr, 60, 0, 0)
		assert.Empty(t, n.Lookup(netip.MustParseAddr(addr), at(1), 0), addr)
	}
	assert.Zero(t, n.Counts().Addresses)
}

func TestNamesBounded(t *testing.T) {
	n := NewNames(100)
	ip := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}) }
	give := func(name string, i int) { n.Add([]byte(name), []Address{{ip(i), 0}}, 0, at(i)) }
	give("held.example", 0)
	assert.True(t, n.Hold(ip(0)))
	for i := 1; i <= 300; i++ {
		give("x.example", i)
	}
	counts := n.Counts()
	assert.Equal(t, 100, counts.Addresses)
	assert.Equal(t, uint64(201), counts.Evicted)
	assert.Equal(t, "held.example", n.Lookup(ip(0), at(300), 0))
	assert.Equal(t, "x.example", n.Lookup(ip(300), at(300), 0))
	assert.Empty(t, n.Lookup(ip(1), at(300), 0), "asked for longest ago")

	// One address with many names keeps the last.
	for i := range 50 {
		n.Add(fmt.Appendf(nil, "n%d.example", i), []Address{{ip(300), 0}}, 0, at(400+i))
	}
	assert.Equal(t, "n49.example", n.Lookup(ip(300), at(500), 0))
	assert.Equal(t, "n42.example", n.Lookup(ip(300), at(442), 0))
	assert.LessOrEqual(t, n.used, 100+maxNamesOfOne)

	// Long names count for more.
	long := make([]byte, 1000)
	for i := range long {
		long[i] = 'a'
	}
	for i := range 100 {
		n.Add(long, []Address{{ip(1000 + i), 0}}, 0, at(1000+i))
	}
	assert.LessOrEqual(t, n.texts.bytes, bytesPerAddress*100+textLen(1000))

	// All in use: new ones are refused, not the others forgotten.
	n = NewNames(20)
	for i := range 20 {
		give("x.example", i)
		assert.True(t, n.Hold(ip(i)))
	}
	give("new.example", 20)
	assert.Equal(t, NamesCounts{Addresses: 20, Refused: 1}, n.Counts())
	assert.Equal(t, "x.example", n.Lookup(ip(0), at(20), 0))
}

// A slow model without bounds agrees with the cache on random traffic.
func TestNamesAgainstModel(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	type given struct {
		name string
		key  uint64
		when int
	}
	model := make(map[netip.Addr][]given)
	n := NewNames(1000)
	addrs := make([]netip.Addr, 50)
	for i := range addrs {
		addrs[i] = netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)})
	}
	for when := range 1000 {
		addr := addrs[random.IntN(len(addrs))]
		if random.IntN(2) == 0 {
			g := given{fmt.Sprintf("n%d.example", random.IntN(2)), uint64(random.IntN(3)), when}
			n.Add([]byte(g.name), []Address{{addr, 0}}, g.key, at(when))
			model[addr] = append(model[addr], g)
			continue
		}
		key := uint64(random.IntN(4))
		want, wantKey := "", false
		for _, g := range model[addr] {
			if same := key != 0 && g.key == key; same || !wantKey {
				want, wantKey = g.name, same
			}
		}
		assert.Equal(t, want, n.Lookup(addr, at(when), key))
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// 100,000 names take at most 16 MiB, of whatever kind they are.
func TestNamesMemory(t *testing.T) {
	for name, test := range map[string]struct {
		adds, addresses int
		name            func(i int) []byte
	}{
		"a name an address":          {DefaultNames, DefaultNames, func(i int) []byte { return fmt.Appendf(nil, "host-%06d.region-1.example.com", i%DefaultNames) }},
		"two names an address":       {2 * DefaultNames, DefaultNames, func(i int) []byte { return fmt.Appendf(nil, "host-%06d.region-1.example.com", i) }},
		"four names an address":      {2 * DefaultNames, DefaultNames / 4, func(i int) []byte { return fmt.Appendf(nil, "host-%06d.region-1.example.com", i) }},
		"one name of many addresses": {DefaultNames, DefaultNames, func(i int) []byte { return []byte("cdn.example.com") }},
		"the longest names":          {DefaultNames / 4, DefaultNames, func(i int) []byte { return fmt.Appendf(nil, "%01000d", i) }},
		"too many names to be kept":  {2 * DefaultNames, DefaultNames / 8, func(i int) []byte { return fmt.Appendf(nil, "%d.example", i) }},
	} {
		t.Run(name, func(t *testing.T) {
			before := heap()
			n := NewNames(DefaultNames)
			for i := range test.adds {
				var b [16]byte
				b[0] = 0x20
				binary.BigEndian.PutUint32(b[8:], uint32(i%test.addresses)*2654435761)
				n.Add(test.name(i), []Address{{netip.AddrFrom16(b), time.Minute}}, 0, at(i/1000))
			}
			after := heap()
			t.Logf("%d addresses, %d names, %d of them different ones of %d bytes: %.1f MiB",
				n.Counts().Addresses, n.used, n.texts.index.used, n.texts.bytes, float64(after-before)/(1<<20))
			assert.LessOrEqual(t, after-before, uint64(16<<20))
			runtime.KeepAlive(n)
		})
	}
}

func addr4(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
}

func BenchmarkNamesAddKnown(b *testing.B) {
	n := NewNames(DefaultNames)
	all := addresses("192.0.2.1", 60, "192.0.2.2", 60)
	name := []byte("www.example.com")
	b.ReportAllocs()
	for b.Loop() {
		n.Add(name, all, 0, start)
	}
}

func BenchmarkNamesLookup(b *testing.B) {
	n := NewNames(DefaultNames)
	for i := range DefaultNames {
		n.Add(fmt.Appendf(nil, "host-%d.example", i), []Address{{addr4(i), 0}}, 0, start)
	}
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		i = (i + 7919) % DefaultNames
		if n.Lookup(addr4(i), start, 0) == "" {
			b.Fatal(i)
		}
	}
}
