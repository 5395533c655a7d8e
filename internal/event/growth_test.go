// SPDX-License-Identifier: Apache-2.0

package event

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// Each kind reads its own counter.
func TestKinds(t *testing.T) {
	s := tcp.Socket{
		BusyTime: 70 * time.Millisecond, ReceiveWindowLimited: 10 * time.Millisecond, SendBufferLimited: 20 * time.Millisecond,
		SegmentsSent: 4, SegmentsReceived: 5,
		RetransmitsBy:       [tcp.NumRetransmitTypes]uint64{tcp.FastRetransmit: 6, tcp.TimeoutRetransmit: 7, tcp.ProbeRetransmit: 8, tcp.SYNRetransmit: 9},
		SpuriousRetransmits: 11, ZeroWindows: 12,
	}
	want := [NumKinds]uint64{
		LimitedByReceiver: 10, LimitedBySendBuffer: 20, LimitedByNetwork: 40, SegmentsSent: 4, SegmentsReceived: 5,
		FastRetransmits: 6, TimeoutRetransmits: 7, ProbeRetransmits: 8, SYNRetransmits: 9, SpuriousRetransmits: 11, ZeroWindows: 12,
	}
	for k, v := range want {
		assert.Equal(t, v, Kind(k).Of(&s), k)
	}
	assert.Equal(t, tcp.FieldRetransmitsBy, SYNRetransmits.Field())
	assert.Zero(t, NumKinds.Of(&s))
	s.BusyTime = 0
	assert.Zero(t, LimitedByNetwork.Of(&s), "read a moment before its parts")
}
