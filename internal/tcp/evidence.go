// SPDX-License-Identifier: Apache-2.0

package tcp

import "time"

// What Linux's counters show beside what they count.
//
// bytes_acked follows snd_una (net/ipv4/tcp_input.c tcp_snd_una_update). It counts the
// SYN of the side that connected: its socket waits for the acknowledgment of that. It
// does not count the SYN of the side that accepted: its socket is made when that was
// acknowledged already (tcp_create_openreq_child). It counts the FIN of either.
// bytes_sent and bytes_retrans count payload only. So what is acknowledged or
// outstanding, less the payload that was ever sent, is the SYN and the FIN:
//
//	                                      client  server
//	no FIN sent: established, or reset       1       0
//	FIN sent: closed in order                2       1
//
// The figures were read from Linux 6.18, in the tests of the source sock_diag. They do
// not hold for a socket whose counters were restored (TCP_REPAIR, as CRIU does), nor
// for other systems, whose sources say PayloadOnly.

// surplus is what is acknowledged or outstanding less the payload that was sent.
func (s *Socket) surplus() (n int64, ok bool) {
	const needs = Fields(1<<FieldBytesAcked | 1<<FieldBytesSent | 1<<FieldBytesRetransmitted | 1<<FieldSendBufferUsage | 1<<FieldUnsent)
	// While something is unsent, a FIN may be among it.
	if s.PayloadOnly || s.Fields&needs != needs || s.Low32&needs != 0 || s.Unsent != 0 {
		return 0, false
	}
	return int64(s.BytesAcked) + int64(s.SendBufferUsage) - int64(s.BytesSent-s.BytesRetransmitted), true
}

// roleIdle is how long a client must not have received an acknowledgment: sock_diag
// reads the state a moment before the counters, and waits for the socket's lock
// between the two. A server whose FIN was sent and acknowledged meanwhile looks like
// a client that is established, but has just received an acknowledgment.
const roleIdle = time.Second

// RoleOf returns which end of a live connection this host has, as the counters of
// Linux show it, and NoRole while they do not: in other states than ESTABLISHED and
// CLOSE_WAIT, while anything is not sent or not acknowledged, and for a client that
// has received an acknowledgment within the last second.
//
// sock_diag reads the length of the queue a moment before the counters, too, so only
// an empty one can be trusted.
func RoleOf(s *Socket) Role {
	if s.State != Established && s.State != CloseWait || s.SendBufferUsage != 0 {
		return NoRole
	}
	switch n, ok := s.surplus(); {
	case ok && n == 1 && s.Has(FieldSinceACKReceived) && s.SinceACKReceived >= roleIdle:
		return Client
	case ok && n == 0:
		return Server
	}
	return NoRole
}

// LastActivity returns how long ago the connection last sent data, received data, or
// received an acknowledgment, and whether that is known. It is as of the moment when
// the kernel made the sample or the notice; a notice may then have waited to be read.
// A reset is no activity: for a connection that the peer reset, and that its owner
// closed a second later, the notice has a second or more.
func (s *Socket) LastActivity() (ago time.Duration, ok bool) {
	for _, since := range [...]struct {
		field Field
		ago   time.Duration
	}{{FieldSinceDataSent, s.SinceDataSent}, {FieldSinceDataReceived, s.SinceDataReceived}, {FieldSinceACKReceived, s.SinceACKReceived}} {
		if s.Has(since.field) && (!ok || since.ago < ago) {
			ago, ok = since.ago, true
		}
	}
	return ago, ok
}

// Connected reports whether a handshake came through, and whether that is sure.
//
// A received segment is no proof: a RST is one. Proof is a byte received, a byte
// acknowledged (the SYN of a client is one), a measured round trip, which one who
// accepted takes from its own SYN, or a window that the peer has offered. That last
// one is all that is left of a connection whose owner closed it with SO_LINGER 0
// (net/ipv4/tcp.c tcp_disconnect): its notice has no peer's port, an unspecified
// local address if that was not bound, and counters of 0.
func (n *Notice) Connected() (connected, sure bool) {
	switch {
	case n.NeverEstablished || n.Failure != NoFailure:
		return false, true
	case n.Left != Closed && n.Left != SynSent && n.Left != SynReceived, !n.Established.IsZero(), n.Handshake > 0:
		return true, true
	case n.BytesAcked > 0 && n.Has(FieldBytesAcked), n.BytesReceived > 0 && n.Has(FieldBytesReceived),
		n.Has(FieldSmoothedRTT), n.SendWindow > 0 && n.Has(FieldSendWindow):
		return true, true
	case n.Has(FieldBytesAcked) && n.Has(FieldSendWindow):
		return false, true
	}
	// Linux before 5.4 does not have the window: nothing but a SYN outstanding is
	// proof there.
	return false, n.Has(FieldBytesAcked) && n.Has(FieldUnsent) && n.SendBufferUsage == 1 && n.Unsent == 0
}

// RoleEvidence returns which end of the connection this host had, as the counters of
// its last notice show it; NoRole where they do not. left is the last state in which
// the connection was seen, Closed if it was not.
func (n *Notice) RoleEvidence(left State) Role {
	if n.Role != NoRole {
		return n.Role
	}
	if n.Peer.Port() == 0 {
		return NoRole // a listener, or disconnected
	}
	if connected, sure := n.Connected(); !connected {
		// One that is being accepted has no notice before it is established.
		if sure {
			return Client
		}
		return NoRole
	}
	surplus, ok := n.surplus()
	if !ok {
		return NoRole
	}
	if n.WithoutFINs {
		switch surplus {
		case 1:
			return Client
		case 0:
			return Server
		}
		return NoRole
	}
	switch surplus {
	case 2:
		return Client
	case 1:
		switch {
		case n.OwnFIN == FINAcked, left.ownFINSent():
			return Server
		case n.OwnFIN == NoFIN:
			return Client
		}
	case 0:
		return Server
	}
	return NoRole
}

// SentFIN reports whether a FIN was sent from here, given which end this host had, and
// whether that is sure. BytesAcked counts it if it was sent and nothing is
// outstanding. A connection that ended without one was reset, or timed out.
func (n *Notice) SentFIN(role Role) (sent, sure bool) {
	if connected, sure := n.Connected(); !connected {
		return false, sure
	}
	surplus, ok := n.surplus()
	if !ok || n.WithoutFINs || role == NoRole || n.Peer.Port() == 0 {
		return false, false
	}
	if role == Client {
		surplus--
	}
	return surplus == 1, surplus == 0 || surplus == 1
}

// ownFINSent reports whether a FIN of ours was at least queued in the state.
func (s State) ownFINSent() bool {
	return s == FinWait1 || s == FinWait2 || s == Closing || s == LastAck || s == TimeWait
}

// OwnFIN is what a source knows of the FIN that this host sends.
type OwnFIN uint8

// What is known of a FIN.
const (
	UnknownFIN OwnFIN = iota
	FINAcked          // it was sent, and the peer acknowledged it
	NoFIN             // none was sent
)
