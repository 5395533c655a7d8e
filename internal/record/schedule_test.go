// SPDX-License-Identifier: Apache-2.0

package record

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

func TestSchedule(t *testing.T) {
	const interval = 10 * time.Second
	epoch := time.Unix(1_000_000, 0)
	at := func(seconds int) time.Time { return epoch.Add(time.Duration(seconds) * time.Second) }
	s := newSchedule()
	due := func(seconds int, gone ...uint64) (all []uint64) {
		s.due(at(seconds), at(seconds).Add(interval), func(id tcp.Identity) bool {
			all = append(all, id.Cookie)
			for _, g := range gone {
				if g == id.Cookie {
					return false
				}
			}
			return true
		})
		return all
	}
	for i := range 5 {
		s.add(uint32(i), tcp.Identity{Cookie: uint64(100 + i)}, at(i))
	}
	s.add(2, tcp.Identity{Cookie: 102}, at(90)) // has its place already
	s.remove(3)
	s.remove(3)
	s.remove(77)
	assert.Empty(t, due(-1))
	assert.Equal(t, []uint64{100, 101}, due(1))
	assert.Empty(t, due(1), "they are due again later")
	assert.Equal(t, []uint64{102, 104}, due(9, 104))
	assert.Equal(t, []uint64{100, 101}, due(12))
	assert.Equal(t, []uint64{102, 100, 101}, due(100), "each once, however late")
	for slot := range uint32(5) {
		s.remove(slot)
	}
	assert.Equal(t, [2]int32{none, none}, [2]int32{s.head, s.tail})
	assert.Empty(t, due(1000))
}

// Nobody is looked at who is not due.
func BenchmarkNobodyIsDue(b *testing.B) {
	s := newSchedule()
	now := time.Now()
	for slot := range uint32(100_000) {
		s.add(slot, tcp.Identity{Cookie: uint64(slot)}, now.Add(time.Hour))
	}
	b.ReportAllocs()
	for b.Loop() {
		s.due(now, now, func(tcp.Identity) bool { return true })
	}
}
