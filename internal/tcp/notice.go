// SPDX-License-Identifier: Apache-2.0

package tcp

import "time"

// Notice is the last that a source has to say of a socket: it was destroyed, or
// its connection ended. Sources reuse a single Notice: copy what must outlive the
// visit.
type Notice struct {
	// Socket has the identity, the endpoints and the last counters. State is
	// [Closed]; Role is set where the source knows it.
	Socket

	// Left is the state that the connection left when it ended; [Closed] where
	// the source does not know it.
	Left State
	// Cause is why an established connection ended.
	Cause Cause
	// Failure is why the connection was never established; [NoFailure] if it was,
	// or if the source does not know.
	Failure Failure
	// NeverEstablished reports that the source knows that no handshake came
	// through. Without it, the counters have to show whether one did.
	NeverEstablished bool
	// WithoutFINs reports that the counters of bytes have no FIN in them. The
	// samples of a live connection never have.
	WithoutFINs bool
	// OwnFIN is what the source knows of the FIN from here; for [Notice.RoleEvidence].
	OwnFIN OwnFIN

	// Handshake is the time from the first SYN to the end of the handshake; 0
	// where the source does not know it.
	Handshake time.Duration
	// Established and Ended are when the handshake came through and when the
	// connection ended, by the kernel's clock; zero where the source does not
	// know them.
	Established, Ended time.Time

	// Seen is when the notice was read, which whoever reads it notes.
	Seen time.Time

	// Holder is the process that the source itself saw with the socket; nil if it
	// saw none, as most sources do.
	Holder *Holder
}
