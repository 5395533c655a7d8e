// SPDX-License-Identifier: Apache-2.0

package bpf

import "github.com/netpulse/tcpstatsreceiver/internal/tcp"

// enum facts of program/closes.bpf.c.
const (
	factClosed         = 1
	factNotAccepted    = 2
	factDataAfterClose = 4
)

// The error numbers of Linux (include/uapi/asm-generic/errno.h) by which the kernel
// ends a connection.
const (
	errPipe    = 32  // EPIPE, tcp_reset in CLOSE_WAIT
	errAborted = 103 // ECONNABORTED, tcp_abort: by the administrator
	errReset   = 104 // ECONNRESET, tcp_reset
)

// end is what a socket showed at the moment that it became CLOSED.
type end struct {
	left        tcp.State
	errno       uint32 // sk_err
	facts       uint8
	finReceived bool // the peer's FIN has arrived
	allAcked    bool // all that was sent is acknowledged, a FIN included
}

func (e end) is(fact uint8) bool { return e.facts&fact != 0 }

// cause returns why a connection ended; [tcp.UnknownCause] of what was none.
func (e end) cause() tcp.Cause {
	switch e.left {
	case tcp.SynSent, tcp.SynReceived, tcp.Listen, tcp.Closed:
		return tcp.UnknownCause
	case tcp.LastAck:
		if e.allAcked {
			return tcp.PeerClose
		}
	case tcp.Closing:
		if e.allAcked {
			return tcp.LocalClose
		}
	case tcp.FinWait2:
		switch {
		case e.finReceived:
			return tcp.LocalClose
		case e.is(factDataAfterClose):
			return tcp.LocalReset
		case e.is(factClosed) && e.errno == 0:
			// Something smaller than a socket waits for the peer's FIN from here on.
			return tcp.LocalClose
		}
	}
	switch e.errno {
	case 0:
	case errReset, errPipe:
		// Data that arrives after close(2) makes the kernel reset the connection, and
		// the socket looks as if the peer had done so (tcp_rcv_state_process in
		// net/ipv4/tcp_input.c).
		if e.is(factDataAfterClose) {
			return tcp.LocalReset
		}
		return tcp.PeerReset
	case errAborted:
		return tcp.Aborted
	default:
		// ETIMEDOUT, or what routers reported meanwhile (tcp_write_err).
		return tcp.TimeoutCause
	}
	// Its listener was closed (inet_csk_listen_stop), or memory is short
	// (tcp_out_of_resources, tcp_check_oom).
	if e.is(factNotAccepted) || e.is(factClosed) {
		return tcp.Aborted
	}
	// A process ended it at once: by closing with bytes unread or with SO_LINGER 0
	// (__tcp_close), or by connecting to AF_UNSPEC (tcp_disconnect).
	return tcp.LocalReset
}
