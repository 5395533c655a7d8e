// SPDX-License-Identifier: Apache-2.0

package event

import (
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// Kind is a counter of connections that is followed only where somebody asks for
// it. Those that everybody wants are in [Delta].
type Kind uint8

// The kinds. Times are in milliseconds.
const (
	LimitedByReceiver   Kind = iota // time in which the peer's window held the sender back
	LimitedBySendBuffer             // time in which the send buffer did
	LimitedByNetwork                // time with something to send and neither of the two
	SegmentsSent
	SegmentsReceived
	FastRetransmits // segments, by what made the sender repeat them: as tcp.RetransmitType
	TimeoutRetransmits
	ProbeRetransmits
	SYNRetransmits
	SpuriousRetransmits
	ZeroWindows // times that the offered window closed

	// NumKinds is the number of kinds.
	NumKinds
)

// Growth is how much each kind grew. A kind that nobody asked for stays 0.
type Growth [NumKinds]uint32

// fields say which field of a sample a kind needs.
var fields = [NumKinds]tcp.Field{
	LimitedByReceiver:   tcp.FieldReceiveWindowLimited,
	LimitedBySendBuffer: tcp.FieldSendBufferLimited,
	LimitedByNetwork:    tcp.FieldBusyTime,
	SegmentsSent:        tcp.FieldSegmentsSent,
	SegmentsReceived:    tcp.FieldSegmentsReceived,
	FastRetransmits:     tcp.FieldRetransmitsBy,
	TimeoutRetransmits:  tcp.FieldRetransmitsBy,
	ProbeRetransmits:    tcp.FieldRetransmitsBy,
	SYNRetransmits:      tcp.FieldRetransmitsBy,
	SpuriousRetransmits: tcp.FieldSpuriousRetransmits,
	ZeroWindows:         tcp.FieldZeroWindows,
}

// Field returns the field that a sample must have.
func (k Kind) Field() tcp.Field { return fields[k] }

// Of returns the counter in a sample.
func (k Kind) Of(s *tcp.Socket) uint64 {
	switch k {
	case LimitedByReceiver:
		return millis(s.ReceiveWindowLimited)
	case LimitedBySendBuffer:
		return millis(s.SendBufferLimited)
	case LimitedByNetwork:
		return millis(max(0, s.BusyTime-s.ReceiveWindowLimited-s.SendBufferLimited))
	case SegmentsSent:
		return s.SegmentsSent
	case SegmentsReceived:
		return s.SegmentsReceived
	case FastRetransmits, TimeoutRetransmits, ProbeRetransmits, SYNRetransmits:
		return s.RetransmitsBy[tcp.FastRetransmit+tcp.RetransmitType(k-FastRetransmits)]
	case SpuriousRetransmits:
		return s.SpuriousRetransmits
	case ZeroWindows:
		return s.ZeroWindows
	}
	return 0
}

func millis(d time.Duration) uint64 { return uint64(d / time.Millisecond) }
