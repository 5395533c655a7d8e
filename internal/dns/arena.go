// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"encoding/binary"
	"hash/maphash"
)

// arena holds texts, each once, without a pointer to each: a text is a number, and
// lies in a few large pieces of memory. Texts that are not used any more leave gaps;
// when these are too many, the others move together, and get new numbers.
type arena struct {
	seed   maphash.Seed
	pieces [][]byte
	index  index
	// bytes is how many bytes the texts in use have, with their headers, gaps how many
	// the others have.
	bytes, gaps int
	// recent are strings that were made of texts: connections to one server share one.
	recent [256]struct {
		text   int32
		string string
	}
}

// A text is where its header begins, in units of textUnit: how often it is used, and
// its length, of 4 and 2 bytes.
const (
	textHeader = 6
	textUnit   = 8
	pieceLen   = 32 << 10
	// maxText is the longest text. Names have 1004 bytes at most: 255 bytes, each as
	// \123 (RFC 1035 §5.1).
	maxText = 1 << 10
	noText  = -1
)

func newArena() arena { return arena{seed: maphash.MakeSeed()} }

func textLen(length int) int { return (textHeader + length + textUnit - 1) &^ (textUnit - 1) }

// at returns a text's header and what follows.
func (a *arena) at(text int32) []byte {
	const perPiece = pieceLen / textUnit
	return a.pieces[text/perPiece][text%perPiece*textUnit:]
}

// bytesOf returns a text. It is valid until texts move.
func (a *arena) bytesOf(text int32) []byte {
	header := a.at(text)
	length := int(binary.NativeEndian.Uint16(header[4:]))
	return header[textHeader : textHeader+length]
}

// string returns a text.
func (a *arena) string(text int32) string {
	recent := &a.recent[uint32(text)*2654435761>>24]
	if recent.string == "" || recent.text != text {
		recent.text, recent.string = text, string(a.bytesOf(text))
	}
	return recent.string
}

// find returns the text that is equal, noText if there is none.
func (a *arena) find(text []byte) int32 {
	number, ok := a.index.find(a.hash(text), func(number int32) bool { return string(a.bytesOf(number)) == string(text) })
	if !ok {
		return noText
	}
	return number
}

// use returns the text that is equal, a new one if there is none, and counts one more
// use of it.
func (a *arena) use(text []byte) int32 {
	text = text[:min(len(text), maxText)]
	number := a.find(text)
	if number == noText {
		number = a.put(text)
		a.index.add(a.hash(text), number, a.hashOf)
		a.bytes += textLen(len(text))
	}
	a.again(number)
	return number
}

// again counts one more use of a text.
func (a *arena) again(text int32) {
	header := a.at(text)
	binary.NativeEndian.PutUint32(header, binary.NativeEndian.Uint32(header)+1)
}

// drop undoes one use of a text.
func (a *arena) drop(text int32) {
	header := a.at(text)
	uses := binary.NativeEndian.Uint32(header) - 1
	binary.NativeEndian.PutUint32(header, uses)
	if uses > 0 {
		return
	}
	a.index.remove(a.hashOf(text), text, a.hashOf)
	length := textLen(len(a.bytesOf(text)))
	a.bytes -= length
	a.gaps += length
}

// put writes a text behind the last one.
func (a *arena) put(text []byte) int32 {
	last := len(a.pieces) - 1
	if last < 0 || len(a.pieces[last])+textLen(len(text)) > pieceLen {
		a.pieces = append(a.pieces, make([]byte, 0, pieceLen))
		last++
	}
	at := len(a.pieces[last])
	piece := a.pieces[last][:at+textLen(len(text))]
	binary.NativeEndian.PutUint32(piece[at:], 0)
	binary.NativeEndian.PutUint16(piece[at+4:], uint16(len(text)))
	copy(piece[at+textHeader:], text)
	a.pieces[last] = piece
	return int32((last*pieceLen + at) / textUnit)
}

// gappy reports whether the texts should move together.
func (a *arena) gappy() bool { return a.gaps > a.bytes/4+pieceLen }

// compact moves the texts together. For each use that there is, move is called by
// whoever calls compact, and returns the text's new number.
func (a *arena) compact() (move func(text int32) int32) {
	before := *a
	*a = arena{seed: before.seed}
	const moved = 1 << 31 // in place of how often it is used
	return func(text int32) int32 {
		header := before.at(text)
		number := int32(binary.NativeEndian.Uint32(header) &^ moved)
		if binary.NativeEndian.Uint32(header)&moved == 0 {
			number = a.use(before.bytesOf(text))
			binary.NativeEndian.PutUint32(header, uint32(number)|moved)
			return number
		}
		a.again(number)
		return number
	}
}

func (a *arena) hash(text []byte) uint64 { return maphash.Bytes(a.seed, text) }

func (a *arena) hashOf(text int32) uint64 { return a.hash(a.bytesOf(text)) }
