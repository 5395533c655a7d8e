// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func cat(parts ...[]byte) (all []byte) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

func be16(v int) []byte { return binary.BigEndian.AppendUint16(nil, uint16(v)) }

// ip4 is an IPv4 packet from 10.0.0.1 to 10.0.0.2.
func ip4(protocol byte, fragment int, options, payload []byte) []byte {
	header := len(options) + 20
	return cat([]byte{0x40 | byte(header/4), 0}, be16(header+len(payload)), be16(1), be16(fragment), []byte{64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2}, options, payload)
}

// ip6 is an IPv6 packet from fe80::1 to 2001:db8::2.
func ip6(next byte, payload []byte) []byte {
	from, to := netip.MustParseAddr("fe80::1").As16(), netip.MustParseAddr("2001:db8::2").As16()
	return cat([]byte{0x60, 0, 0, 0}, be16(len(payload)), []byte{next, 64}, from[:], to[:], payload)
}

func udp(payload string) []byte {
	return cat(be16(40000), be16(53), be16(8+len(payload)), be16(0), []byte(payload))
}

func tcp(flags byte, options []byte, payload string) []byte {
	return cat(be16(40000), be16(53), []byte{1, 2, 3, 4, 0, 0, 0, 0, byte(20+len(options)) << 2, flags, 0, 0, 0, 0, 0, 0}, options, []byte(payload))
}

func ether(typ int, rest []byte) []byte { return cat(make([]byte, 12), be16(typ), rest) }

func TestDecode(t *testing.T) {
	from4, to4 := netip.MustParseAddrPort("10.0.0.1:40000"), netip.MustParseAddrPort("10.0.0.2:53")
	from6, to6 := netip.MustParseAddrPort("[fe80::1]:40000"), netip.MustParseAddrPort("[2001:db8::2]:53")
	plain := Segment{Source: from4, Destination: to4, Protocol: UDP, Payload: []byte("dns")}
	plain6 := Segment{Source: from6, Destination: to6, Protocol: UDP, Payload: []byte("dns")}
	withFragment := func(s Segment) Segment { s.Fragment = true; return s }
	hop := []byte{UDP, 0, 1, 4, 0, 0, 0, 0}
	for name, test := range map[string]struct {
		link Link
		data []byte
		want Segment
		err  error
	}{
		"raw IPv4":                     {Raw, ip4(UDP, 0, nil, udp("dns")), plain, nil},
		"with options":                 {Raw, ip4(UDP, 0, make([]byte, 8), udp("dns")), plain, nil},
		"don't fragment":               {Raw, ip4(UDP, 0x4000, nil, udp("dns")), plain, nil},
		"first fragment":               {Raw, ip4(UDP, 0x2000, nil, udp("dns")), withFragment(plain), nil},
		"later fragment":               {Raw, ip4(UDP, 0x2001, nil, udp("dns")), Segment{}, ErrFragment},
		"last fragment":                {Raw, ip4(UDP, 100, nil, udp("dns")), Segment{}, ErrFragment},
		"raw IPv6":                     {Raw, ip6(UDP, udp("dns")), plain6, nil},
		"IPv6, hop by hop":             {Raw, ip6(hopByHop, cat(hop, udp("dns"))), plain6, nil},
		"IPv6, two extensions":         {Raw, ip6(routing, cat([]byte{destinationOptions, 0, 0, 0, 0, 0, 0, 0}, hop, udp("dns"))), plain6, nil},
		"IPv6, first fragment":         {Raw, ip6(fragmentHeader, cat([]byte{UDP, 0, 0, 1, 0, 0, 0, 9}, udp("dns"))), withFragment(plain6), nil},
		"IPv6, atomic fragment":        {Raw, ip6(fragmentHeader, cat([]byte{UDP, 0, 0, 0, 0, 0, 0, 9}, udp("dns"))), plain6, nil},
		"IPv6, later fragment":         {Raw, ip6(fragmentHeader, cat([]byte{UDP, 0, 0, 8, 0, 0, 0, 9}, udp("dns"))), Segment{}, ErrFragment},
		"Ethernet":                     {Ethernet, ether(0x0800, ip4(UDP, 0, nil, udp("dns"))), plain, nil},
		"Ethernet, padded":             {Ethernet, cat(ether(0x0800, ip4(UDP, 0, nil, udp("dns"))), make([]byte, 20)), plain, nil},
		"Ethernet, IPv6":               {Ethernet, ether(0x86dd, ip6(UDP, udp("dns"))), plain6, nil},
		"VLAN":                         {Ethernet, ether(0x8100, cat(be16(5), be16(0x0800), ip4(UDP, 0, nil, udp("dns")))), plain, nil},
		"QinQ":                         {Ethernet, ether(0x88a8, cat(be16(5), be16(0x8100), be16(6), be16(0x0800), ip4(UDP, 0, nil, udp("dns")))), plain, nil},
		"loopback of BSD":              {Null, cat([]byte{2, 0, 0, 0}, ip4(UDP, 0, nil, udp("dns"))), plain, nil},
		"ARP":                          {Ethernet, ether(0x0806, make([]byte, 46)), Segment{}, ErrOther},
		"ICMP":                         {Raw, ip4(1, 0, nil, make([]byte, 64)), Segment{}, ErrOther},
		"neither 4 nor 6":              {Raw, make([]byte, 64), Segment{}, ErrOther},
		"TCP":                          {Raw, ip4(TCP, 0, nil, tcp(FlagSYN, nil, "dns")), Segment{Source: from4, Destination: to4, Protocol: TCP, Flags: FlagSYN, Sequence: 0x01020304, Payload: []byte("dns")}, nil},
		"TCP with options":             {Raw, ip4(TCP, 0, nil, tcp(FlagFIN, make([]byte, 12), "dns")), Segment{Source: from4, Destination: to4, Protocol: TCP, Flags: FlagFIN, Sequence: 0x01020304, Payload: []byte("dns")}, nil},
		"nothing":                      {Raw, nil, Segment{}, ErrMalformed},
		"short IPv4":                   {Raw, ip4(UDP, 0, nil, nil)[:19], Segment{}, ErrMalformed},
		"IPv4 header that is too long": {Raw, cat([]byte{0x4f}, ip4(UDP, 0, nil, udp("dns"))[1:]), Segment{}, ErrMalformed},
		"short UDP":                    {Raw, ip4(UDP, 0, nil, []byte{1, 2, 3}), Segment{}, ErrMalformed},
		"short TCP":                    {Raw, ip4(TCP, 0, nil, tcp(0, nil, "")[:19]), Segment{}, ErrMalformed},
		"TCP offset that is too long":  {Raw, ip4(TCP, 0, nil, cat(tcp(0, nil, "")[:12], []byte{0xf0}, make([]byte, 7))), Segment{}, ErrMalformed},
		"short Ethernet":               {Ethernet, make([]byte, 13), Segment{}, ErrMalformed},
		"short VLAN":                   {Ethernet, ether(0x8100, []byte{1}), Segment{}, ErrMalformed},
		"short loopback":               {Null, []byte{2, 0}, Segment{}, ErrMalformed},
		"short extension":              {Raw, ip6(hopByHop, []byte{UDP, 9, 0, 0, 0, 0, 0, 0}), Segment{}, ErrMalformed},
		"endless extensions": {Raw, ip6(hopByHop, func() (b []byte) {
			for range 20 {
				b = append(b, hopByHop, 0, 0, 0, 0, 0, 0, 0)
			}
			return b
		}()), Segment{}, ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			var got Segment
			err := Decode(&Packet{Link: test.link, Data: test.data, Length: len(test.data)}, &got)
			if test.err != nil {
				require.ErrorIs(t, err, test.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, test.want, got)
		})
	}
}

