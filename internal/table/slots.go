// SPDX-License-Identifier: Apache-2.0

package table

import (
	"math"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// Slots numbers connections: the lowest number that is free. By that number it
// remembers the counters that somebody asked to follow, so that connections take
// no more memory where nobody does.
type Slots struct {
	free  []uint32
	next  uint32
	dumps uint32 // how many began in all tables

	kinds []event.Kind
	// rows are what is remembered of each connection, some thousand to a piece, so
	// that growing copies nothing: for each kind the low 32 bits of its last value,
	// then for each how much it grew that was not reported yet.
	rows [][]uint32
}

// rowsAtOnce is how many rows a piece has.
const rowsAtOnce = 1024

// Follow makes tables report how much the kinds grow. It is called before any
// connection has a number.
func (s *Slots) Follow(kinds ...event.Kind) { s.kinds = kinds }

// reserve returns a number that is free.
func (s *Slots) reserve() uint32 {
	if n := len(s.free); n > 0 {
		slot := s.free[n-1]
		s.free = s.free[:n-1]
		clear(s.row(slot))
		return slot
	}
	s.next++
	return s.next - 1
}

func (s *Slots) give(slot uint32) { s.free = append(s.free, slot) }

// row returns what is remembered of a connection.
func (s *Slots) row(slot uint32) []uint32 {
	n := 2 * len(s.kinds)
	if n == 0 {
		return nil
	}
	piece, at := int(slot/rowsAtOnce), int(slot%rowsAtOnce)
	for piece >= len(s.rows) {
		s.rows = append(s.rows, make([]uint32, n*rowsAtOnce))
	}
	return s.rows[piece][at*n : at*n+n]
}

// begin takes the values of a sample as those that growth is counted from.
func (s *Slots) begin(slot uint32, sample *tcp.Socket) {
	row := s.row(slot)
	for i, kind := range s.kinds {
		if sample.Has(kind.Field()) {
			row[i] = uint32(kind.Of(sample))
		}
	}
}

// grow counts how much the kinds grew up to a sample, and reports whether any
// did. One that the sample does not have stays where it was. One that seems to
// fall is held until it has caught up: sources read the parts of a difference at
// slightly different moments.
func (s *Slots) grow(slot uint32, sample *tcp.Socket) (grew bool) {
	row := s.row(slot)
	for i, kind := range s.kinds {
		if !sample.Has(kind.Field()) {
			continue
		}
		now := uint32(kind.Of(sample))
		more := now - row[i]
		if more == 0 || more > math.MaxUint32/2 {
			continue
		}
		row[i] = now
		row[len(s.kinds)+i] += more
		grew = true
	}
	return grew
}

// take moves what has not been reported yet into growth.
func (s *Slots) take(slot uint32, growth *event.Growth) {
	row := s.row(slot)
	*growth = event.Growth{}
	for i, kind := range s.kinds {
		growth[kind] = row[len(s.kinds)+i]
		row[len(s.kinds)+i] = 0
	}
}
