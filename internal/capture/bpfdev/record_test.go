// SPDX-License-Identifier: Apache-2.0

package bpfdev

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/capture/packet"
)

// records are as bpf(4) gives them: headers of 26 bytes, so that what comes after
// the link's header is aligned, and padding up to the next record.
func records(start int, packets ...string) (b []byte) {
	for i, data := range packets {
		b = append(b, make([]byte, -len(b)&(alignment-1))...)
		h := make([]byte, start)
		binary.NativeEndian.PutUint64(h[headerSeconds:], 1_700_000_000)
		binary.NativeEndian.PutUint64(h[headerMicroseconds:], uint64(i))
		binary.NativeEndian.PutUint32(h[headerCaptured:], uint32(len(data)))
		binary.NativeEndian.PutUint32(h[headerLength:], uint32(len(data)+i))
		binary.NativeEndian.PutUint16(h[headerSize:], uint16(start))
		b = append(append(b, h...), data...)
	}
	return b
}

func TestWalk(t *testing.T) {
	for _, start := range []int{26, 28, 32} {
		p := packet.Packet{Interface: 3, Link: packet.Null}
		var got []packet.Packet
		n, err := walk(records(start, "one", "twenty-two", "", "4"), &p, func(p *packet.Packet) { got = append(got, *p) })
		require.NoError(t, err)
		assert.Equal(t, 4, n)
		for i, want := range []string{"one", "twenty-two", "", "4"} {
			assert.Equal(t, packet.Packet{Interface: 3, Link: packet.Null, Time: time.Unix(1_700_000_000, int64(i)*1000), Length: len(want) + i, Data: []byte(want)}, got[i])
		}
	}
	n, err := walk(nil, &packet.Packet{}, func(*packet.Packet) {})
	require.NoError(t, err)
	assert.Zero(t, n)
}

func TestWalkLies(t *testing.T) {
	whole := records(32, "one", "two")
	for name, lie := range map[string]func(b []byte) []byte{
		"short":              func(b []byte) []byte { return b[:headerLen-1] },
		"second one short":   func(b []byte) []byte { return b[:len(b)-4] },
		"data in the header": func(b []byte) []byte { binary.NativeEndian.PutUint16(b[headerSize:], 8); return b },
		"data outside":       func(b []byte) []byte { binary.NativeEndian.PutUint16(b[headerSize:], 1<<16-1); return b },
		"too much data":      func(b []byte) []byte { binary.NativeEndian.PutUint32(b[headerCaptured:], 1<<32-1); return b },
	} {
		t.Run(name, func(t *testing.T) {
			_, err := walk(lie(append([]byte(nil), whole...)), &packet.Packet{}, func(*packet.Packet) {})
			require.ErrorIs(t, err, errRecord)
		})
	}
}

func TestLinkOf(t *testing.T) {
	for dlt, want := range map[uint32]packet.Link{0: packet.Null, 108: packet.Null, 1: packet.Ethernet, 12: packet.Raw} {
		link, ok := linkOf(dlt)
		assert.True(t, ok)
		assert.Equal(t, want, link)
	}
	_, ok := linkOf(127) // IEEE 802.11 with radiotap
	assert.False(t, ok)
}

func FuzzWalk(f *testing.F) {
	f.Add(records(32, "one", "twenty-two"))
	f.Add(records(26, ""))
	f.Fuzz(func(t *testing.T, b []byte) {
		visited := 0
		n, _ := walk(b, &packet.Packet{}, func(p *packet.Packet) {
			visited++
			if len(p.Data) > len(b) || p.Length < len(p.Data) {
				t.Errorf("%d bytes of %d", len(p.Data), p.Length)
			}
		})
		if visited != n {
			t.Errorf("%d visited, %d said", visited, n)
		}
	})
}

func BenchmarkWalk(b *testing.B) {
	packets := make([]string, 100)
	for i := range packets {
		packets[i] = string(make([]byte, 120))
	}
	whole := records(32, packets...)
	var p packet.Packet
	b.ReportAllocs()
	for b.Loop() {
		if _, err := walk(whole, &p, func(*packet.Packet) {}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/packet")
}
