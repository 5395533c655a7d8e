// SPDX-License-Identifier: Apache-2.0

package group

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

func TestEnds(t *testing.T) {
	e := NewEnds(at(0), []float64{0.001, 0.01})
	end := func(role tcp.Role, established bool, change func(*tcp.Notice)) {
		n := &tcp.Notice{}
		change(n)
		c := &event.Connection{Role: role}
		e.Ended(&event.Ended{Connection: c, Established: established, Failure: n.Failure, Last: n})
	}
	end(tcp.Server, true, func(n *tcp.Notice) {
		n.SmoothedRTT, n.Age = 5*time.Millisecond, time.Minute
		n.Fields = n.Fields.With(tcp.FieldSmoothedRTT).With(tcp.FieldAge)
	})
	end(tcp.Server, true, func(*tcp.Notice) {}) // of which nothing is known
	end(tcp.Client, false, func(n *tcp.Notice) { n.Fields = n.Fields.With(tcp.FieldSmoothedRTT) })
	for range 2 {
		end(tcp.Client, false, func(n *tcp.Notice) { n.Failure = tcp.TimedOut })
	}
	e.Ended(&event.Ended{Connection: &event.Connection{Role: tcp.Client}, Established: true}) // without a notice
	assert.Equal(t, []uint64{0, 1, 0}, e.RTT[tcp.Server].Explicit)
	assert.InDelta(t, 60, e.Duration[tcp.Server].Sum, 1e-9)
	assert.Len(t, e.Duration[tcp.Server].Explicit, len(DurationBounds)+1)
	assert.Empty(t, e.RTT[tcp.Client])
	assert.Equal(t, map[Failure]uint64{{tcp.Client, tcp.TimedOut}: 2}, e.Failures)

	e = NewEnds(at(0), nil)
	end(tcp.Client, true, func(n *tcp.Notice) { n.Age, n.Fields = time.Second, n.Fields.With(tcp.FieldAge) })
	assert.NotNil(t, e.Duration[tcp.Client].Exponential)
}
