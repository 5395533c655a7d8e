// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/netpulse/tcpstatsreceiver/internal/capture/packet"
)

// What the streams may take at most.
const (
	maxStreams     = 256
	maxStreamBytes = 4 << 20 // in all streams together
	maxPieces      = 16      // of one stream that came before their time
	// maxMessage is a message of the greatest length with its length in front of it
	// (RFC 1035 §4.2.2).
	maxMessage = 2 + 1<<16 - 1
	// minMessage is a header.
	minMessage = 12
)

// streams puts the DNS messages together that TCP carries in pieces: each
// direction of each connection is a stream.
type streams struct {
	byEnds map[ends]*stream
	clock  uint64 // counts segments: which stream was used last
	bytes  int
	// gaps counts streams that were given up because some of their bytes were not
	// captured, evicted those that were too many.
	gaps, evicted uint64
}

// ends are where a stream comes from and goes to.
type ends struct{ from, to netip.AddrPort }

// stream is one direction of a connection.
type stream struct {
	next   uint32 // sequence number of the byte after buf
	used   uint64
	buf    []byte // the beginning of a message
	pieces []piece
}

// piece is a segment that came before its time.
type piece struct {
	sequence uint32
	data     []byte
}

func newStreams() *streams { return &streams{byEnds: make(map[ends]*stream)} }

// has reports whether a stream is followed.
func (t *streams) has(key ends) bool { return t.byEnds[key] != nil }

// segment takes a segment and visits the messages that it completes. visit reports
// whether they can be messages: if not, the stream is read from the next segment
// on as if it had just begun.
func (t *streams) segment(s *packet.Segment, visit func(message []byte) bool) {
	key := ends{s.Source, s.Destination}
	if s.Flags&packet.FlagRST != 0 {
		t.drop(key)
		return
	}
	sequence := s.Sequence
	if s.Flags&packet.FlagSYN != 0 {
		t.drop(key)
		sequence++
	}
	st := t.byEnds[key]
	if st == nil && len(s.Payload) == 0 && s.Flags&packet.FlagSYN == 0 {
		return
	}
	if st == nil {
		// A stream that was there before us most likely begins a message with a
		// segment.
		t.makeRoom()
		st = &stream{next: sequence}
		t.byEnds[key] = st
	}
	t.clock++
	st.used = t.clock
	ok := t.take(st, sequence, s.Payload, visit)
	if ok && s.Missing > 0 {
		t.gaps++
		ok = false
	}
	if !ok || s.Flags&packet.FlagFIN != 0 && len(st.pieces) == 0 {
		t.drop(key)
	}
	if t.bytes > maxStreamBytes {
		t.evict()
	}
}

// take takes bytes of a stream, in order or not. It returns false if the stream
// cannot be followed any more.
func (t *streams) take(st *stream, sequence uint32, data []byte, visit func([]byte) bool) bool {
	ahead := int32(sequence - st.next)
	if ahead > 0 {
		if len(data) == 0 {
			return true
		}
		if len(st.pieces) >= maxPieces || int(ahead) > maxMessage {
			t.gaps++
			return false
		}
		st.pieces = append(st.pieces, piece{sequence, slices.Clone(data)})
		t.bytes += len(data)
		return true
	}
	if !t.inOrder(st, sequence, data, visit) {
		return false
	}
	// Each piece that fits may make the next one fit.
	for i := 0; i < len(st.pieces); i++ {
		p := st.pieces[i]
		if int32(p.sequence-st.next) > 0 {
			continue
		}
		st.pieces = slices.Delete(st.pieces, i, i+1)
		t.bytes -= len(p.data)
		if !t.inOrder(st, p.sequence, p.data, visit) {
			return false
		}
		i = -1
	}
	return true
}

// inOrder takes bytes of which the first is not ahead of the stream.
func (t *streams) inOrder(st *stream, sequence uint32, data []byte, visit func([]byte) bool) bool {
	behind := st.next - sequence
	if uint64(behind) >= uint64(len(data)) {
		return true // sent again, or empty
	}
	data = data[behind:]
	st.next += uint32(len(data))
	if len(st.buf) == 0 {
		// Most messages are in one segment: no need to copy them.
		rest, ok := messages(data, visit)
		if !ok {
			return false
		}
		data = rest
	}
	if len(data) == 0 {
		return true
	}
	t.bytes += len(data)
	st.buf = append(st.buf, data...)
	rest, ok := messages(st.buf, visit)
	t.bytes -= len(st.buf) - len(rest)
	if !ok {
		t.bytes -= len(rest)
		st.buf = nil
		return false
	}
	if len(rest) == 0 {
		st.buf = nil
	} else if len(rest) < len(st.buf) {
		st.buf = append(st.buf[:0], rest...)
	}
	return true
}

// messages visits the messages at the beginning of b, each with its length in front
// of it, and returns what comes after them.
func messages(b []byte, visit func([]byte) bool) (rest []byte, ok bool) {
	for len(b) >= 2 {
		length := int(binary.BigEndian.Uint16(b))
		if length < minMessage {
			return b, false
		}
		if len(b) < 2+length {
			break
		}
		if !visit(b[2 : 2+length]) {
			return b, false
		}
		b = b[2+length:]
	}
	return b, true
}

func (t *streams) drop(key ends) {
	st := t.byEnds[key]
	if st == nil {
		return
	}
	t.bytes -= len(st.buf)
	for _, p := range st.pieces {
		t.bytes -= len(p.data)
	}
	delete(t.byEnds, key)
}

func (t *streams) makeRoom() {
	if len(t.byEnds) >= maxStreams {
		t.evict()
	}
}

// evict gives up the stream that was used longest ago.
func (t *streams) evict() {
	var oldest ends
	used := ^uint64(0)
	for key, st := range t.byEnds {
		if st.used < used {
			oldest, used = key, st.used
		}
	}
	t.drop(oldest)
	t.evicted++
}
