// SPDX-License-Identifier: Apache-2.0

package tcp

import (
	"fmt"
	"strings"
)

// State is a connection's state as in RFC 9293 §3.3.2. The zero value is
// Closed.
type State uint8

// The states, in the order of FreeBSD's <netinet/tcp_fsm.h>. Linux's
// NEW_SYN_RECV is SynReceived.
const (
	Closed State = iota
	Listen
	SynSent
	SynReceived
	Established
	CloseWait
	FinWait1
	Closing
	LastAck
	FinWait2
	TimeWait

	// NumStates is the number of states.
	NumStates
)

// States is the number of sockets in each state.
type States [NumStates]int64

// stateNames are the values of the attribute network.connection.state in the
// semantic conventions.
var stateNames = [NumStates]string{
	"closed", "listen", "syn_sent", "syn_received", "established", "close_wait",
	"fin_wait_1", "closing", "last_ack", "fin_wait_2", "time_wait",
}

// String returns the state's name in the semantic conventions.
func (s State) String() string {
	if s < NumStates {
		return stateNames[s]
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// ParseState is the reverse of [State.String].
func ParseState(name string) (State, error) {
	for s, n := range stateNames {
		if n == name {
			return State(s), nil
		}
	}
	return 0, fmt.Errorf("got %q, takes one of %s", name, strings.Join(stateNames[:], ", "))
}

// PeerFinReceived tells whether the peer's FIN has arrived for sure. Kernels
// count that FIN as one received byte.
func (s State) PeerFinReceived() bool {
	return s == CloseWait || s == Closing || s == LastAck || s == TimeWait
}

// OwnFinAcked tells whether the peer has acknowledged our FIN for sure.
// Kernels count that FIN as one acknowledged byte.
func (s State) OwnFinAcked() bool {
	return s == FinWait2 || s == TimeWait
}
