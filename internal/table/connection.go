// SPDX-License-Identifier: Apache-2.0

package table

import (
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// Connection is one connection or listener: what everybody wants to know of it,
// and what the table needs to decide that.
//
// Busy hosts have hundreds of thousands of them. The order of the fields leaves
// no gaps, and the whole just fits 256 bytes, a size class of the allocator.
type Connection struct {
	event.Connection

	// Owner is the process that holds it now, if one is known; else Reason says
	// why none is.
	Owner process.Owner
	Inode uint64

	unreported event.Delta // what it did that was not reported yet
	known      tcp.Fields  // that any sample had
	counted    uint64      // bytes received that went into unreported, or were there before
	born       uint32      // the clock, when the first dump that had it began
	missing    uint32      // the clock, at the first complete dump that did not; 0 if the last had it
	pass       uint32      // the last dump that had it
	place      int32       // its index in Table.live; outside one of the constants below

	marks  marks
	told   tcp.State // the state that was reported last
	Reason process.Reason

	changed uint32 // see Changed
}

// Places outside of Table.live.
const (
	nowhere  = -1 // gone, or not there yet
	awaiting = -2 // it has ended without a notice, which may still come
	leaving  = -3 // it has ended, and the kernel may keep what is left of it (TIME_WAIT)
)

// marks are what is decided of a connection.
type marks uint16

const (
	established marks = 1 << iota // the handshake came through
	opened                        // and that was reported
	ended                         // its end was reported, or it never was a connection
	reported                      // it has been reported at all
	unwanted                      // it is not to be reported
	waited                        // a report was put off once
	leftover                      // it was first seen as what is left of a connection
	onReport                      // it is in Table.toReport
	onUnowned                     // it is in Table.unowned
	onUnsteady                    // it is in Table.unsteady
	begun                         // there was a Progress
	failed                        // an attempt that came to nothing
	older                         // no complete dump came before it
	grown                         // a followed counter has grown since the last report
)

func (m marks) has(one marks) bool { return m&one != 0 }

// Established reports whether the connection came through the handshake.
func (c *Connection) Established() bool { return c.marks.has(established) }

// Settled reports whether its process and its peer are decided, which is right before
// it is first reported.
func (c *Connection) Settled() bool { return c.marks.has(reported) }

// Changed is the number of the dump that last showed something else of the connection
// than the one before, apart from how much time has passed: any of its numbers, its
// state, or that it is there. No two dumps of tables that share their Slots have the
// same number, so that another connection at the same slot has another one. What others
// decide of a connection (Owner, Process, PeerInfo) does not count.
//
// Numbers that only Details has count while those are kept.
func (c *Connection) Changed() uint32 { return c.changed }

// FirstSeen returns when the first dump that had a connection began, up to a second
// late; false if none had it.
func (t *Table) FirstSeen(c *Connection) (at time.Time, ok bool) {
	if c.born == 0 {
		return time.Time{}, false
	}
	return t.timeOf(c.born), true
}

// isLeftover reports whether a sample is but what the kernel keeps of a
// connection for a while: it has no counters.
func isLeftover(s *tcp.Socket) bool {
	return s.Fields == 0 && (s.State == tcp.TimeWait || s.State == tcp.FinWait2)
}
