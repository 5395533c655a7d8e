// SPDX-License-Identifier: Apache-2.0

package tpacket

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/capture/packet"
)

// block is as the kernel fills it: a header of 48 bytes, each packet behind one of
// 48 bytes and an address of 20.
func block(packets ...string) []byte {
	b := make([]byte, blockLen)
	binary.NativeEndian.PutUint32(b[blockStatus:], 1)
	binary.NativeEndian.PutUint32(b[blockPackets:], uint32(len(packets)))
	binary.NativeEndian.PutUint32(b[blockFirst:], blockLen)
	for i, data := range packets {
		h := make([]byte, 80+(len(data)+15)&^15)
		if i+1 < len(packets) {
			binary.NativeEndian.PutUint32(h[headerNext:], uint32(len(h)))
		}
		binary.NativeEndian.PutUint32(h[headerSeconds:], 1_700_000_000)
		binary.NativeEndian.PutUint32(h[headerNanoseconds:], uint32(i))
		binary.NativeEndian.PutUint32(h[headerCaptured:], uint32(len(data)))
		binary.NativeEndian.PutUint32(h[headerLength:], uint32(len(data)+i))
		binary.NativeEndian.PutUint16(h[headerMAC:], 80)
		binary.NativeEndian.PutUint32(h[addressInterface:], 7)
		if i%2 == 1 {
			h[addressType] = outgoing
		}
		copy(h[80:], data)
		b = append(b, h...)
	}
	return b
}

func TestWalk(t *testing.T) {
	var p packet.Packet
	var got []packet.Packet
	n, err := walk(block("in", "outgoing", ""), &p, func(p *packet.Packet) { got = append(got, *p) })
	require.NoError(t, err)
	assert.Equal(t, 3, n)
	assert.Equal(t, []packet.Packet{
		{Time: time.Unix(1_700_000_000, 0), Interface: 7, Direction: packet.Inbound, Length: 2, Data: []byte("in")},
		{Time: time.Unix(1_700_000_000, 1), Interface: 7, Direction: packet.Outbound, Length: 9, Data: []byte("outgoing")},
		{Time: time.Unix(1_700_000_000, 2), Interface: 7, Direction: packet.Inbound, Length: 2, Data: []byte{}},
	}, got)

	n, err = walk(block(), &p, func(*packet.Packet) { t.Error("a packet of an empty block") })
	require.NoError(t, err)
	assert.Zero(t, n)
}

func TestWalkLies(t *testing.T) {
	for name, lie := range map[string]func(b []byte) []byte{
		"short":                 func(b []byte) []byte { return b[:blockLen-1] },
		"first packet outside":  func(b []byte) []byte { binary.NativeEndian.PutUint32(b[blockFirst:], 1<<31); return b },
		"first packet in front": func(b []byte) []byte { binary.NativeEndian.PutUint32(b[blockFirst:], 4); return b },
		"too many packets":      func(b []byte) []byte { binary.NativeEndian.PutUint32(b[blockPackets:], 3); return b },
		"next packet outside":   func(b []byte) []byte { binary.NativeEndian.PutUint32(b[blockLen+headerNext:], 1<<32-1); return b },
		"data outside":          func(b []byte) []byte { binary.NativeEndian.PutUint16(b[blockLen+headerMAC:], 1<<16-1); return b },
		"data in the header":    func(b []byte) []byte { binary.NativeEndian.PutUint16(b[blockLen+headerMAC:], 8); return b },
		"too much data":         func(b []byte) []byte { binary.NativeEndian.PutUint32(b[blockLen+headerCaptured:], 1<<32-1); return b },
	} {
		t.Run(name, func(t *testing.T) {
			var p packet.Packet
			_, err := walk(lie(block("one", "two")), &p, func(*packet.Packet) {})
			require.ErrorIs(t, err, errBlock)
		})
	}
}

func FuzzWalk(f *testing.F) {
	f.Add(block("one", "two"))
	f.Add(block())
	f.Fuzz(func(t *testing.T, b []byte) {
		var p packet.Packet
		visited := 0
		n, err := walk(b, &p, func(p *packet.Packet) {
			visited++
			if len(p.Data) > len(b) || p.Length < len(p.Data) {
				t.Errorf("%d bytes of %d", len(p.Data), p.Length)
			}
		})
		if visited != n || err == nil && n != int(binary.NativeEndian.Uint32(b[blockPackets:])) {
			t.Errorf("%d visited, %d said, %v", visited, n, err)
		}
	})
}

func BenchmarkWalk(b *testing.B) {
	packets := make([]string, 100)
	for i := range packets {
		packets[i] = string(make([]byte, 120))
	}
	whole := block(packets...)
	var p packet.Packet
	b.ReportAllocs()
	for b.Loop() {
		if _, err := walk(whole, &p, func(*packet.Packet) {}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/packet")
}
