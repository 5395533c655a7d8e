// SPDX-License-Identifier: Apache-2.0

package filter

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/bpf"

	"github.com/netpulse/tcpstatsreceiver/internal/capture/packet"
)

func be16(v int) []byte { return binary.BigEndian.AppendUint16(nil, uint16(v)) }

func cat(parts ...[]byte) (all []byte) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

func ip4(protocol byte, fragment, options int, payload []byte) []byte {
	return cat([]byte{0x45 + byte(options), 0}, be16(20+4*options+len(payload)), be16(0), be16(fragment), []byte{64, protocol, 0, 0}, make([]byte, 8+4*options), payload)
}

func ip6(next byte, payload []byte) []byte {
	return cat([]byte{0x60, 0, 0, 0}, be16(len(payload)), []byte{next, 64}, make([]byte, 32), payload)
}

func ports(from, to int) []byte { return cat(be16(from), be16(to), make([]byte, 16)) }

func option(next byte, length int) []byte {
	return cat([]byte{next, byte(length)}, make([]byte, 6+8*length))
}

func fragment(next byte, offset int) []byte {
	return cat([]byte{next, 0}, be16(offset), make([]byte, 4))
}

var packets = map[string]struct {
	data []byte
	want bool
}{
	"UDP to":                      {ip4(packet.UDP, 0, 0, ports(40000, 53)), true},
	"UDP from":                    {ip4(packet.UDP, 0, 0, ports(53, 40000)), true},
	"TCP to":                      {ip4(packet.TCP, 0x4000, 0, ports(40000, 53)), true},
	"options":                     {ip4(packet.TCP, 0, 10, ports(53, 40000)), true},
	"first fragment":              {ip4(packet.UDP, 0x2000, 0, ports(53, 40000)), true},
	"later fragment":              {ip4(packet.UDP, 0x2001, 0, ports(53, 53)), false},
	"other port":                  {ip4(packet.UDP, 0, 0, ports(40000, 443)), false},
	"ICMP":                        {ip4(1, 0, 0, ports(53, 53)), false},
	"IPv6 UDP to":                 {ip6(packet.UDP, ports(40000, 53)), true},
	"IPv6 TCP from":               {ip6(packet.TCP, ports(53, 40000)), true},
	"IPv6 other port":             {ip6(packet.TCP, ports(443, 40000)), false},
	"IPv6 hop by hop":             {ip6(0, cat(option(packet.UDP, 0), ports(40000, 53))), true},
	"IPv6 long options":           {ip6(60, cat(option(packet.UDP, 5), ports(40000, 53))), true},
	"IPv6 three extensions":       {ip6(0, cat(option(43, 1), option(44, 2), fragment(packet.TCP, 1), ports(40000, 53))), true},
	"IPv6 later fragment":         {ip6(44, cat(fragment(packet.UDP, 8), ports(53, 53))), false},
	"IPv6 too many":               {ip6(0, cat(option(0, 0), option(0, 0), option(0, 0), option(packet.UDP, 0), ports(53, 53))), false},
	"IPv6 ICMP":                   {ip6(58, ports(53, 53)), false},
	"IPv6 option, other port":     {ip6(60, cat(option(packet.UDP, 0), ports(1, 2))), false},
	"ARP":                         {cat(be16(1), be16(0x0800), make([]byte, 60)), false},
	"short":                       {ip4(packet.UDP, 0, 0, nil), false},
	"empty":                       {nil, false},
	"IPv6 ending in an extension": {ip6(0, []byte{packet.UDP}), false},
}

func accepts(t *testing.T, program []bpf.Instruction, data []byte) bool {
	t.Helper()
	vm, err := bpf.NewVM(program)
	require.NoError(t, err)
	n, err := vm.Run(data)
	require.NoError(t, err)
	return n > 0
}

func TestPort(t *testing.T) {
	program, err := Port(53)
	require.NoError(t, err)
	raw, err := bpf.Assemble(program)
	require.NoError(t, err)
	t.Logf("%d instructions", len(raw))
	assert.LessOrEqual(t, len(raw), 512, "BPF_MAXINSNS of FreeBSD")
	for name, test := range packets {
		assert.Equal(t, test.want, accepts(t, program, test.data), name)
	}
}

