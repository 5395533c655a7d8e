// SPDX-License-Identifier: Apache-2.0

package table

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// Details that are wanted from some time on are right from the first dump on, and
// those that are not wanted any more take no memory.
func TestKeepDetails(t *testing.T) {
	w := newWatched()
	segments := func(n uint64) func(*tcp.Socket) { return func(s *tcp.Socket) { s.SegmentsSent = n } }
	w.scrape(0, socket(1, sent(100), segments(3_000_000_000)))
	w.scrape(10, socket(1, sent(150), segments(3_000_000_000)), socket(2, sent(30), segments(9)))
	w.KeepDetails(true)
	w.scrape(20, socket(1, sent(170), segments(3_000_000_005)), socket(2, sent(30), segments(9)), socket(3, sent(7), segments(1)))
	for c := range w.All() {
		if !assert.NotNil(t, c.Details, "%d", c.ID.Cookie) {
			continue
		}
		switch c.ID.Cookie {
		case 1:
			assert.Equal(t, uint64(3_000_000_005), c.Sample.SegmentsSent, "more than half the range of 32 bits")
			assert.Equal(t, uint64(170), c.Sample.BytesSent)
			assert.Equal(t, event.Delta{BytesSent: 20}, c.Delta, "since the dump before")
			assert.Equal(t, boot, c.Start)
			assert.WithinDuration(t, at(0), c.FirstSeen, 1e9)
		case 2:
			assert.Zero(t, c.Delta)
			assert.WithinDuration(t, at(10), c.FirstSeen, 1e9)
			assert.WithinDuration(t, at(10), c.Start, 1e9)
		case 3:
			assert.Equal(t, at(20), c.FirstSeen)
			assert.Equal(t, uint64(7), c.Delta.BytesSent)
		}
	}
	w.scrape(30, socket(1, sent(170), segments(5)), socket(2, sent(40), segments(10)), socket(3, sent(7), segments(1)))
	assert.Equal(t, uint64(1<<32+5), w.Find(socket(1).ID).Sample.SegmentsSent, "it has wrapped since")
	assert.Equal(t, uint64(10), w.Find(socket(2).ID).Delta.BytesSent)

	// 2 is missing, and a notice of it may come late; 3 has ended, and is gone.
	w.notice(31, final(3, 7, 9, 9, client))
	w.scrape(35, socket(1, sent(170)))
	w.scrape(50, socket(1, sent(170)))
	w.scrape(55, socket(1, sent(170)))
	w.Claims(nil, nil) // 2 is on no list any more
	require.NotEmpty(t, w.spare)
	w.KeepDetails(false)
	for _, c := range w.live {
		assert.Nil(t, c.Details)
	}
	for _, c := range w.endings.index {
		assert.Nil(t, c.Details)
	}
	for _, c := range w.spare {
		assert.Nil(t, c.Details)
	}
	w.scrape(60, socket(1, sent(180)), socket(5))
	for c := range w.All() {
		assert.Nil(t, c.Details, "%d", c.ID.Cookie)
	}
	assert.Equal(t, uint64(180-100+30+10+7), w.sum.BytesSent, "the sums are the same, with details and without")
}
