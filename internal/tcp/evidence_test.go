// SPDX-License-Identifier: Apache-2.0

package tcp

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// numbers are a socket of Linux 6.18 as sock_diag shows it, counted from 0 where
// nothing is said. Those of the tests below were read from real connections over
// loopback; the tests of the source sock_diag make the same connections.
type numbers struct {
	state                          State
	acked, sent, retransmitted     uint64
	received                       uint64
	queue, unsent, window          uint32
	rtt, sinceSent, sinceRecv, ack time.Duration
	disconnected                   bool // no peer's port
	without                        Fields
}

func (n numbers) socket() Socket {
	s := Socket{
		State: n.state, BytesAcked: n.acked, BytesSent: n.sent, BytesRetransmitted: n.retransmitted, BytesReceived: n.received,
		SendBufferUsage: n.queue, Unsent: n.unsent, SendWindow: n.window, SmoothedRTT: n.rtt,
		SinceDataSent: n.sinceSent, SinceDataReceived: n.sinceRecv, SinceACKReceived: n.ack,
		Local: addr("127.0.0.1:37095"), Peer: addr("127.0.0.1:41436"),
	}
	for _, f := range []Field{FieldBytesAcked, FieldBytesSent, FieldBytesRetransmitted, FieldBytesReceived, FieldSendBufferUsage, FieldUnsent, FieldSendWindow} {
		s.Fields = s.Fields.With(f)
	}
	if n.rtt != 0 {
		s.Fields = s.Fields.With(FieldSmoothedRTT).With(FieldSinceDataSent).With(FieldSinceDataReceived).With(FieldSinceACKReceived)
	}
	if n.disconnected {
		s.Peer = addr("127.0.0.1:0")
	}
	s.Fields &^= n.without
	return s
}

func TestRoleOf(t *testing.T) {
	for _, tt := range []struct {
		name string
		numbers
		want Role
	}{
		{"client", numbers{state: Established, acked: 11, sent: 10}, Client},
		{"client, nothing sent", numbers{state: Established, acked: 1}, Client},
		{"client, peer has closed", numbers{state: CloseWait, acked: 11, sent: 10}, Client},
		{"client, retransmitted", numbers{state: Established, acked: 11, sent: 17, retransmitted: 7}, Client},
		{"server", numbers{state: Established, acked: 10, sent: 10}, Server},
		{"server, nothing sent", numbers{state: Established}, Server},
		{"server, retransmitted", numbers{state: CloseWait, acked: 10, sent: 17, retransmitted: 7}, Server},
		{"something outstanding", numbers{state: Established, acked: 10, sent: 15, queue: 5}, NoRole},
		{"something not sent", numbers{state: Established, acked: 11, sent: 10, unsent: 5}, NoRole},
		{"client or a server's FIN", numbers{state: Established, acked: 11, sent: 10, rtt: 1, ack: roleIdle - 1}, NoRole},
		{"server just now", numbers{state: Established, acked: 10, sent: 10, rtt: 1}, Server},
		{"queue of a moment before", numbers{state: Established, acked: 10, sent: 15}, NoRole},
		{"restored by TCP_REPAIR, then sent", numbers{state: Established, acked: 5, sent: 3}, NoRole},
		{"SYN_SENT", numbers{state: SynSent}, NoRole},
		{"SYN_RECEIVED", numbers{state: SynReceived}, NoRole},
		{"our FIN is acknowledged", numbers{state: FinWait2, acked: 11, sent: 10}, NoRole},
		{"Linux before 4.19", numbers{state: Established, acked: 1, without: 1<<FieldBytesSent | 1<<FieldBytesRetransmitted}, NoRole},
		{"no tcp_info", numbers{state: Established, without: 1<<NumFields - 1}, NoRole},
	} {
		if tt.rtt == 0 {
			tt.rtt, tt.ack = 1, roleIdle
		}
		s := tt.socket()
		assert.Equal(t, tt.want, RoleOf(&s), tt.name)
	}
	s := numbers{state: Established, acked: 1, rtt: 1, ack: roleIdle}.socket()
	s.Low32 = s.Low32.With(FieldBytesAcked)
	assert.Equal(t, NoRole, RoleOf(&s), "wraps around")
}

// What counts payload only has the same surplus at both ends: none.
func TestPayloadOnlyShowsNoRole(t *testing.T) {
	s := Socket{State: Established, PayloadOnly: true, BytesSent: 100, BytesAcked: 100}
	s.Fields = s.Fields.With(FieldBytesAcked).With(FieldBytesSent).With(FieldBytesRetransmitted).With(FieldSendBufferUsage).With(FieldUnsent)
	assert.Equal(t, NoRole, RoleOf(&s))
	n := Notice{Socket: s, Left: Established, WithoutFINs: true}
	assert.Equal(t, NoRole, n.RoleEvidence(Established))
	s.PayloadOnly = false
	assert.Equal(t, Server, RoleOf(&s), "as Linux counts")
}

