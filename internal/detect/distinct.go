// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"math"
	"math/bits"
)

// few estimates how many distinct hashes it was given, up to some hundred, in 64 bits
// (linear counting: Whang, Vander-Zanden and Taylor, ACM TODS 15, 1990).
type few uint64

func (f *few) add(hash uint64) { *f |= 1 << (hash & 63) }

func (f few) count() float64 { return linearCount(bits.OnesCount64(uint64(f)), 64) }

// many is the same for some thousand.
type many [many64]uint64

const (
	many64   = 32
	manyBits = many64 * 64
	// maxSubdomains is up to where a many counts with an error below 5 %.
	maxSubdomains = 4000
)

// add reports whether the hash is new, as far as can be told.
func (m *many) add(hash uint64) (isNew bool) {
	word, bit := &m[(hash>>6)%many64], uint64(1)<<(hash&63)
	isNew = *word&bit == 0
	*word |= bit
	return isNew
}

func (m *many) count() float64 {
	set := 0
	for _, word := range m {
		set += bits.OnesCount64(word)
	}
	return linearCount(set, manyBits)
}

func linearCount(set, size int) float64 {
	empty := max(1, size-set)
	return float64(size) * math.Log(float64(size)/float64(empty))
}
