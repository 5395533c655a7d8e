// SPDX-License-Identifier: Apache-2.0

package tcp

// Cause is why a connection ended.
type Cause uint8

// The causes.
const (
	UnknownCause Cause = iota // the source does not say
	LocalClose                // in order, closed here first
	PeerClose                 // in order, closed by the peer first
	LocalReset                // a process here, or the kernel for it, reset it
	PeerReset                 // the peer reset it
	TimeoutCause              // the peer did not answer any more
	Aborted                   // ended otherwise: by the administrator, for want of memory, in the accept queue

	// NumCauses is the number of causes.
	NumCauses
)

var causeNames = [NumCauses]string{"unknown", "local_close", "peer_close", "local_reset", "peer_reset", "timed_out", "aborted"}

// String returns the cause as a value of tcp.end.cause.
func (c Cause) String() string {
	if c < NumCauses {
		return causeNames[c]
	}
	return causeNames[UnknownCause]
}

// InOrder reports whether both ends closed the connection with a FIN.
func (c Cause) InOrder() bool { return c == LocalClose || c == PeerClose }
