// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"encoding/binary"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// mmdb is a database of MaxMind's format with IPv4 networks of at most 32 bits:
// https://maxmind.github.io/MaxMind-DB/
type mmdb struct {
	nodes [][2]int // a node's number, or -1 for nothing, or -2-offset of its data
	data  []byte
}

func newMMDB() *mmdb { return &mmdb{nodes: [][2]int{{-1, -1}}} }

func (m *mmdb) add(prefix string, value any) {
	p := netip.MustParsePrefix(prefix)
	b := p.Addr().As4()
	leaf := -2 - len(m.data)
	m.data = appendValue(m.data, value)
	node := 0
	for i := range p.Bits() {
		bit := int(b[i/8]>>(7-i%8)) & 1
		if i == p.Bits()-1 {
			m.nodes[node][bit] = leaf
			return
		}
		if m.nodes[node][bit] < 0 {
			m.nodes = append(m.nodes, [2]int{-1, -1})
			m.nodes[node][bit] = len(m.nodes) - 1
		}
		node = m.nodes[node][bit]
	}
}

// appendValue appends a value: each begins with its type and its length.
func appendValue(b []byte, value any) []byte {
	control := func(typ, length int) {
		switch {
		case typ < 8 && length < 29:
			b = append(b, byte(typ<<5|length))
		case typ < 8:
			b = append(b, byte(typ<<5|29), byte(length-29))
		default:
			b = append(b, byte(length), byte(typ-7))
		}
	}
	switch v := value.(type) {
	case string:
		control(2, len(v))
		b = append(b, v...)
	case uint16:
		control(5, 2)
		b = binary.BigEndian.AppendUint16(b, v)
	case uint32:
		control(6, 4)
		b = binary.BigEndian.AppendUint32(b, v)
	case []any: // keys and values
		control(7, len(v)/2)
		for _, one := range v {
			b = appendValue(b, one)
		}
	case []string:
		control(11, len(v))
		for _, one := range v {
			b = appendValue(b, one)
		}
	}
	return b
}

// write writes the file in place of another, as geoipupdate does.
func (m *mmdb) write(t testing.TB, path string) {
	t.Helper()
	var b []byte
	for _, node := range m.nodes {
		for _, to := range node {
			switch {
			case to == -1:
				to = len(m.nodes)
			case to < -1:
				to = len(m.nodes) + 16 + (-2 - to)
			}
			b = append(b, byte(to>>16), byte(to>>8), byte(to))
		}
	}
	b = append(append(b, make([]byte, 16)...), m.data...)
	b = append(b, "\xab\xcd\xefMaxMind.com"...)
	b = appendValue(b, []any{
		"binary_format_major_version", uint16(2), "binary_format_minor_version", uint16(0), "build_epoch", uint32(1_700_000_000),
		"database_type", "Test", "description", []any{"en", "Test"}, "ip_version", uint16(4), "languages", []string{"en"},
		"node_count", uint32(len(m.nodes)), "record_size", uint16(24),
	})
	require.NoError(t, os.WriteFile(path+".new", b, 0o600))
	require.NoError(t, os.Rename(path+".new", path))
}

func country(code string) []any {
	return []any{"country", []any{"iso_code", code, "names", []any{"en", "X"}}}
}

func system(number uint32, organization string) []any {
	return []any{"autonomous_system_number", number, "autonomous_system_organization", organization}
}

