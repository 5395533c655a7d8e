// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// patience bounds each thing that a test waits for.
const patience = 20 * time.Second

const emulated = false

// DeafArgs say whether a socket hears its peer.
type DeafArgs struct {
	Socket int
	Deaf   bool
}

// Deaf makes the kernel drop every segment that arrives for a socket, as a
// broken network would: a socket filter that lets 0 bytes pass.
func (h *Holder) Deaf(args DeafArgs, _ *struct{}) error {
	if !args.Deaf {
		return unix.SetsockoptInt(args.Socket, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0)
	}
	drop := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0}
	return unix.SetsockoptSockFprog(args.Socket, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &drop})
}

// Deafens tells whether this process may make sockets deaf. Not all kernels let
// everybody.
func (h *Holder) Deafens(_ struct{}, reply *bool) error {
	fd, err := newSocket(netip.IPv4Unspecified())
	if err != nil {
		return err
	}
	*reply = h.Deaf(DeafArgs{fd, true}, nil) == nil
	return unix.Close(fd)
}

// deferAccept makes a handshake to a listener complete only when data comes.
func deferAccept(fd int) error {
	return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 60)
}

// setCongestionControl sets the one that every kernel has. It takes a loss for
// congestion, as not all do, so its slow start ends.
func setCongestionControl(fd int) error {
	return unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, "reno")
}

// Report asks the kernel about one socket, as its process can.
func (h *Holder) Report(socket int, reply *Report) error {
	info, err := unix.GetsockoptTCPInfo(socket, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return fmt.Errorf("TCP_INFO: %w", err)
	}
	unread, err := unix.IoctlGetInt(socket, unix.SIOCINQ)
	if err != nil {
		return fmt.Errorf("SIOCINQ: %w", err)
	}
	unacked, err := unix.IoctlGetInt(socket, unix.SIOCOUTQ)
	if err != nil {
		return fmt.Errorf("SIOCOUTQ: %w", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	*reply = Report{
		State:       stateNames[info.State],
		Written:     h.traffic[socket].written,
		Read:        h.traffic[socket].read,
		Unread:      int64(unread),
		Unacked:     int64(unacked),
		Retransmits: int64(info.Total_retrans),
		RTT:         time.Duration(info.Rtt) * time.Microsecond,
	}
	return nil
}

// stateNames are the values of network.connection.state by the numbers of
// <net/tcp_states.h>.
var stateNames = map[uint8]string{
	1: "established", 2: "syn_sent", 3: "syn_received", 4: "fin_wait_1", 5: "fin_wait_2", 6: "time_wait",
	7: "closed", 8: "close_wait", 9: "last_ack", 10: "listen", 11: "closing",
}
