// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/netpulse/tcpstatsreceiver/internal/capture/packet"
)

var (
	client = netip.MustParseAddrPort("10.0.0.1:40000")
	server = netip.MustParseAddrPort("10.0.0.2:53")
)

func piped(sequence uint32, flags uint8, data []byte) *packet.Segment {
	return &packet.Segment{Source: client, Destination: server, Protocol: packet.TCP, Sequence: sequence, Flags: flags, Payload: data}
}

// framed puts the length in front of each message.
func framed(messages ...[]byte) (b []byte) {
	for _, m := range messages {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(m))), m...)
	}
	return b
}

func body(length int, fill byte) []byte { return bytes.Repeat([]byte{fill}, length) }

// collect feeds segments and returns the messages.
func collect(s *streams, segments ...*packet.Segment) (got [][]byte) {
	for _, one := range segments {
		s.segment(one, func(b []byte) bool {
			got = append(got, bytes.Clone(b))
			return true
		})
	}
	return got
}

func TestStreams(t *testing.T) {
	a, b, c := body(12, 'a'), body(300, 'b'), body(1<<16-1, 'c')
	whole := framed(a, b, c)
	const start = 1<<32 - 20 // the numbers wrap on the way
	random := rand.New(rand.NewPCG(3, 4))
	for round := range 200 {
		segments := []*packet.Segment{piped(start-1, packet.FlagSYN, nil)}
		for at := 0; at < len(whole); {
			n := min(1+random.IntN(40000), len(whole)-at)
			if round == 0 {
				n = min(3, n) // in the smallest pieces
			}
			segments = append(segments, piped(start+uint32(at), 0, whole[at:at+n]))
			if random.IntN(3) == 0 && at > 10 {
				segments = append(segments, piped(start+uint32(at-10), 0, whole[at-10:at+n])) // sent again, with more
			}
			at += n
		}
		if round > 100 {
			i := 1 + random.IntN(len(segments)-1)
			for range min(3, len(segments)-i) {
				j := i + random.IntN(min(3, len(segments)-i))
				segments[i], segments[j] = segments[j], segments[i]
			}
		}
		s := newStreams()
		assert.Equal(t, [][]byte{a, b, c}, collect(s, segments...), "round %d", round)
		assert.Zero(t, s.bytes, "round %d", round)
		assert.Zero(t, s.gaps)
		collect(s, piped(start+uint32(len(whole)), packet.FlagFIN, nil))
		assert.Empty(t, s.byEnds)
	}
}

// A connection that was there before the capture is followed from its next segment.
func TestStreamsFromTheMiddle(t *testing.T) {
	a, b := body(100, 'a'), body(200, 'b')
	s := newStreams()
	got := collect(s, piped(1000, 0, framed(a)), piped(1102, 0, nil), piped(1102, 0, framed(b)))
	assert.Equal(t, [][]byte{a, b}, got)
}

func TestStreamsLost(t *testing.T) {
	a := body(100, 'a')
	s := newStreams()
	short := piped(1, 0, framed(a)[:50])
	short.Missing = 52
	assert.Empty(t, collect(s, piped(0, packet.FlagSYN, nil), short), "the rest was not captured")
	assert.Equal(t, uint64(1), s.gaps)
	assert.Equal(t, [][]byte{a}, collect(s, piped(103, 0, framed(a))), "the next message is read")

	assert.Empty(t, collect(s, piped(9000, 0, framed(a)[:50]), piped(9000+1<<20, 0, a)), "far ahead")
	assert.Equal(t, uint64(2), s.gaps)
	collect(s, piped(1, 0, framed(a)[:50]), piped(0, packet.FlagRST, nil))
	assert.Empty(t, s.byEnds)
	assert.Zero(t, s.bytes)

	// What is no message ends the stream.
	calls := 0
	s.segment(piped(5000, 0, framed(a, a)), func([]byte) bool { calls++; return false })
	assert.Equal(t, 1, calls)
	assert.Empty(t, s.byEnds)
	assert.Empty(t, collect(s, piped(5000, 0, []byte("GET / HTTP/1.1\r\n\r\n"))))
	assert.Empty(t, collect(s, piped(7000, 0, []byte{0, 3, 1, 2, 3})), "shorter than a header")
}

func TestStreamsBounded(t *testing.T) {
	s := newStreams()
	for i := range 10 * maxStreams {
		segment := piped(0, 0, framed(body(60000, 'x'))[:50000])
		segment.Source = netip.AddrPortFrom(client.Addr(), uint16(1024+i))
		collect(s, segment)
		if len(s.byEnds) > maxStreams || s.bytes > maxStreamBytes {
			t.Fatalf("%d streams of %d bytes", len(s.byEnds), s.bytes)
		}
	}
	assert.NotZero(t, s.evicted)
	for ends := range s.byEnds {
		s.drop(ends)
	}
	assert.Zero(t, s.bytes)
}

func FuzzStreams(f *testing.F) {
	f.Add([]byte{0, 0, 2, 0, 14, 12, 0, 0, 1, 1, 2, 3})
	f.Add(append([]byte{0, 0, 0, 0, 40}, framed(body(12, 'a'), body(20, 'b'))...))
	f.Fuzz(func(t *testing.T, program []byte) {
		s := newStreams()
		// Each step is a flag, a jump, a length and that many bytes.
		var sequence uint32
		for len(program) >= 5 {
			flags, jump, length := program[0], int16(binary.BigEndian.Uint16(program[1:])), int(program[4])
			segment := piped(sequence+uint32(int32(jump)), flags&7, program[5:min(5+length, len(program))])
			segment.Missing = int(program[3] & 1)
			sequence += uint32(length)
			program = program[min(5+length, len(program)):]
			s.segment(segment, func(b []byte) bool { return len(b) >= minMessage && b[0] != 0xff })
			held := 0
			for _, st := range s.byEnds {
				held += len(st.buf)
				for _, p := range st.pieces {
					held += len(p.data)
				}
			}
			if held != s.bytes {
				t.Fatalf("holds %d bytes, says %d", held, s.bytes)
			}
		}
	})
}