// What the engine did not take is counted, whether the IP header says how much
// it is or only the engine does.
func TestDecodeMissing(t *testing.T) {
	whole := ip4(TCP, 0, nil, tcp(0, nil, "0123456789"))
	var s Segment
	require.NoError(t, Decode(&Packet{Data: whole[:len(whole)-4], Length: len(whole)}, &s))
	assert.Equal(t, "012345", string(s.Payload))
	assert.Equal(t, 4, s.Missing)

	whole[2], whole[3] = 0, 0 // a large packet that the hardware is to split
	require.NoError(t, Decode(&Packet{Data: whole[:len(whole)-4], Length: len(whole)}, &s))
	assert.Equal(t, 4, s.Missing)
	require.NoError(t, Decode(&Packet{Link: Ethernet, Data: ether(0x0800, whole), Length: len(whole) + 14}, &s))
	assert.Equal(t, "0123456789", string(s.Payload))
	assert.Zero(t, s.Missing)
}

func FuzzDecode(f *testing.F) {
	f.Add(uint8(Raw), ip4(UDP, 0, nil, udp("dns")))
	f.Add(uint8(Raw), ip6(hopByHop, cat([]byte{UDP, 0, 1, 4, 0, 0, 0, 0}, udp("dns"))))
	f.Add(uint8(Ethernet), ether(0x8100, cat(be16(5), be16(0x0800), ip4(TCP, 0, nil, tcp(FlagSYN, make([]byte, 4), "dns")))))
	f.Add(uint8(Null), cat([]byte{2, 0, 0, 0}, ip4(UDP, 0x2000, nil, udp("dns"))))
	f.Fuzz(func(t *testing.T, link uint8, data []byte) {
		var s Segment
		if Decode(&Packet{Link: Link(link % 3), Data: data, Length: len(data)}, &s) != nil {
			return
		}
		if len(s.Payload) > len(data) || s.Missing < 0 || s.Protocol != UDP && s.Protocol != TCP || !s.Source.IsValid() || !s.Destination.IsValid() {
			t.Errorf("%+v of %d bytes", s, len(data))
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	data := ether(0x0800, ip4(UDP, 0, nil, udp("dns")))
	p := Packet{Link: Ethernet, Data: data, Length: len(data)}
	var s Segment
	b.ReportAllocs()
	for b.Loop() {
		if err := Decode(&p, &s); err != nil {
			b.Fatal(err)
		}
	}
}
