// SPDX-License-Identifier: Apache-2.0

package socket

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/capture/filter"
	"github.com/netpulse/tcpstatsreceiver/internal/capture/packet"
)

// Socket is a packet socket of one network namespace: all its interfaces, those to
// come as well, without their link headers.
type Socket struct {
	// FD is the descriptor, which does not block.
	FD int
	Poller

	mu            sync.Mutex
	seen, dropped uint64
}

// Open opens a socket in the network namespace of the calling thread. Packets come
// after Bind.
func Open(ip []bpf.Instruction) (*Socket, error) {
	program, err := filter.ForSocket(ip)
	if err != nil {
		return nil, err
	}
	raw, err := bpf.Assemble(program)
	if err != nil {
		return nil, fmt.Errorf("assemble the filter of packets: %w", err)
	}
	// Of no protocol yet: nothing is to come before the filter is there.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	switch {
	case errors.Is(err, unix.EPERM):
		return nil, fmt.Errorf("open a packet socket: %w (grant CAP_NET_RAW; see docs/sources.md, Permissions)", err)
	case errors.Is(err, unix.EAFNOSUPPORT):
		return nil, fmt.Errorf("open a packet socket: %w (the kernel is not built with CONFIG_PACKET, or the service may not use AF_PACKET)", err)
	case err != nil:
		return nil, fmt.Errorf("open a packet socket: %w", err)
	}
	poller, err := NewPoller(fd, "packet socket")
	if err != nil {
		return nil, err
	}
	s := &Socket{FD: fd, Poller: poller}
	code := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		code[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}); err != nil {
		return nil, errors.Join(fmt.Errorf("attach the filter to a packet socket: %w", err), s.Close())
	}
	return s, nil
}

// Bind lets packets come.
func (s *Socket) Bind() error {
	all := binary.NativeEndian.Uint16([]byte{unix.ETH_P_ALL >> 8, unix.ETH_P_ALL & 0xff})
	if err := unix.Bind(s.FD, &unix.SockaddrLinklayer{Protocol: all}); err != nil {
		return fmt.Errorf("bind a packet socket: %w", err)
	}
	return nil
}

// Statistics returns how many packets have passed the filter, and how many of those
// were dropped for want of room. The kernel forgets its numbers once they are read.
func (s *Socket) Statistics() (seen, dropped uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// Packets of rings are counted in a longer structure with the same beginning.
	if stats, err := unix.GetsockoptTpacketStats(s.FD, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
		s.seen += uint64(stats.Packets)
		s.dropped += uint64(stats.Drops)
	}
	return s.seen, s.dropped
}

// Direction turns a packet's type, sll_pkttype of packet(7), into its direction.
func Direction(pktType uint8) packet.Direction {
	if pktType == unix.PACKET_OUTGOING {
		return packet.Outbound
	}
	return packet.Inbound
}
