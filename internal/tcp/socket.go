// SPDX-License-Identifier: Apache-2.0

package tcp

import (
	"net/netip"
	"time"
)

// Identity tells one connection from every other that its host has had since
// boot, even one with the same addresses and ports.
type Identity struct {
	// Cookie is the kernel's own number for the socket: Linux's socket cookie,
	// FreeBSD's inp_gencnt. A source whose kernel interface shows no such number
	// leaves it 0, and whoever remembers connections makes one of the endpoints.
	Cookie uint64
	// Namespace is the network namespace (its inode) or vnet.
	Namespace uint64
}

// Socket is one TCP socket at one moment. Sources reuse a single Socket for a
// whole dump: copy what must outlive the visit.
//
// Values beyond the endpoints and the state are known only where Fields has
// them.
type Socket struct {
	ID Identity

	// Local and Peer are the endpoints as they are on the wire: an IPv4
	// connection of an IPv6 socket has IPv4 addresses. Link-local addresses have
	// a zone where the kernel tells the interface. A listener's Peer has port 0.
	Local, Peer netip.AddrPort

	// Inode joins the socket with the descriptors that hold it: on Linux the
	// socket's inode, on FreeBSD where the kernel has it in memory (xso_so), which
	// is for joining alone and never written anywhere. 0: no process holds it (not
	// accepted yet, orphaned, TIME_WAIT), or the source cannot tell.
	Inode uint64
	// UID owns the socket: a user id of the source's own user namespace.
	UID uint32

	State  State
	Fields Fields
	// Low32 are those of Fields, counters all, of which the source has only the
	// low 32 bits. Whoever remembers connections continues them.
	Low32 Fields

	// PayloadOnly: BytesAcked counts no SYN and no FIN, so that it does not show which
	// end this host has.
	PayloadOnly bool

	// Role is which end this host has, where the source itself knows.
	Role Role

	// CongestionControl is the name of the algorithm; "" if it is not known.
	CongestionControl string
	// Stack is the name of the TCP stack, of which FreeBSD has several; "" where
	// there is but one, or where it is not known.
	Stack string

	SmoothedRTT  time.Duration
	RTTVariation time.Duration
	MinRTT       time.Duration
	RTO          time.Duration

	CongestionWindow   uint64 // bytes
	SlowStartThreshold uint64 // bytes; absent while infinite
	SendMSS            uint32 // bytes
	ReceiveMSS         uint32 // bytes
	Lost               uint32 // segments now thought lost
	SendWindow         uint32 // bytes the peer offers
	ReceiveWindow      uint32 // bytes offered to the peer
	DeliveryRate       uint64 // bytes per second
	PacingRate         uint64 // bytes per second; absent while unlimited

	SendBufferUsage    uint32 // payload bytes not yet acknowledged
	ReceiveBufferUsage uint32 // payload bytes not yet read
	SendBufferLimit    uint32 // bytes, the kernel's overhead included
	ReceiveBufferLimit uint32 // bytes, the kernel's overhead included
	Unsent             uint32 // payload bytes not yet sent for the first time

	// Age is how long ago the connection was established.
	Age               time.Duration
	SinceDataSent     time.Duration
	SinceDataReceived time.Duration
	SinceACKReceived  time.Duration

	// QueueLength and QueueLimit are a listener's accept queue, in connections:
	// how many wait now, and how many can before the kernel turns others away
	// ([LinuxQueueLimit], [FreeBSDQueueLimit]).
	QueueLength uint32
	QueueLimit  uint32

	// Counters since the connection began. Sources give what the kernel gives,
	// some of it 32 or 16 bits wide; the table unwraps.
	BytesSent           uint64 // payload, retransmitted bytes included
	BytesReceived       uint64 // payload
	BytesAcked          uint64 // payload of ours that the peer acknowledged
	BytesRetransmitted  uint64 // payload
	SegmentsSent        uint64
	SegmentsReceived    uint64
	Retransmits         uint64                     // segments
	RetransmitsBy       [NumRetransmitTypes]uint64 // segments, since the source looks
	SpuriousRetransmits uint64                     // segments that the peer reported as received twice
	Timeouts            uint64                     // retransmission timeouts
	OutOfOrder          uint64                     // segments received
	ZeroWindows         uint64                     // times that our offered window closed
	DeliveredCE         uint64                     // segments of ours that arrived marked ECN-CE
	ReceivedCE          uint64                     // segments that arrived here marked ECN-CE

	// Drops are segments that a listener dropped, for want of room in its accept queue
	// or of memory.
	Drops uint64

	// Time spent with something to send, and the parts of it in which the peer's
	// window or the send buffer held it back.
	BusyTime             time.Duration
	ReceiveWindowLimited time.Duration
	SendBufferLimited    time.Duration
}

// Holder is a process as it was when it was seen with a socket. It may have
// ended since.
type Holder struct {
	PID int32 // 0: in another PID namespace
	UID uint32
	// Started is since the host's boot, time asleep included.
	Started time.Duration
	// Executable is the base name of the program's file ([FileName]), or where
	// IsComm says so the name of the process's first thread.
	Executable string
	IsComm     bool
}

// Has tells whether the value f is known.
func (s *Socket) Has(f Field) bool { return s.Fields.Has(f) }

// IsIPv4 tells whether the socket's packets are IPv4.
func (s *Socket) IsIPv4() bool { return s.Local.Addr().Is4() }
