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
	FastRetransmits // segments, by what made the sender repeat them
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

// kinds say which field of a sample a kind needs, and how to read it.
var kinds = [NumKinds]struct {
	field tcp.Field
	value func(*tcp.Socket) uint64
}{
	LimitedByReceiver:   {tcp.FieldReceiveWindowLimited, func(s *tcp.Socket) uint64 { return millis(s.ReceiveWindowLimited) }},
	LimitedBySendBuffer: {tcp.FieldSendBufferLimited, func(s *tcp.Socket) uint64 { return millis(s.SendBufferLimited) }},
	LimitedByNetwork: {tcp.FieldBusyTime, func(s *tcp.Socket) uint64 {
		return millis(max(0, s.BusyTime-s.ReceiveWindowLimited-s.SendBufferLimited))
	}},
	SegmentsSent:        {tcp.FieldSegmentsSent, func(s *tcp.Socket) uint64 { return s.SegmentsSent }},
	SegmentsReceived:    {tcp.FieldSegmentsReceived, func(s *tcp.Socket) uint64 { return s.SegmentsReceived }},
	FastRetransmits:     {tcp.FieldRetransmitsBy, func(s *tcp.Socket) uint64 { return s.RetransmitsBy[tcp.FastRetransmit] }},
	TimeoutRetransmits:  {tcp.FieldRetransmitsBy, func(s *tcp.Socket) uint64 { return s.RetransmitsBy[tcp.TimeoutRetransmit] }},
	ProbeRetransmits:    {tcp.FieldRetransmitsBy, func(s *tcp.Socket) uint64 { return s.RetransmitsBy[tcp.ProbeRetransmit] }},
	SYNRetransmits:      {tcp.FieldRetransmitsBy, func(s *tcp.Socket) uint64 { return s.RetransmitsBy[tcp.SYNRetransmit] }},
	SpuriousRetransmits: {tcp.FieldSpuriousRetransmits, func(s *tcp.Socket) uint64 { return s.SpuriousRetransmits }},
	ZeroWindows:         {tcp.FieldZeroWindows, func(s *tcp.Socket) uint64 { return s.ZeroWindows }},
}

func millis(d time.Duration) uint64 { return uint64(d / time.Millisecond) }

// Field returns the field that a sample must have.
func (k Kind) Field() tcp.Field { return kinds[k].field }

// Of returns the counter in a sample.
func (k Kind) Of(s *tcp.Socket) uint64 { return kinds[k].value(s) }