// With SYNs, everything that is taken without them is, and the SYNs of any port.
func TestPortOrSYN(t *testing.T) {
	program, err := PortOrSYN(53)
	require.NoError(t, err)
	for name, test := range packets {
		assert.Equal(t, test.want, accepts(t, program, test.data), name)
	}
	withFlags := func(flags byte) []byte {
		segment := ports(40000, 443)
		segment[tcpFlags] = flags
		return segment
	}
	for flags, want := range map[byte]bool{packet.FlagSYN: true, packet.FlagSYN | 0x10: true, 0x10: false, packet.FlagRST | 0x10: false, packet.FlagFIN: false} {
		assert.Equal(t, want, accepts(t, program, ip4(packet.TCP, 0, 0, withFlags(flags))), "IPv4, flags %#x", flags)
		assert.Equal(t, want, accepts(t, program, ip4(packet.TCP, 0, 10, withFlags(flags))), "IPv4 with options, flags %#x", flags)
		assert.Equal(t, want, accepts(t, program, ip6(packet.TCP, withFlags(flags))), "IPv6, flags %#x", flags)
		assert.Equal(t, want, accepts(t, program, ip6(60, cat(option(packet.TCP, 2), withFlags(flags)))), "IPv6 with options, flags %#x", flags)
		assert.False(t, accepts(t, program, ip4(packet.UDP, 0, 0, withFlags(flags))), "UDP")
		assert.False(t, accepts(t, program, ip4(packet.TCP, 1, 0, withFlags(flags))), "a later fragment")
	}
	for _, link := range []packet.Link{packet.Raw, packet.Null, packet.Ethernet} {
		linked, err := ForLink(link, program)
		require.NoError(t, err)
		raw, err := bpf.Assemble(linked)
		require.NoError(t, err)
		assert.LessOrEqual(t, len(raw), 512, "BPF_MAXINSNS of FreeBSD")
	}
}

func TestForLink(t *testing.T) {
	program, err := Port(53)
	require.NoError(t, err)
	for link, headers := range map[packet.Link]map[string][2][]byte{
		packet.Raw:      {"none": {nil, nil}},
		packet.Null:     {"family": {{2, 0, 0, 0}, {28, 0, 0, 0}}},
		packet.Ethernet: {"plain": {cat(make([]byte, 12), be16(0x0800)), cat(make([]byte, 12), be16(0x86dd))}, "tagged": {cat(make([]byte, 12), be16(0x8100), be16(5), be16(0x0800)), cat(make([]byte, 12), be16(0x88a8), be16(5), be16(0x86dd))}},
	} {
		linked, err := ForLink(link, program)
		require.NoError(t, err)
		raw, err := bpf.Assemble(linked)
		require.NoError(t, err)
		assert.LessOrEqual(t, len(raw), 512)
		for kind, header := range headers {
			for name, test := range packets {
				front := header[0]
				if len(test.data) > 0 && test.data[0]>>4 == 6 {
					front = header[1]
				}
				assert.Equal(t, test.want, accepts(t, linked, cat(front, test.data)), "%s, %s", kind, name)
			}
		}
		if link == packet.Ethernet {
			assert.False(t, accepts(t, linked, cat(make([]byte, 12), be16(0x0806), ip4(packet.UDP, 0, 0, ports(53, 53)))))
			assert.False(t, accepts(t, linked, cat(make([]byte, 12), be16(0x8100), be16(5), be16(0x0806), ip4(packet.UDP, 0, 0, ports(53, 53)))))
		}
	}
	_, err = ForLink(packet.Ethernet, []bpf.Instruction{bpf.LoadExtension{Num: bpf.ExtProto}, bpf.RetA{}})
	require.Error(t, err)
	_, err = ForSocket(program)
	require.NoError(t, err)
}

// The filter and the decoder agree on which packets have ports.
func FuzzPort(f *testing.F) {
	for _, test := range packets {
		f.Add(test.data)
	}
	program, err := Port(53)
	require.NoError(f, err)
	vm, err := bpf.NewVM(program)
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := vm.Run(data)
		if err != nil {
			t.Fatal(err)
		}
		var s packet.Segment
		decoded := packet.Decode(&packet.Packet{Data: data, Length: len(data)}, &s) == nil
		if decoded && n == 0 && (s.Source.Port() == 53 || s.Destination.Port() == 53) && data[0]>>4 == 4 {
			t.Errorf("%x is from %v to %v and was refused", data, s.Source, s.Destination)
		}
		if decoded && n > 0 && s.Source.Port() != 53 && s.Destination.Port() != 53 {
			t.Errorf("%x is from %v to %v and was taken", data, s.Source, s.Destination)
		}
	})
}
