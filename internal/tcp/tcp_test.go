// SPDX-License-Identifier: Apache-2.0

package tcp

import (
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestStateNames(t *testing.T) {
	seen := map[string]bool{}
	for s := range NumStates {
		name := s.String()
		assert.False(t, seen[name], "%s twice", name)
		seen[name] = true
		parsed, err := ParseState(name)
		require.NoError(t, err)
		assert.Equal(t, s, parsed)
	}
	assert.Equal(t, "state(99)", State(99).String())

	_, err := ParseState("ESTABLISHED")
	assert.EqualError(t, err, `got "ESTABLISHED", takes one of closed, listen, syn_sent, syn_received, established, close_wait, fin_wait_1, closing, last_ack, fin_wait_2, time_wait`)
}

func TestLinuxState(t *testing.T) {
	// <net/tcp_states.h>
	for n, want := range map[uint64]State{
		1: Established, 2: SynSent, 3: SynReceived, 4: FinWait1, 5: FinWait2, 6: TimeWait,
		7: Closed, 8: CloseWait, 9: LastAck, 10: Listen, 11: Closing, 12: SynReceived,
	} {
		got, ok := LinuxState(n)
		assert.True(t, ok)
		assert.Equal(t, want, got, "state %d", n)
	}
	for _, n := range []uint64{0, 13, 255, 1 << 40} {
		_, ok := LinuxState(n)
		assert.False(t, ok, "state %d", n)
	}
}

func TestLinuxQueues(t *testing.T) {
	for _, tt := range []struct {
		state                                  State
		receive, send, receiveBytes, sendBytes uint32
	}{
		{Established, 5, 7, 5, 7},
		{CloseWait, 6, 7, 5, 7},   // the peer's FIN
		{CloseWait, 0, 0, 0, 0},   // the process has read it
		{FinWait1, 5, 8, 5, 7},    // our FIN
		{LastAck, 1, 1, 0, 0},     // both
		{Closing, 6, 8, 5, 7},     // both
		{FinWait2, 5, 0, 5, 0},    // ours is acknowledged
		{SynSent, 0, 1, 0, 0},     // our SYN
		{SynReceived, 0, 0, 0, 0}, // an embryo has no queues
	} {
		receive, send := LinuxQueues(tt.state, tt.receive, tt.send)
		assert.Equal(t, [2]uint32{tt.receiveBytes, tt.sendBytes}, [2]uint32{receive, send}, "%v", tt)
	}
}

// Which FINs have come is what RFC 9293 §3.3.2 says of the states.
func TestFins(t *testing.T) {
	for s := range NumStates {
		assert.Equal(t, s == CloseWait || s == LastAck || s == Closing || s == TimeWait, s.PeerFinReceived(), s.String())
		assert.Equal(t, s == FinWait2 || s == TimeWait, s.OwnFinAcked(), s.String())
	}
}

func TestFields(t *testing.T) {
	var set Fields
	require.LessOrEqual(t, int(NumFields), int(unsafe.Sizeof(set))*8, "a field without a bit")
	for f := range NumFields {
		assert.False(t, set.Has(f))
		set = set.With(f)
		assert.True(t, set.Has(f))
		assert.Equal(t, set, set.With(f))
	}
}

func TestCounters(t *testing.T) {
	var cs Counters
	require.LessOrEqual(t, int(NumCounters), int(unsafe.Sizeof(cs.present))*8, "a counter without a bit")
	for c := range NumCounters {
		_, ok := cs.Get(c)
		assert.False(t, ok, "present before it was set: a made-up 0")
		cs.Set(c, uint64(c))
		v, ok := cs.Get(c)
		assert.True(t, ok)
		assert.Equal(t, uint64(c), v)
		assert.Equal(t, int(c)+1, cs.Len())
	}
}

func TestFailures(t *testing.T) {
	for errno, want := range map[uint32]string{101: "network_unreachable", 104: "connection_reset", 110: "timed_out", 111: "connection_refused", 113: "host_unreachable", 0: "_OTHER", 9: "_OTHER"} {
		assert.Equal(t, want, LinuxFailure(errno).String())
	}
	assert.Equal(t, "failure(99)", Failure(99).String())
}
