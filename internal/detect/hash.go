// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// hasher makes the keys of the tables. Its hashes are the same in every run, since
// what is counted with them ([few], [many]) must be: a recording gives the same
// findings again. Whoever makes two of them collide on purpose gets two entries taken
// for one, and nothing else: Go's maps have a seed of their own.
type hasher struct{}

// pairKey is what most keys are made of.
type pairKey struct {
	who  uint64
	addr netip.Addr
	port uint16
	kind uint8 // tells apart keys of one table
}

// Odd numbers without a pattern, of wyhash (github.com/wangyi-fudan/wyhash).
const (
	hashA = 0xa0761d6478bd642f
	hashB = 0xe7037ed1a0b428db
	hashC = 0x8ebc6af09c88c6e3
)

// mix makes one number of two, each bit of which depends on all of theirs.
func mix(a, b uint64) uint64 {
	high, low := bits.Mul64(a^hashA, b^hashB)
	all := (high ^ low) * hashC
	return all ^ all>>32
}

func (h hasher) who(w who) uint64 {
	return mix(mix(h.text(w.executable), h.text(w.container)), mix(h.addr(w.addr), w.namespace))
}

func (h hasher) pair(k pairKey) uint64 {
	return mix(mix(h.addr(k.addr), k.who), (uint64(k.port)<<8|uint64(k.kind))^hashC)
}

func (h hasher) addr(a netip.Addr) uint64 {
	if a.Is4() {
		b := a.As4()
		return mix(uint64(binary.BigEndian.Uint32(b[:])), hashC)
	}
	b := a.As16()
	all := mix(binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:]))
	if zone := a.Zone(); zone != "" {
		all = mix(all, h.text(zone))
	}
	return all
}

func (hasher) text(s string) uint64 {
	all := uint64(len(s))
	for len(s) >= 8 {
		var word uint64
		for i := range 8 {
			word |= uint64(s[i]) << (8 * i)
		}
		all = mix(all, word)
		s = s[8:]
	}
	rest := uint64(0)
	for i := range len(s) {
		rest |= uint64(s[i]) << (8 * i)
	}
	return mix(all, rest^hashC)
}
