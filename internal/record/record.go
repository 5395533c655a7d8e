// SPDX-License-Identifier: Apache-2.0

package record

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/netns"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// Kind is what a record is of.
type Kind uint8

// The kinds.
const (
	Start    Kind = iota // a connection was established
	Progress             // it lives on
	End                  // it is over
	Failure              // an attempt to connect came to nothing

	// NumKinds is the number of kinds.
	NumKinds
)

var kindNames = [NumKinds]string{"start", "progress", "end", "failure"}

// String returns the kind as users write it in records::events.
func (k Kind) String() string {
	if k < NumKinds {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// ParseKind is the reverse of [Kind.String].
func ParseKind(name string) (Kind, error) {
	for k, n := range kindNames {
		if n == name {
			return Kind(k), nil
		}
	}
	return 0, fmt.Errorf("got %q, takes one of %s", name, strings.Join(kindNames[:], ", "))
}

// Kinds is a set of kinds.
type Kinds uint8

// Has reports whether the set has a kind.
func (s Kinds) Has(k Kind) bool { return s&(1<<k) != 0 }

// With returns the set with a kind added.
func (s Kinds) With(k Kind) Kinds { return s | 1<<k }

// Record is what is written of a connection at one moment. It points to nothing
// that changes.
type Record struct {
	Kind Kind
	Role tcp.Role
	// Cause is why it ended, Failure why it never began.
	Cause   tcp.Cause
	Failure tcp.Failure

	ID          tcp.Identity
	Local, Peer netip.AddrPort
	Place       netns.Place
	Process     *process.Process // nil: not known
	PeerInfo    *event.Peer      // likewise

	// At is when it happened, by the kernel's clock where the source has it, and
	// Observed when that was learned.
	At, Observed time.Time
	// Start is when the connection was established; zero if that is not known.
	Start time.Time
	// Duration is how long it has been established; negative if that is not known.
	Duration time.Duration
	// Handshake is how long the handshake took; 0 if that is not known.
	Handshake time.Duration

	// Fields are those of the values below that are known.
	Fields            tcp.Fields
	CongestionControl string // "": not known
	Values
}

// Values are counters since the connection began, and the last measurements.
// [tcp.Socket] says what each is.
type Values struct {
	BytesSent, BytesReceived, BytesRetransmitted      uint64
	Retransmits, OutOfOrder                           uint64
	SmoothedRTT, RTTVariation, MinRTT                 time.Duration
	CongestionWindow                                  uint64
	SendMSS                                           uint32
	BusyTime, ReceiveWindowLimited, SendBufferLimited time.Duration
}

// Has reports whether a value is known.
func (r *Record) Has(f tcp.Field) bool { return r.Fields.Has(f) }

// Abnormal reports whether the connection failed or was cut off.
func (r *Record) Abnormal() bool {
	switch r.Kind {
	case Failure:
		return true
	case End:
		switch r.Cause {
		case tcp.LocalReset, tcp.PeerReset, tcp.TimeoutCause, tcp.Aborted:
			return true
		}
	}
	return false
}

// take takes over what is known of a connection. known are the fields that any of
// its samples had, last its last sample; nil if there is none of its own.
func (r *Record) take(c *event.Connection, known tcp.Fields, last *tcp.Socket) {
	r.ID, r.Local, r.Peer, r.Role, r.Process, r.PeerInfo = c.ID, c.Local, c.Peer, c.Role, c.Process, c.PeerInfo
	if c.Traits != nil {
		r.CongestionControl = c.CongestionControl
	}
	// The connection has the same of these, and keeps them where a later sample has
	// none.
	const always = tcp.Fields(1<<tcp.FieldBytesSent | 1<<tcp.FieldBytesReceived | 1<<tcp.FieldRetransmits | 1<<tcp.FieldSmoothedRTT)
	r.Fields = (known | c.Fields) & always
	r.BytesSent, r.BytesReceived, r.Retransmits, r.SmoothedRTT = c.BytesSent, c.BytesReceived, c.Retransmits, c.SmoothedRTT
	if last == nil {
		return
	}
	r.Fields |= last.Fields
	r.BytesRetransmitted, r.OutOfOrder = last.BytesRetransmitted, last.OutOfOrder
	r.RTTVariation, r.MinRTT = last.RTTVariation, last.MinRTT
	r.CongestionWindow, r.SendMSS = last.CongestionWindow, last.SendMSS
	r.BusyTime, r.ReceiveWindowLimited, r.SendBufferLimited = last.BusyTime, last.ReceiveWindowLimited, last.SendBufferLimited
	if last.CongestionControl != "" {
		r.CongestionControl = last.CongestionControl
	}
}
