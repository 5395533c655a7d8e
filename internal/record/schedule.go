// SPDX-License-Identifier: Apache-2.0

package record

import (
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// schedule says which connection is due when. All have one interval, so whoever
// was scheduled first is due first: the list is a queue, and nobody is looked at
// before it is due.
type schedule struct {
	entries    []entry // by the connection's slot
	head, tail int32   // slots; none: empty
}

// none is no slot.
const none = -1

// entry is a connection's place in the queue.
type entry struct {
	id         tcp.Identity
	at         time.Time
	prev, next int32
	listed     bool
}

func newSchedule() schedule { return schedule{head: none, tail: none} }

// add schedules a connection, which is due after all others. One that is scheduled
// already keeps its place.
func (s *schedule) add(slot uint32, id tcp.Identity, at time.Time) {
	for int(slot) >= len(s.entries) {
		s.entries = append(s.entries, entry{})
	}
	e := &s.entries[slot]
	if e.listed {
		return
	}
	*e = entry{id: id, at: at, prev: s.tail, next: none, listed: true}
	if s.tail == none {
		s.head = int32(slot)
	} else {
		s.entries[s.tail].next = int32(slot)
	}
	s.tail = int32(slot)
}

// remove forgets a connection.
func (s *schedule) remove(slot uint32) {
	if int(slot) >= len(s.entries) || !s.entries[slot].listed {
		return
	}
	e := s.entries[slot]
	if e.prev == none {
		s.head = e.next
	} else {
		s.entries[e.prev].next = e.next
	}
	if e.next == none {
		s.tail = e.prev
	} else {
		s.entries[e.next].prev = e.prev
	}
	s.entries[slot] = entry{}
}

// due visits those that are due by a time, and schedules them again for another one,
// which is later, as long as visit returns true.
func (s *schedule) due(by, again time.Time, visit func(tcp.Identity) bool) {
	last := s.tail
	for slot := s.head; slot != none; {
		e := s.entries[slot]
		if e.at.After(by) {
			return
		}
		s.remove(uint32(slot))
		if visit(e.id) {
			s.add(uint32(slot), e.id, again)
		}
		if slot == last {
			return
		}
		slot = e.next
	}
}
