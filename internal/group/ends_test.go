package group

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

func TestEnds(t *testing.T) {
	e := NewEnds(at(0), []float64{0.001, 0.01})
	notice := func(change func(*tcp.Socket)) *tcp.Socket {
		s := connection("192.0.2.1:443", "192.0.2.2:5")
		socket := &tcp.Socket{State: tcp.Closed, Local: s.Local, Peer: s.Peer, SegmentsReceived: 3}
		change(socket)
		return socket
	}
	e.Count(notice(func(s *tcp.Socket) {
		s.SmoothedRTT, s.Age = 5*time.Millisecond, time.Minute
		s.Fields = s.Fields.With(tcp.FieldSmoothedRTT).With(tcp.FieldAge)
	}), true)
	e.Count(notice(func(s *tcp.Socket) {}), true) // of which nothing is known
	e.Count(notice(func(s *tcp.Socket) {
		s.SegmentsReceived = 0
		s.Fields = s.Fields.With(tcp.FieldSmoothedRTT)
	}), false) // never a connection
	for range 2 {
		e.Count(notice(func(s *tcp.Socket) { s.Failure = tcp.TimedOut }), false)
	}
	assert.Equal(t, []uint64{0, 1, 0}, e.RTT[Server].Explicit)
	assert.InDelta(t, 60, e.Duration[Server].Sum, 1e-9)
	assert.Len(t, e.Duration[Server].Explicit, len(DurationBounds)+1)
	assert.Empty(t, e.RTT[Client])
	assert.Equal(t, map[Failure]uint64{{Client, tcp.TimedOut}: 2}, e.Failures)

	e = NewEnds(at(0), nil)
	e.Count(notice(func(s *tcp.Socket) { s.Age, s.Fields = time.Second, s.Fields.With(tcp.FieldAge) }), false)
	assert.NotNil(t, e.Duration[Client].Exponential)
}