func TestPlaces(t *testing.T) {
	dir := t.TempDir()
	countries, systems := filepath.Join(dir, "country.mmdb"), filepath.Join(dir, "asn.mmdb")
	m := newMMDB()
	m.add("192.0.2.0/24", country("NO"))
	m.add("198.51.100.0/25", country("NZ"))
	m.write(t, countries)
	m = newMMDB()
	m.add("192.0.2.0/25", system(64500, "Example Networks"))
	m.write(t, systems)

	type reload struct {
		path string
		err  error
	}
	reloads := make(chan reload, 10)
	p, err := OpenPlaces([]string{countries, systems}, func(path string, err error) { reloads <- reload{path, err} })
	require.NoError(t, err)
	defer p.Close()
	now := time.Now()
	lookup := func(addr string) Place { return p.Lookup(netip.MustParseAddr(addr), now) }
	assert.Equal(t, Place{"NO", 64500, "Example Networks"}, lookup("192.0.2.1"))
	assert.Equal(t, Place{"NO", 64500, "Example Networks"}, lookup("::ffff:192.0.2.1"))
	assert.Equal(t, Place{Country: "NO"}, lookup("192.0.2.200"))
	assert.Equal(t, Place{Country: "NZ"}, lookup("198.51.100.1"))
	for _, addr := range []string{"203.0.113.1", "10.0.0.1", "127.0.0.1", "2001:db8::1", "fe80::1%eth0"} {
		assert.Equal(t, Place{}, lookup(addr), addr)
	}

	// A file that is replaced is loaded again, once somebody asks for an address.
	m = newMMDB()
	m.add("192.0.2.0/24", country("SE"))
	m.write(t, countries)
	assert.Equal(t, "NO", lookup("192.0.2.1").Country)
	now = now.Add(checkEvery)
	lookup("10.0.0.1")
	assert.Equal(t, reload{countries, nil}, <-reloads)
	assert.Equal(t, "SE", lookup("192.0.2.1").Country)

	// One that is broken is not, and is not tried again before it changes again.
	require.NoError(t, os.WriteFile(countries, []byte("what is this?"), 0o600))
	now = now.Add(checkEvery)
	lookup("192.0.2.1")
	broken := <-reloads
	require.ErrorContains(t, broken.err, countries+" is no database of MaxMind's format")
	assert.Equal(t, "SE", lookup("192.0.2.1").Country)
	for range 5 {
		now = now.Add(checkEvery)
		lookup("192.0.2.1")
	}
	require.NoError(t, os.Remove(systems))
	now = now.Add(checkEvery)
	assert.Equal(t, uint32(64500), lookup("192.0.2.1").ASN, "it was removed")
	p.Close()
	assert.Empty(t, reloads)
}

func TestPlacesMissing(t *testing.T) {
	dir := t.TempDir()
	broken := filepath.Join(dir, "broken.mmdb")
	require.NoError(t, os.WriteFile(broken, make([]byte, 100), 0o600))
	_, err := OpenPlaces([]string{filepath.Join(dir, "missing.mmdb"), broken}, nil)
	require.ErrorContains(t, err, "missing.mmdb: no such file or directory")
	require.ErrorContains(t, err, broken+" is no database of MaxMind's format")
}

// Lookups go on while a file is replaced again and again.
func TestPlacesConcurrent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "country.mmdb")
	write := func(code string) {
		m := newMMDB()
		m.add("192.0.2.0/24", country(code))
		m.write(t, path)
	}
	write("NO")
	var reloads atomic.Int64
	p, err := OpenPlaces([]string{path}, func(_ string, err error) {
		assert.NoError(t, err)
		reloads.Add(1)
	})
	require.NoError(t, err)
	now := time.Now()
	for i := range 50 {
		write([]string{"SE", "NO"}[i%2])
		for range 20 {
			now = now.Add(checkEvery)
			if got := p.Lookup(netip.MustParseAddr("192.0.2.1"), now).Country; got != "NO" && got != "SE" {
				t.Fatal(got)
			}
		}
	}
	p.Close()
	assert.NotZero(t, reloads.Load())
}

func BenchmarkPlaces(b *testing.B) {
	path := filepath.Join(b.TempDir(), "asn.mmdb")
	m := newMMDB()
	m.add("192.0.2.0/25", append(system(64500, "Example Networks"), country("NO")...))
	m.write(b, path)
	p, err := OpenPlaces([]string{path}, nil)
	if err != nil {
		b.Fatal(err)
	}
	addr, now := netip.MustParseAddr("192.0.2.1"), time.Now()
	b.ReportAllocs()
	for b.Loop() {
		p.Lookup(addr, now)
	}
}
