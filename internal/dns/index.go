// SPDX-License-Identifier: Apache-2.0

package dns

// index finds the numbers of things by the hashes of what they are found by, in a
// table of four bytes for each: a map of Go would hold the keys once more. Things
// have numbers from 0 up.
type index struct {
	slots []int32 // the number plus 1, 0 where there is none; a power of two of them
	used  int
}

// The table has at least minSlots, and is at most 4/5 full: then a search looks at
// three slots on average.
const (
	minSlots        = 16
	fullNumerator   = 4
	fullDenominator = 5
)

// find returns the number of what has a hash and is what is looked for.
func (x *index) find(hash uint64, is func(number int32) bool) (number int32, ok bool) {
	if len(x.slots) == 0 {
		return 0, false
	}
	mask := uint64(len(x.slots) - 1)
	for i := hash & mask; x.slots[i] != 0; i = (i + 1) & mask {
		if number = x.slots[i] - 1; is(number) {
			return number, true
		}
	}
	return 0, false
}

// add adds a number that is not there. hashOf returns the hash of those that are.
func (x *index) add(hash uint64, number int32, hashOf func(number int32) uint64) {
	if (x.used+1)*fullDenominator > len(x.slots)*fullNumerator {
		before := x.slots
		x.slots = make([]int32, max(minSlots, 2*len(before)))
		for _, slot := range before {
			if slot != 0 {
				x.put(hashOf(slot-1), slot)
			}
		}
	}
	x.put(hash, number+1)
	x.used++
}

func (x *index) put(hash uint64, slot int32) {
	mask := uint64(len(x.slots) - 1)
	i := hash & mask
	for x.slots[i] != 0 {
		i = (i + 1) & mask
	}
	x.slots[i] = slot
}

// remove removes a number that is there.
func (x *index) remove(hash uint64, number int32, hashOf func(number int32) uint64) {
	mask := uint64(len(x.slots) - 1)
	hole := hash & mask
	for x.slots[hole] != number+1 {
		hole = (hole + 1) & mask
	}
	// What comes behind moves up if it was put behind the hole only because that was
	// taken: searches end at empty slots.
	for i := (hole + 1) & mask; x.slots[i] != 0; i = (i + 1) & mask {
		wanted := hashOf(x.slots[i]-1) & mask
		if (i-wanted)&mask >= (i-hole)&mask {
			x.slots[hole] = x.slots[i]
			hole = i
		}
	}
	x.slots[hole] = 0
	x.used--
}

// pages is a slice that grows without being copied, and with little room to spare.
type pages[T any] struct {
	all [][]T
	n   int32
}

// pageLen is how many things a page has.
const pageLen = 512

func (p *pages[T]) at(i int32) *T { return &p.all[i/pageLen][i%pageLen] }

// grow adds a thing and returns its number.
func (p *pages[T]) grow() int32 {
	if int(p.n) == len(p.all)*pageLen {
		p.all = append(p.all, make([]T, pageLen))
	}
	p.n++
	return p.n - 1
}
