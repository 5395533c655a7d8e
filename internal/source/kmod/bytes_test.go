// SPDX-License-Identifier: Apache-2.0

package kmod

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

func TestPayload(t *testing.T) {
	for _, tt := range []struct {
		initial, next uint32
		fin           bool
		want          uint32
	}{
		{0, 0, false, 0},         // no SYN yet
		{7, 8, false, 0},         // the SYN alone
		{7, 9, false, 1},         // one byte
		{7, 9, true, 0},          // a FIN
		{7, 8, true, 0},          // a FIN that the state knows of, the number does not yet
		{0xffffffff, 4, true, 3}, // wrapped
	} {
		assert.Equal(t, tt.want, payload(tt.initial, tt.next, tt.fin), "%+v", tt)
	}
}

func TestNearest(t *testing.T) {
	for _, tt := range []struct {
		low      uint32
		estimate uint64
		want     uint64
	}{
		{5, 0, 5},
		{5, 1<<32 - 10, 1<<32 + 5},
		{math.MaxUint32, 1 << 33, 1<<33 - 1},
		{math.MaxUint32, 0, math.MaxUint32}, // never below 0
		{1 << 30, 5<<32 + 1<<31, 5<<32 + 1<<30},
	} {
		assert.Equal(t, tt.want, nearest(tt.low, tt.estimate), "%+v", tt)
	}
}

// What was sent, and of that again and acknowledged, at each turn of a life.
func TestByteCounters(t *testing.T) {
	type numbers struct {
		state                 tcp.State
		iss, una, max         uint32
		sent, rexmit          uint64
		rexmits               uint32
		fin                   bool
		wantSent, wantRetrans uint64
		wantAcked             uint64
	}
	for name, n := range map[string]numbers{
		"a fresh socket":                   {state: tcp.Closed},
		"SYN sent":                         {state: tcp.SynSent, iss: 100, una: 100, max: 101},
		"established":                      {state: tcp.Established, iss: 100, una: 101, max: 101},
		"sent":                             {state: tcp.Established, iss: 100, una: 101, max: 1101, sent: 1000, wantSent: 1000},
		"acknowledged":                     {state: tcp.Established, iss: 100, una: 901, max: 1101, sent: 1000, wantSent: 1000, wantAcked: 800},
		"sent again":                       {state: tcp.Established, iss: 100, una: 101, max: 1101, sent: 1000, rexmit: 400, rexmits: 1, wantSent: 1400, wantRetrans: 400},
		"sent again, counted as new":       {state: tcp.Established, iss: 100, una: 101, max: 1101, sent: 1400, rexmits: 1, wantSent: 1400, wantRetrans: 400},
		"FIN under way":                    {state: tcp.FinWait1, iss: 100, una: 101, max: 1102, sent: 1000, fin: true, wantSent: 1000},
		"FIN acknowledged":                 {state: tcp.FinWait2, iss: 100, una: 1102, max: 1102, sent: 1000, fin: true, wantSent: 1000, wantAcked: 1000},
		"past 4 GiB":                       {state: tcp.Established, iss: 0xfffffff0, una: 485, max: 985, sent: 3<<32 + 1000, wantSent: 3<<32 + 1000, wantAcked: 3<<32 + 500},
		"past 4 GiB, the rest unacked":     {state: tcp.Established, iss: 0, una: 0xffffff00, max: 1001, sent: 1<<32 + 1000, wantSent: 1<<32 + 1000, wantAcked: 0xfffffeff},
		"6 GiB of 40 sent again as new":    {state: tcp.Established, iss: 0, una: 1, max: 1, sent: 46 << 30, rexmits: 6 << 20, wantSent: 46 << 30, wantRetrans: 6 << 30, wantAcked: 40 << 30},
		"6 GiB of 40 sent again, no count": {state: tcp.Established, iss: 0, una: 1, max: 1, sent: 40 << 30, rexmit: 6 << 30, wantSent: 46 << 30, wantRetrans: 6 << 30, wantAcked: 40 << 30},
		"failed to be sent, not counted":   {state: tcp.Established, iss: 0, una: 1, max: 2897, sent: 1448, wantSent: 2896},
	} {
		t.Run(name, func(t *testing.T) {
			b := make([]byte, recordLenV1)
			b[atState], b[atIPVersion] = byte(n.state), 4
			put := func(at int, v uint32) { binary.NativeEndian.PutUint32(b[at:], v) }
			put(atValid, validSequences|validTCB|validBytes)
			put(atISS, n.iss)
			put(atSendUna, n.una)
			put(atSendMax, n.max)
			put(atRexmits, n.rexmits)
			put(atMaxseg, 1024)
			if n.fin {
				put(atFlags, flagSentFin)
			}
			binary.NativeEndian.PutUint64(b[atSentBytes:], n.sent)
			binary.NativeEndian.PutUint64(b[atRexmitBytes:], n.rexmit)
			d := decoder()
			require.NoError(t, d.record(b))
			s := &d.socket
			assert.Equal(t, [3]uint64{n.wantSent, n.wantRetrans, n.wantAcked}, [3]uint64{s.BytesSent, s.BytesRetransmitted, s.BytesAcked})
		})
	}
}

// What was received is known in 32 bits only, and says so: what remembers the
// connection goes on where they begin anew.
func TestReceivedIsLow32(t *testing.T) {
	b := make([]byte, recordLenV1)
	b[atState], b[atIPVersion] = byte(tcp.Established), 4
	binary.NativeEndian.PutUint32(b[atValid:], validSequences|validTCB|validBytes)
	for received, want := range map[uint64]uint64{0: 0, 1000: 1000, 1<<32 - 2: 1<<32 - 2, 1<<32 + 7: 7} {
		binary.NativeEndian.PutUint32(b[atRecvNxt:], uint32(received+1)) // after a SYN
		d := decoder()
		require.NoError(t, d.record(b))
		assert.Equal(t, want, d.socket.BytesReceived, "%d bytes", received)
		assert.Equal(t, fields(tcp.FieldBytesReceived), d.socket.Low32)
	}
}

// An idle client has acknowledged all that it sent, as an idle server has: which it is
// has to come from elsewhere.
func TestCountersShowNoRole(t *testing.T) {
	b := append([]byte(nil), fixture(t)[headerLenV1:headerLenV1+recordLenV1]...)
	u32 := func(at int) uint32 { return binary.NativeEndian.Uint32(b[at:]) }
	binary.NativeEndian.PutUint32(b[atSendUna:], u32(atSendMax))
	binary.NativeEndian.PutUint32(b[atSendUsed:], 0)
	d := NewDecoder()
	require.NoError(t, d.record(b))
	require.Equal(t, tcp.Established, d.socket.State)
	require.Zero(t, d.socket.SendBufferUsage)
	assert.Equal(t, tcp.NoRole, tcp.RoleOf(&d.socket))
}
