// SPDX-License-Identifier: Apache-2.0

package tcp

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

// LinuxQueues turns the queue lengths that Linux shows for a connection, in
// netlink and in /proc/net/tcp, into payload bytes. The kernel tells them as
// differences of sequence numbers, of which SYN and FIN take one each (RFC 9293
// §3.4): rcv_nxt - copied_seq has the peer's FIN until the process has read the
// end of file (tcp_inq of <net/tcp.h> takes it off for SIOCINQ, too), write_seq - snd_una our SYN or FIN until it is acknowledged.
func LinuxQueues(s State, receive, send uint32) (receiveBytes, sendBytes uint32) {
	if s.PeerFinReceived() && receive > 0 {
		receive--
	}
	switch s {
	case SynSent, FinWait1, Closing, LastAck:
		if send > 0 {
			send--
		}
	}
	return receive, send
}
