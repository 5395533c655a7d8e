// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// records are those of a master file, one a line.
func records(t testing.TB, lines ...string) (rrs []dns.RR) {
	t.Helper()
	for _, line := range lines {
		rr, err := dns.NewRR(line)
		require.NoError(t, err, line)
		rrs = append(rrs, rr)
	}
	return rrs
}

// reply is an answer as a server packs it, with compression.
func reply(t testing.TB, id uint16, name string, typ uint16, lines ...string) *dns.Msg {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(name, typ)
	m.Id, m.Response, m.Compress = id, true, true
	m.Answer = records(t, lines...)
	return m
}

func packed(t testing.TB, m *dns.Msg) []byte {
	t.Helper()
	b, err := m.Pack()
	require.NoError(t, err)
	return b
}

func addresses(pairs ...any) (all []Address) {
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, Address{netip.MustParseAddr(pairs[i].(string)), time.Duration(pairs[i+1].(int)) * time.Second})
	}
	return all
}

func TestDecode(t *testing.T) {
	long := make([]string, 0, 40)
	for i := range 40 {
		long = append(long, fmt.Sprintf("c%d.example. 60 CNAME c%d.example.", i, i+1))
	}
	long = append(long, "c40.example. 60 A 192.0.2.1")
	for name, test := range map[string]struct {
		question string
		typ      uint16
		answer   []string
		want     []Address
	}{
		"one":              {"Example.COM.", dns.TypeA, []string{"example.com. 60 A 192.0.2.1"}, addresses("192.0.2.1", 60)},
		"two":              {"example.com.", dns.TypeA, []string{"example.com. 60 A 192.0.2.1", "example.com. 30 A 192.0.2.2"}, addresses("192.0.2.1", 60, "192.0.2.2", 30)},
		"IPv6":             {"example.com.", dns.TypeAAAA, []string{"EXAMPLE.com. 60 AAAA 2001:db8::1"}, addresses("2001:db8::1", 60)},
		"alias":            {"www.example.com.", dns.TypeA, []string{"www.example.com. 20 CNAME cdn.example.net.", "cdn.example.net. 60 A 192.0.2.1"}, addresses("192.0.2.1", 20)},
		"aliases":          {"a.example.", dns.TypeA, []string{"a.example. 90 CNAME b.example.", "b.example. 70 CNAME c.example.", "c.example. 80 A 192.0.2.1"}, addresses("192.0.2.1", 70)},
		"aliases at last":  {"a.example.", dns.TypeA, []string{"c.example. 80 A 192.0.2.1", "b.example. 70 CNAME C.example.", "a.example. 90 CNAME B.example."}, addresses("192.0.2.1", 70)},
		"loop":             {"a.example.", dns.TypeA, []string{"a.example. 1 CNAME b.example.", "b.example. 1 CNAME a.example.", "b.example. 5 A 192.0.2.1"}, addresses("192.0.2.1", 1)},
		"of somebody else": {"a.example.", dns.TypeA, []string{"bank.example. 60 A 192.0.2.1", "a.example. 60 A 192.0.2.2"}, addresses("192.0.2.2", 60)},
		"other class":      {"a.example.", dns.TypeA, []string{"a.example. 60 CH A 192.0.2.1"}, nil},
		"other types":      {"a.example.", dns.TypeMX, []string{"a.example. 60 MX 10 b.example."}, nil},
		"too long a chain": {"c0.example.", dns.TypeA, long, nil},
		"mapped":           {"a.example.", dns.TypeAAAA, []string{"a.example. 60 AAAA ::ffff:192.0.2.1"}, addresses("192.0.2.1", 60)},
	} {
		t.Run(name, func(t *testing.T) {
			var m Message
			require.NoError(t, m.Decode(packed(t, reply(t, 7, test.question, test.typ, test.answer...))))
			assert.Equal(t, uint16(7), m.ID)
			assert.True(t, m.Response)
			assert.Equal(t, test.typ, m.Type)
			assert.Equal(t, strings.TrimSuffix(strings.ToLower(test.question), "."), string(m.Name))
			assert.Equal(t, test.want, append([]Address(nil), m.Addresses...))
			assert.False(t, m.Partial)
		})
	}
}

func TestDecodeHeader(t *testing.T) {
	var m Message
	query := new(dns.Msg)
	query.SetQuestion("example.com.", dns.TypeHTTPS)
	query.SetEdns0(4096, true)
	require.NoError(t, m.Decode(packed(t, query)))
	assert.False(t, m.Response)
	assert.Equal(t, "HTTPS", TypeName(m.Type))

	answer := reply(t, 1, "example.com.", dns.TypeA)
	answer.SetEdns0(4096, true)
	answer.Rcode = dns.RcodeBadVers
	answer.Truncated = true
	require.NoError(t, m.Decode(packed(t, answer)))
	assert.True(t, m.Truncated)
	assert.Equal(t, "BADVERS", RCodeName(m.RCode))

	bare := new(dns.Msg)
	bare.Response, bare.Rcode = true, dns.RcodeFormatError
	require.NoError(t, m.Decode(packed(t, bare)))
	assert.True(t, m.Bare)
	assert.Equal(t, "FORMERR", RCodeName(m.RCode))
}

