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

// linuxStates are the states by the numbers of Linux's <net/tcp_states.h>,
// which netlink and /proc show. Number 0 is none; 12 is NEW_SYN_RECV, an
// embryo that is not a socket yet.
var linuxStates = [...]State{
	1: Established, 2: SynSent, 3: SynReceived, 4: FinWait1, 5: FinWait2, 6: TimeWait,
	7: Closed, 8: CloseWait, 9: LastAck, 10: Listen, 11: Closing, 12: SynReceived,
}

// LinuxState returns the state that Linux gives the number n, and whether
// there is one.
func LinuxState(n uint64) (State, bool) {
	if n == 0 || n >= uint64(len(linuxStates)) {
		return 0, false
	}
	return linuxStates[n], true
}
