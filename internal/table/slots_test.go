// SPDX-License-Identifier: Apache-2.0

package table

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// followed is a table that follows all counters.
func followed(change ...func(*Options)) *watched {
	w := newWatched(change...)
	var all []event.Kind
	for k := range event.NumKinds {
		all = append(all, k)
	}
	w.slots.Follow(all...)
	return w
}

// counting is a sample with busy, receiver and send buffer limited seconds, and
// segments sent and received.
func counting(busy, receiver, buffer time.Duration, out, in uint64) func(*tcp.Socket) {
	return func(s *tcp.Socket) {
		s.BusyTime, s.ReceiveWindowLimited, s.SendBufferLimited = busy, receiver, buffer
		s.SegmentsSent, s.SegmentsReceived = out, in
		for _, f := range []tcp.Field{tcp.FieldBusyTime, tcp.FieldReceiveWindowLimited, tcp.FieldSendBufferLimited, tcp.FieldSegmentsSent, tcp.FieldSegmentsReceived} {
			s.Fields = s.Fields.With(f)
		}
	}
}

// What was before the first dump is not counted, what a new connection did is
// counted whole, and a notice has the rest.
func TestGrowth(t *testing.T) {
	const s, ms = time.Second, time.Millisecond
	w := followed()
	w.scrape(0, socket(1, counting(9*s, 4*s, 2*s, 100, 200)))
	assert.Equal(t, event.Growth{}, w.growth)
	w.scrape(10, socket(1, counting(10*s, 4*s+500*ms, 2*s, 110, 200)), socket(2, counting(2*s, s, 0, 5, 6)))
	want := event.Growth{event.LimitedByReceiver: 1500, event.LimitedByNetwork: 1500, event.SegmentsSent: 15, event.SegmentsReceived: 6}
	assert.Equal(t, want, w.growth)

	// Without the fields nothing is known, and nothing was lost when they are back.
	w.scrape(20, socket(1, func(s *tcp.Socket) { s.State, s.Fields = tcp.TimeWait, 0 }), socket(2, counting(2*s, s, 0, 5, 6)))
	assert.Equal(t, want, w.growth)
	last := *socket(2, counting(3*s, 2*s, 0, 7, 7))
	last.State = tcp.Closed
	w.notice(25, &tcp.Notice{Socket: last})
	want[event.LimitedByReceiver] += 1000
	want[event.SegmentsSent] += 2
	want[event.SegmentsReceived]++
	assert.Equal(t, want, w.growth)

	// One that no dump had.
	short := *socket(3, counting(70*ms, 0, 50*ms, 4, 3))
	short.State = tcp.Closed
	w.notice(26, &tcp.Notice{Socket: short})
	want[event.LimitedBySendBuffer] += 50
	want[event.LimitedByNetwork] += 20
	want[event.SegmentsSent] += 4
	want[event.SegmentsReceived] += 3
	w.scrape(30)
	assert.Equal(t, want, w.growth)
}

// Counters of the kernel are 32 bits wide, and a difference of two may seem to
// fall: neither makes a jump.
func TestGrowthWrapsAndNeverFalls(t *testing.T) {
	w := followed()
	w.scrape(0, socket(1, counting(0, 0, 0, math.MaxUint32-4, 0)))
	w.scrape(10, socket(1, counting(10*time.Second, 0, 0, 5, 0)))
	assert.Equal(t, uint32(10), w.growth[event.SegmentsSent])
	assert.Equal(t, uint32(10_000), w.growth[event.LimitedByNetwork])
	w.scrape(20, socket(1, counting(10*time.Second, time.Second, 0, 5, 0)))
	assert.Equal(t, uint32(10_000), w.growth[event.LimitedByNetwork], "9 s now")
	w.scrape(30, socket(1, counting(12*time.Second, time.Second, 0, 5, 0)))
	assert.Equal(t, uint32(11_000), w.growth[event.LimitedByNetwork])
}

// A number that is used again does not have what the connection before it did.
func TestGrowthOfAUsedSlot(t *testing.T) {
	w := followed()
	w.scrape(0)
	for i := range uint64(3 * rowsAtOnce) {
		gone := *socket(i+1, counting(0, 0, 0, 10, 0))
		gone.State = tcp.Closed
		w.notice(1, &tcp.Notice{Socket: gone})
		w.scrape(2, socket(i+1_000_000, counting(0, 0, 0, 5, 0)))
		w.growth = event.Growth{}
	}
	w.scrape(3, socket(9_000_000, counting(0, 0, 0, 7, 0)))
	assert.Equal(t, uint32(7), w.growth[event.SegmentsSent])
}

func TestNothingIsFollowedUnasked(t *testing.T) {
	w := newWatched()
	w.scrape(0)
	w.scrape(10, socket(1, counting(time.Second, 0, 0, 1, 1)))
	w.scrape(20, socket(1, counting(2*time.Second, 0, 0, 2, 2)))
	assert.Equal(t, event.Growth{}, w.growth)
	assert.Empty(t, w.slots.rows)
}

func TestFollowingAllocatesNothing(t *testing.T) {
	w := followed()
	w.scrape(0, socket(1))
	out := uint64(0)
	s := socket(1)
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		out++
		counting(time.Duration(out)*time.Second, 0, 0, out, 0)(s)
		w.Begin(at(int(out)))
		w.Observe(s)
		w.End(Complete)
		w.Report()
	}))
	assert.Positive(t, w.growth[event.SegmentsSent])
}

// BenchmarkFollowed is a scrape of connections that all did something, without
// counters to follow and with those of the default metrics.
func BenchmarkFollowed(b *testing.B) {
	for name, kinds := range map[string][]event.Kind{
		"none":     nil,
		"defaults": {event.SegmentsSent, event.SegmentsReceived, event.LimitedByReceiver, event.LimitedBySendBuffer, event.LimitedByNetwork, event.ZeroWindows},
	} {
		b.Run(name, func(b *testing.B) {
			const n = 20_000
			w := newWatched()
			w.slots.Follow(kinds...)
			sockets := make([]tcp.Socket, n)
			for i := range sockets {
				sockets[i] = *socket(uint64(i+1), counting(time.Second, 0, 0, 1, 1), sent(1))
			}
			w.scrape(0)
			b.ReportAllocs()
			for b.Loop() {
				w.Begin(at(1))
				for i := range sockets {
					s := &sockets[i]
					s.BytesSent += 100
					s.SegmentsSent++
					s.SegmentsReceived++
					s.BusyTime += time.Millisecond
					w.Observe(s)
				}
				w.End(Complete)
				w.Report()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/socket")
		})
	}
}
