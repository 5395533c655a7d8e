// SPDX-License-Identifier: Apache-2.0

// Package event is what happens to connections, as plain values: what is known
// of a connection, that it opened, what it did, how it ended.
//
// It lies below the table, which decides each of these once, so that whoever
// listens (groups, records, detectors, the page) depends on values alone.
package event

import (
	"net/netip"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// Connection is what is known of a connection, or of a listener. Its counters
// are unwrapped: they never fall.
type Connection struct {
	ID          tcp.Identity
	Local, Peer netip.AddrPort
	Fields      tcp.Fields // of the last sample
	*Traits

	SmoothedRTT   time.Duration
	BytesSent     uint64
	BytesReceived uint64
	Retransmits   uint64

	// Process is whose connection it is, decided before anything else is said of
	// it, for good: the process that holds it or, for one that nobody has accepted
	// yet, the one that listens. nil if that is not known.
	Process *process.Process
	// PeerInfo is who the other end is, found when the connection opened, for good.
	// nil if nothing is known of it.
	PeerInfo *Peer
	// Details is nil while nobody wants it.
	*Details

	// Slot is a small number that no other connection has as long as this one is
	// not gone, see [Progress]. Whoever keeps something for each connection keeps
	// it there.
	Slot uint32
	// Role is which end this host has. It is decided with Process.
	Role  tcp.Role
	State tcp.State
	// IsNew reports that the connection began while it could be seen to begin:
	// its counters were 0 then. What the others did before is not known.
	IsNew bool
}

// Traits are what many connections have in common; they share one value.
type Traits struct {
	CongestionControl string // "": not known
	Stack             string // "": there is but one, or it is not known
}

// Details is what only those want who look at each connection by itself. They may
// be kept for a part of a connection's life only. Pointers come first: the garbage
// collector looks no further than the last of them.
type Details struct {
	// FirstSeen is when the first dump that had it began. It may be up to a second
	// late if Details were not kept then.
	FirstSeen time.Time
	// Start is a time at which its counters were 0: the dump that did not have
	// it yet or, for what the first dump found, the host's boot.
	Start time.Time
	// At is when the dump began that Sample is of.
	At time.Time
	// Sample are the numbers of the last sample. Its counters are unwrapped from when
	// Details began to be kept. The endpoints and names are those of the [Connection].
	Sample tcp.Socket
	// Delta is what the connection did since the dump before the last.
	Delta Delta
}

// Delta is how much counters grew. For a connection that the first dump found it
// begins at zero: what was before is not known.
type Delta struct {
	BytesSent     uint64
	BytesReceived uint64
	Retransmits   uint64
}

// Add adds another delta.
func (d *Delta) Add(more Delta) {
	d.BytesSent += more.BytesSent
	d.BytesReceived += more.BytesReceived
	d.Retransmits += more.Retransmits
}

// Has reports whether the last sample had a value.
func (c *Connection) Has(f tcp.Field) bool { return c.Fields.Has(f) }

// IsIPv4 reports whether the connection's packets are IPv4.
func (c *Connection) IsIPv4() bool { return c.Local.Addr().Is4() }

// NoState is the state of what is not there: not yet, or not any more.
const NoState = tcp.NumStates

// Progress is what a connection did since the last Progress. The first one comes
// when the connection is first seen, in whatever state, and the last one when
// nothing of it is left.
type Progress struct {
	*Connection
	Delta Delta
	// Growth is how much the counters grew that somebody asked for; nil if none did.
	Growth *Growth
	// Was is the state in the last Progress, Is the one now. They are NoState in
	// the first Progress and once the connection has ended.
	Was, Is tcp.State
	// First reports that this is the first Progress of the connection.
	First bool
	// Gone reports that this is the last Progress: the slot is free after it.
	Gone bool
}

// Opened is that a connection was established, of those that are new.
type Opened struct {
	*Connection
	// At is when, by the kernel's clock; zero if that is not known.
	At time.Time
}

// Ended is the end of a connection, or of an attempt to connect. It comes after
// the last Progress that has a Delta, unless a notice comes late: what it adds is
// in one more Progress.
type Ended struct {
	*Connection
	// Established reports whether the handshake came through. Without it, Failure
	// says why it did not, and Cause nothing.
	Established bool
	Cause       tcp.Cause
	Failure     tcp.Failure
	// At is when it ended, by the kernel's clock or, where Exact is not set, when
	// that was learned.
	At    time.Time
	Exact bool
	// Start is when it was established; zero if that is not known.
	Start time.Time
	// FirstSeen is when the first dump that had it began, up to a second late; zero
	// if none had it.
	FirstSeen time.Time
	// Handshake is how long the handshake took; 0 if that is not known.
	Handshake time.Duration
	// Last is the notice of the end, with the last sample; nil if there was none.
	Last *tcp.Notice
}

// Listener hears of what happens to connections, each thing once, under the
// engine's lock: it must neither block nor keep what it is given.
type Listener interface {
	Progress(*Progress)
	Opened(*Opened)
	Ended(*Ended)
}