func TestNames_ofTypesAndCodes(t *testing.T) {
	for number, name := range dns.RcodeToString {
		if own := RCodeName(uint16(number)); !strings.HasPrefix(own, "RCODE") && number != dns.RcodeBadVers && number != dns.RcodeNotImplemented {
			assert.Equal(t, name, own)
		}
	}
	for number, name := range dns.TypeToString {
		if own := TypeName(number); !strings.HasPrefix(own, "TYPE") {
			assert.Equal(t, name, own)
		}
	}
	assert.Equal(t, "TYPE65280", TypeName(65280))
	assert.Equal(t, "RCODE4095", RCodeName(4095))
}

// A message that is cut short, as one in fragments is, gives what is there.
func TestDecodeCutShort(t *testing.T) {
	whole := packed(t, reply(t, 7, "example.com.", dns.TypeA, "example.com. 60 A 192.0.2.1", "example.com. 60 A 192.0.2.2"))
	var m Message
	require.NoError(t, m.Decode(whole[:len(whole)-5]))
	assert.True(t, m.Partial)
	assert.Equal(t, addresses("192.0.2.1", 60), m.Addresses)
	for i := range whole {
		err := m.Decode(whole[:i])
		if i < 12+17 {
			require.ErrorIs(t, err, errMalformed, "%d bytes", i)
		} else {
			require.NoError(t, err, "%d bytes", i)
		}
	}
}

func TestDecodeLies(t *testing.T) {
	header := []byte{0, 1, 0x80, 0, 0, 1, 0, 1, 0, 0, 0, 0}
	for name, body := range map[string][]byte{
		"name that points to itself":     {0xc0, 12, 0, 1, 0, 1},
		"names that point to each other": {0xc0, 14, 0xc0, 12, 0, 1, 0, 1},
		"pointer past the end":           {0xff, 0xff, 0, 1, 0, 1},
		"label past the end":             {63, 'a', 'b'},
		"reserved label":                 {0x80, 0, 0, 1, 0, 1},
		"no name":                        {},
	} {
		t.Run(name, func(t *testing.T) {
			var m Message
			require.ErrorIs(t, m.Decode(append(header[:12:12], body...)), errMalformed)
		})
	}
	var m Message
	lies := packed(t, reply(t, 7, "example.com.", dns.TypeA, "example.com. 60 A 192.0.2.1"))
	lies[7] = 200 // answers
	require.NoError(t, m.Decode(lies))
	assert.True(t, m.Partial)
	assert.Len(t, m.Addresses, 1)
	lies[5] = 2 // questions
	require.ErrorIs(t, m.Decode(lies), errMalformed)
}

func TestNameEscapes(t *testing.T) {
	name := []byte("Caf\xc3\xa9 \\x.Example.")
	assert.Equal(t, `caf\195\169\032\\x.example`, string(appendName(nil, name)))
	assert.Equal(t, ".", string(appendName(nil, []byte("."))))
}

func FuzzMessage(f *testing.F) {
	f.Add(packed(f, reply(f, 7, "www.example.com.", dns.TypeA, "www.example.com. 20 CNAME cdn.example.net.", "cdn.example.net. 60 A 192.0.2.1")))
	edns := reply(f, 7, "example.com.", dns.TypeAAAA, "example.com. 20 AAAA 2001:db8::1")
	edns.SetEdns0(4096, true)
	f.Add(packed(f, edns))
	f.Add([]byte{0, 1, 0x80, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0xc0, 12, 0, 1, 0, 1})
	var m Message
	f.Fuzz(func(t *testing.T, b []byte) {
		if m.Decode(b) != nil {
			return
		}
		if len(m.Name) > 4*255 || len(m.Addresses) > maxAddresses || m.links > len(m.chain) {
			t.Errorf("name of %d bytes, %d addresses, %d links", len(m.Name), len(m.Addresses), m.links)
		}
		for _, c := range m.Name {
			if c <= ' ' || c > '~' || 'A' <= c && c <= 'Z' {
				t.Errorf("name %q", m.Name)
			}
		}
		for _, a := range m.Addresses {
			if !a.Addr.IsValid() || a.TTL < 0 {
				t.Errorf("address %v", a)
			}
		}
	})
}

func BenchmarkMessage(b *testing.B) {
	whole := packed(b, reply(b, 7, "www.example.com.", dns.TypeA, "www.example.com. 20 CNAME cdn.example.net.", "cdn.example.net. 60 A 192.0.2.1", "cdn.example.net. 60 A 192.0.2.2"))
	var m Message
	b.ReportAllocs()
	for b.Loop() {
		if err := m.Decode(whole); err != nil {
			b.Fatal(err)
		}
	}
}

// The most expensive message: as many records as fit, with the aliases in reverse
// order, so that the records are read several times.
func BenchmarkMessageHostile(b *testing.B) {
	var lines []string
	for i := range 30 {
		lines = append(lines, fmt.Sprintf("c%d.example. 60 CNAME c%d.example.", 29-i, 30-i))
	}
	for i := range 3000 {
		lines = append(lines, fmt.Sprintf("x%d.example. 60 A 192.0.2.1", i))
	}
	whole := packed(b, reply(b, 7, "c0.example.", dns.TypeA, lines...))
	var m Message
	b.ReportMetric(float64(len(whole)), "bytes")
	b.ReportAllocs()
	for b.Loop() {
		if err := m.Decode(whole); err != nil {
			b.Fatal(err)
		}
	}
}