func TestNoticeEvidence(t *testing.T) {
	const ms = time.Millisecond
	type verdict struct{ is, sure bool }
	yes, no, unknown := verdict{true, true}, verdict{false, true}, verdict{}
	const oldKernel = 1<<FieldSendWindow | 1<<FieldBytesSent | 1<<FieldBytesRetransmitted
	for _, tt := range []struct {
		name string
		numbers
		fin       OwnFIN
		role      Role    // without the state before
		left      State   // the state before
		roleLeft  Role    // with it
		connected verdict //
		sentFIN   verdict // if the role is roleLeft
	}{
		{"client, in order", numbers{acked: 12, sent: 10, received: 6, window: 65536, rtt: 1, sinceSent: 20 * ms, sinceRecv: 20 * ms}, FINAcked, Client, FinWait2, Client, yes, yes},
		{"server, in order", numbers{acked: 6, sent: 5, received: 11, window: 65536, rtt: 1}, FINAcked, Server, CloseWait, Server, yes, yes},
		{"server, FIN with data", numbers{acked: 6, sent: 5, received: 11, window: 65536, rtt: 1}, UnknownFIN, NoRole, LastAck, Server, yes, yes},
		{"server, FIN with data, seen established", numbers{acked: 6, sent: 5, received: 11, window: 65536, rtt: 1}, UnknownFIN, NoRole, Established, NoRole, yes, unknown},
		{"client, reset after data", numbers{acked: 11, sent: 10, received: 5, window: 65536, rtt: 1}, UnknownFIN, NoRole, Established, NoRole, yes, unknown},
		{"client, reset before data", numbers{acked: 1, window: 65483, rtt: 1}, NoFIN, Client, Established, Client, yes, no},
		{"server, reset after data", numbers{acked: 5, sent: 5, received: 10, window: 65536, rtt: 1}, UnknownFIN, Server, Established, Server, yes, no},
		{"server, reset before data", numbers{window: 65536, rtt: 1}, NoFIN, Server, Established, Server, yes, no},
		{"server, reset with data outstanding", numbers{sent: 3, received: 1, queue: 3, window: 65536, rtt: 1}, UnknownFIN, Server, CloseWait, Server, yes, no},
		{"client, FIN outstanding", numbers{acked: 11, sent: 10, queue: 1, window: 65536, rtt: 1}, UnknownFIN, Client, FinWait1, Client, yes, yes},
		{"FIN not sent yet", numbers{acked: 5, sent: 5, queue: 1001, unsent: 1001, window: 65536, rtt: 1}, UnknownFIN, NoRole, FinWait1, NoRole, yes, unknown},
		{"server, no round trip measured", numbers{window: 65536}, UnknownFIN, Server, Established, Server, yes, no},
		{"linger 0", numbers{queue: 65538, unsent: 65538, window: 65536, disconnected: true}, UnknownFIN, NoRole, Established, NoRole, yes, unknown},
		{"refused", numbers{queue: 1}, UnknownFIN, Client, SynSent, Client, no, no},
		{"data in a SYN that was refused", numbers{queue: 11, sent: 10}, UnknownFIN, Client, SynSent, Client, no, no},
		{"listener", numbers{disconnected: true}, UnknownFIN, NoRole, Listen, NoRole, no, no},
		{"refused, Linux before 4.19", numbers{queue: 1, without: oldKernel}, UnknownFIN, Client, SynSent, Client, no, no},
		{"no round trip measured, Linux before 4.19", numbers{without: oldKernel}, UnknownFIN, NoRole, Closed, NoRole, unknown, unknown},
		{"nothing known", numbers{without: 1<<NumFields - 1}, UnknownFIN, NoRole, Closed, NoRole, unknown, unknown},
	} {
		n := Notice{Socket: tt.socket(), OwnFIN: tt.fin}
		assert.Equal(t, tt.role, n.RoleEvidence(Closed), "%s: role", tt.name)
		assert.Equal(t, tt.roleLeft, n.RoleEvidence(tt.left), "%s: role that left %v", tt.name, tt.left)
		connected, sure := n.Connected()
		assert.Equal(t, tt.connected, verdict{connected, sure}, "%s: connected", tt.name)
		sent, sure := n.SentFIN(tt.roleLeft)
		assert.Equal(t, tt.sentFIN, verdict{sent, sure}, "%s: sent FIN", tt.name)
	}
}

// What the source itself knows comes first.
func TestNoticeEvidenceOfTheSource(t *testing.T) {
	n := Notice{Socket: numbers{window: 65536, rtt: 1}.socket()}
	n.Role = Client
	assert.Equal(t, Client, n.RoleEvidence(Established))
	n.NeverEstablished = true
	connected, sure := n.Connected()
	assert.False(t, connected)
	assert.True(t, sure)

	for name, known := range map[string]Notice{
		"left":        {Left: FinWait2},
		"established": {Established: time.Unix(1, 0)},
		"handshake":   {Handshake: time.Millisecond},
	} {
		connected, sure = known.Connected()
		assert.True(t, connected && sure, name)
	}
	for _, left := range []State{SynSent, SynReceived, Closed} {
		_, sure = (&Notice{Left: left}).Connected()
		assert.False(t, sure, left)
	}

	// Counters that have no FIN in them, as those of bpf.
	for acked, want := range []Role{Server, Client, NoRole} {
		n = Notice{Socket: numbers{acked: uint64(acked), window: 1}.socket(), WithoutFINs: true, Left: LastAck}
		assert.Equal(t, want, n.RoleEvidence(LastAck))
		_, sure = n.SentFIN(want)
		assert.False(t, sure)
	}
}

func TestLastActivity(t *testing.T) {
	var s Socket
	_, ok := s.LastActivity()
	assert.False(t, ok)
	s.Fields = s.Fields.With(FieldSinceDataReceived)
	s.SinceDataReceived = 0
	ago, ok := s.LastActivity()
	assert.True(t, ok)
	assert.Zero(t, ago)
	s = numbers{rtt: 1, sinceSent: 3 * time.Second, sinceRecv: 2 * time.Second, ack: 4 * time.Second}.socket()
	ago, ok = s.LastActivity()
	assert.True(t, ok)
	assert.Equal(t, 2*time.Second, ago)
}

func addr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }
