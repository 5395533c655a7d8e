// SPDX-License-Identifier: Apache-2.0

package sysctl

import (
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"net/netip"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// struct xtcpcb of <netinet/tcp_var.h>, in it struct xinpcb of
// <netinet/in_pcb.h>, in that struct xsocket of <sys/socketvar.h>. The kernel
// keeps their sizes and the places of their members, and takes new members from
// the spare ones. Ports are in network byte order, all else in the host's.
const (
	xtcpcbLen  = 744
	xinpcbLen  = 400
	xsocketLen = 240

	atXinpcbLen   = 8
	atXsocketLen  = 16
	atSocket      = 24 // xso_so: where the kernel has the struct socket
	atQueue       = 120
	atIncomplete  = 124 // so_incqlen
	atQueueLimit  = 128
	atUID         = 136
	atSocketState = 178
	atReceive     = 184 // so_rcv.sb_cc, then sb_hiwat
	atSend        = 220 // so_snd.sb_cc, then sb_hiwat

	atPeerPort   = 260
	atLocalPort  = 262
	atPeer       = 264 // 16 bytes, of which IPv4 has the last 4
	atLocal      = 280
	atZone       = 296 // ie6_zoneid
	atGeneration = 304 // inp_gencnt
	atVersions   = 400 // inp_vflag

	atStack              = 408
	stackLen             = 32 // TCP_FUNCTION_NAME_LEN_MAX
	atCongestion         = 504
	congestionLen        = 16  // TCP_CA_NAME_MAX
	atState              = 568 // int32
	atZeroWindows        = 576 // t_sndzerowin
	atRetransmits        = 580 // t_sndrexmitpack
	atOutOfOrder         = 584 // t_rcvoopack
	atSinceReceived      = 588 // t_rcvtime, ms
	atCongestionWindow   = 616
	atSlowStartThreshold = 620
	atMSS                = 624 // t_maxseg
	atReceiveWindow      = 628
	atSendWindow         = 632
	atDSACKs             = 648 // t_dsack_pack
)

// Flags of so_state in <sys/socketvar.h>.
const (
	noDescriptor  = 0x0001          // SS_NOFDREF: until 14
	notAccepted   = 0x0800 | 0x1000 // SQ_INCOMP, SQ_COMP, which sotoxsocket adds
	versionIPv4   = 1               // INP_IPV4 of inp_vflag
	versionIPv6   = 2               // INP_IPV6
	infiniteBytes = 65535 << 14     // TCP_MAXWIN << TCP_MAX_WINSHIFT: not set yet
)

// record decodes one struct xtcpcb into d.socket.
func (d *Decoder) record(b []byte) error {
	if len(b) != xtcpcbLen {
		return fmt.Errorf("struct xtcpcb of %d bytes, not %d: %w", len(b), xtcpcbLen, errLayout)
	}
	u32 := func(at int) uint32 { return binary.NativeEndian.Uint32(b[at:]) }
	u64 := func(at int) uint64 { return binary.NativeEndian.Uint64(b[at:]) }

	// An entry of the syncache, a handshake that has no socket yet, has no
	// xinpcb. TIME_WAIT of 13 has no xsocket.
	inpcb, socket := u64(atXinpcbLen), u64(atXsocketLen)
	if inpcb != 0 && inpcb != xinpcbLen || socket != 0 && socket != xsocketLen {
		return fmt.Errorf("struct xinpcb of %d bytes and xsocket of %d, not %d and %d: %w", inpcb, socket, xinpcbLen, xsocketLen, errLayout)
	}
	state := u32(atState)
	if state >= uint32(tcp.NumStates) {
		return fmt.Errorf("struct xtcpcb of TCP state %d", int32(state))
	}

	s := &d.socket
	*s = tcp.Socket{
		ID:    tcp.Identity{Cookie: u64(atGeneration)},
		State: tcp.State(state), // <netinet/tcp_fsm.h> has the same numbers
		Local: netip.AddrPortFrom(d.addr(b, atLocal), binary.BigEndian.Uint16(b[atLocalPort:])),
		Peer:  netip.AddrPortFrom(d.addr(b, atPeer), binary.BigEndian.Uint16(b[atPeerPort:])),
	}
	if inpcb == 0 {
		s.ID.Cookie = d.embryo(b)
		return nil
	}
	if socket == 0 {
		return nil
	}
	s.UID = u32(atUID)
	// In 15 a TIME_WAIT still has its socket, but nobody who uses it.
	if flags := binary.NativeEndian.Uint16(b[atSocketState:]); flags&(noDescriptor|notAccepted) == 0 && s.State != tcp.TimeWait {
		s.Inode = u64(atSocket)
	}
	s.Stack = d.names.Of(b[atStack : atStack+stackLen])
	s.CongestionControl = d.names.Of(b[atCongestion : atCongestion+congestionLen])
	d.values(b)
	return nil
}

// values decodes what there is to a socket beside its endpoints. What TCP sets
// only in the handshake is absent before it, and what is of the moment is
// absent once nobody holds the connection: a socket in TIME_WAIT is whole in 15.
func (d *Decoder) values(b []byte) {
	u32 := func(at int) uint32 { return binary.NativeEndian.Uint32(b[at:]) }
	s := &d.socket
	if s.State == tcp.Listen {
		s.QueueLength, s.QueueLimit = u32(atQueue)+u32(atIncomplete), tcp.FreeBSDQueueLimit(u32(atQueueLimit))
		s.Fields = s.Fields.With(tcp.FieldQueueLength).With(tcp.FieldQueueLimit)
		return
	}
	s.Retransmits, s.OutOfOrder, s.ZeroWindows = uint64(u32(atRetransmits)), uint64(u32(atOutOfOrder)), uint64(u32(atZeroWindows))
	s.Fields = s.Fields.With(tcp.FieldRetransmits).With(tcp.FieldOutOfOrder).With(tcp.FieldZeroWindows)
	if d.DSACK {
		s.SpuriousRetransmits = uint64(u32(atDSACKs))
		s.Fields = s.Fields.With(tcp.FieldSpuriousRetransmits)
	}
	if s.State == tcp.TimeWait {
		return
	}
	s.ReceiveBufferUsage, s.ReceiveBufferLimit = u32(atReceive), u32(atReceive+4)
	s.SendBufferUsage, s.SendBufferLimit = u32(atSend), u32(atSend+4)
	s.Fields = s.Fields.With(tcp.FieldReceiveBufferUsage).With(tcp.FieldReceiveBufferLimit).
		With(tcp.FieldSendBufferUsage).With(tcp.FieldSendBufferLimit)
	if s.State == tcp.Closed || s.State == tcp.SynSent {
		return
	}
	s.SendMSS = u32(atMSS)
	s.ReceiveWindow, s.SendWindow = u32(atReceiveWindow), u32(atSendWindow)
	s.SinceDataReceived = time.Duration(u32(atSinceReceived)) * time.Millisecond
	s.Fields = s.Fields.With(tcp.FieldSendMSS).With(tcp.FieldReceiveWindow).With(tcp.FieldSendWindow).With(tcp.FieldSinceDataReceived)
	if w := u32(atCongestionWindow); w != infiniteBytes {
		s.CongestionWindow = uint64(w)
		s.Fields = s.Fields.With(tcp.FieldCongestionWindow)
	}
	if t := u32(atSlowStartThreshold); t < infiniteBytes {
		s.SlowStartThreshold = uint64(t)
		s.Fields = s.Fields.With(tcp.FieldSlowStartThreshold)
	}
}

// addr reads an address as it is on the wire. What is on the wire is not the
// socket's family but inp_vflag: an IPv6 socket with an IPv4 connection has
// INP_IPV4 alone. One that takes both, listening, has both, and no address.
func (d *Decoder) addr(b []byte, at int) netip.Addr {
	if b[atVersions]&(versionIPv4|versionIPv6) == versionIPv4 {
		return netip.AddrFrom4([4]byte(b[at+12 : at+16]))
	}
	ip := [16]byte(b[at : at+16])
	if ip[0] != 0xfe || ip[1]&0xc0 != 0x80 {
		return netip.AddrFrom16(ip).Unmap()
	}
	// The kernel has the interface of a link-local address in its second 16-bit
	// word (in6_setscope in sys/netinet6/scope6.c), big-endian.
	index := uint32(binary.BigEndian.Uint16(ip[2:]))
	ip[2], ip[3] = 0, 0
	if index == 0 {
		index = binary.NativeEndian.Uint32(b[atZone:])
	}
	addr := netip.AddrFrom16(ip)
	if index != 0 && d.Zone != nil {
		addr = addr.WithZone(d.Zone(index))
	}
	return addr
}

// embryo makes an identity for an entry of the syncache, which has no
// inp_gencnt: of its endpoints. The topmost bit tells it from one that has.
func (d *Decoder) embryo(b []byte) uint64 {
	return maphash.Bytes(d.seed, b[atPeerPort:atZone+4]) | 1<<63
}
