// SPDX-License-Identifier: Apache-2.0

package kmod

import "github.com/netpulse/tcpstatsreceiver/internal/tcp"

// ending is what the kernel left behind that says how a connection ended.
type ending struct {
	left    tcp.State // the last state that was seen
	states  uint32    // 1 << state, those that were seen
	flags   uint32    // te_flags
	info    uint32    // t_end_info_status
	err     uint32    // so_error, unless a process has read it
	softErr uint32    // t_softerror
	backOff uint8     // t_rxtshift
	// allCauses: the kernel's own TCP stack fills in info.
	allCauses bool
}

// allCauses is the osreldate from which on the default stack fills in
// t_end_info_status. Before, only RACK and BBR do.
const allCauses = 1500000

// t_end_info_status, TCP_EI_BITS_* of <netinet/tcp_var.h>. "Client" there is the
// peer, "server" this host, whoever opened the connection.
const (
	infoPeerReset  = 0x002 // TCP_EI_BITS_CLIENT_RST
	infoReset      = 0x008 // TCP_EI_BITS_SERVER_RST
	infoRetransmit = 0x010 // TCP_EI_BITS_RETRAN
	infoProgress   = 0x020 // TCP_EI_BITS_PROGRESS
	infoPersist    = 0x040 // TCP_EI_BITS_PRESIST_MAX
	infoKeepalive  = 0x080 // TCP_EI_BITS_KEEP_MAX
	infoLateData   = 0x100 // TCP_EI_BITS_DATA_A_CLO: came after the process had closed
	infoRefused    = 0x200 // TCP_EI_BITS_RST_IN_FR
	info2MSL       = 0x400 // TCP_EI_BITS_2MS_TIMER, which also bounds FIN_WAIT_2

	infoTimeout = infoRetransmit | infoProgress | infoPersist | infoKeepalive
)

// Errors of <sys/errno.h>.
const (
	errNetUnreachable  = 51
	errConnAborted     = 53
	errConnReset       = 54
	errTimedOut        = 60
	errConnRefused     = 61
	errHostDown        = 64
	errHostUnreachable = 65
)

// maxBackOff is TCP_MAXRXTSHIFT of <netinet/tcp_timer.h>, at which TCP gives up.
const maxBackOff = 12

func (e *ending) saw(states ...tcp.State) bool {
	for _, s := range states {
		if e.states&(1<<s) != 0 {
			return true
		}
	}
	return false
}

// role is which end this host had. Handshakes of connections that are accepted
// are in the syncache: they have no tcpcb, and none is seen in SYN_SENT.
func (e *ending) role() tcp.Role {
	switch {
	case e.saw(tcp.SynSent):
		return tcp.Client
	case e.flags&endTaken == 0:
		return tcp.Server
	}
	return tcp.NoRole
}

// neverEstablished reports that no state was seen that is after the handshake.
func (e *ending) neverEstablished() bool {
	return e.states&^(1<<tcp.Closed|1<<tcp.Listen|1<<tcp.SynSent|1<<tcp.SynReceived) == 0
}

func (e *ending) timedOut() bool {
	return e.info&infoTimeout != 0 || e.err == errTimedOut || e.backOff >= maxBackOff
}

// failure is why a connection was never established.
func (e *ending) failure() tcp.Failure {
	switch {
	case e.err == errConnRefused || e.info&infoRefused != 0:
		return tcp.Refused
	case e.err == errConnReset || e.info&infoPeerReset != 0:
		return tcp.Reset
	}
	if f := unreachable(e.err); f != tcp.NoFailure {
		return f
	}
	if e.timedOut() {
		// What routers said meanwhile is why nobody answered.
		if f := unreachable(e.softErr); f != tcp.NoFailure {
			return f
		}
		return tcp.TimedOut
	}
	if e.allCauses {
		return tcp.OtherFailure
	}
	return tcp.NoFailure
}

func unreachable(errno uint32) tcp.Failure {
	switch errno {
	case errHostDown, errHostUnreachable:
		return tcp.HostUnreachable
	case errNetUnreachable:
		return tcp.NetUnreachable
	}
	return tcp.NoFailure
}

// cause is why an established connection ended.
func (e *ending) cause() tcp.Cause {
	switch {
	// First, since TCP resets a connection that it gives up.
	case e.timedOut() || unreachable(e.err) != tcp.NoFailure:
		return tcp.TimeoutCause
	case e.info&infoPeerReset != 0 || e.err == errConnReset:
		return tcp.PeerReset
	case e.flags&endResetSent != 0 || e.info&(infoReset|infoLateData) != 0:
		return tcp.LocalReset
	case e.err == errConnAborted:
		return tcp.Aborted
	}
	switch e.left {
	case tcp.LastAck:
		return tcp.PeerClose
	case tcp.TimeWait, tcp.Closing:
		return tcp.LocalClose
	case tcp.FinWait2:
		if e.info&info2MSL != 0 {
			return tcp.TimeoutCause // the peer's FIN never came
		}
	case tcp.Established, tcp.CloseWait:
		// Whatever ends it here sends something: only the peer's reset does not.
		return tcp.PeerReset
	}
	return tcp.UnknownCause
}
