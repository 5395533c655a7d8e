// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

func testEndings() *endings {
	return &endings{decoder: testDecoder(), holders: make(map[holderKey]seenHolder), pids: true}
}

// left makes the record of a connection that left a state, with 100 bytes
// acknowledged, our FIN maybe among them, and the holder pid.
func left(state uint8, pid uint32, executable string) []byte {
	b := append(head(kindConnection, state, familyIPv4), make([]byte, endingLen-connectionLen)...)
	binary.LittleEndian.PutUint64(b[connectionBytesAcked:], 100)
	binary.LittleEndian.PutUint32(b[connectionSegsIn:], 5)
	binary.LittleEndian.PutUint64(b[holderStart:], uint64(90*time.Second))
	binary.LittleEndian.PutUint32(b[holderPID:], pid)
	binary.LittleEndian.PutUint32(b[holderUID:], 33)
	copy(b[holderExecutable:holderIsComm], executable)
	return b
}

func TestEnding(t *testing.T) {
	const synSent, finWait1, finWait2, lastAck, established = 2, 4, 5, 9, 1
	for name, tt := range map[string]struct {
		state   uint8
		unacked uint32
		acked   uint64
	}{
		"reset":                           {established, 0, 100},
		"never answered":                  {synSent, 1, 100},
		"our FIN was acknowledged before": {finWait2, 0, 99},
		"our FIN is acknowledged now":     {lastAck, 0, 99},
		"our FIN never was":               {finWait1, 1, 100},
	} {
		t.Run(name, func(t *testing.T) {
			b := left(tt.state, 0, "")
			binary.LittleEndian.PutUint32(b[connectionSendQueue:], tt.unacked)
			binary.LittleEndian.PutUint64(b[connectionInode:], 77)
			e := testEndings()
			require.NoError(t, e.ending(b))
			assert.Equal(t, tcp.Closed, e.notice.State)
			assert.True(t, e.notice.WithoutFINs)
			assert.Zero(t, e.notice.Inode)
			assert.Equal(t, tt.acked, e.notice.BytesAcked)
			assert.Nil(t, e.notice.Holder)
		})
	}
}

func TestFailures(t *testing.T) {
	const synSent, synReceived, established = 2, 3, 1
	e := testEndings()
	b := left(synSent, 0, "")
	binary.LittleEndian.PutUint32(b[endingError:], 111)
	require.NoError(t, e.ending(b))
	assert.Equal(t, tcp.Refused, e.notice.Failure)
	assert.Equal(t, tcp.SynSent, e.notice.Left)
	assert.Equal(t, tcp.Client, e.notice.Role)
	assert.True(t, e.notice.NeverEstablished)
	assert.False(t, e.notice.Has(tcp.FieldAge))
	require.NoError(t, e.ending(left(synReceived, 0, "")))
	assert.Equal(t, tcp.OtherFailure, e.notice.Failure)
	assert.True(t, e.notice.NeverEstablished)

	b = left(established, 0, "")
	binary.LittleEndian.PutUint32(b[endingError:], 104)
	require.NoError(t, e.ending(b))
	assert.Equal(t, tcp.NoFailure, e.notice.Failure, "it was a connection before")
	assert.False(t, e.notice.NeverEstablished)
	assert.Equal(t, tcp.PeerReset, e.notice.Cause)
}

// The kernel counts since boot; the notice has the time of day.
func TestTimesOfAnEnding(t *testing.T) {
	now := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	e := testEndings()
	e.clock = clock{wall: now, boot: 1000 * time.Second}
	b := left(1, 0, "")
	binary.LittleEndian.PutUint64(b[endingEstablished:], uint64(900*time.Second))
	binary.LittleEndian.PutUint64(b[endingEnded:], uint64(990*time.Second))
	binary.LittleEndian.PutUint64(b[endingHandshake:], uint64(30*time.Millisecond))
	require.NoError(t, e.ending(b))
	assert.Equal(t, now.Add(-100*time.Second), e.notice.Established)
	assert.Equal(t, now.Add(-10*time.Second), e.notice.Ended)
	assert.Equal(t, 30*time.Millisecond, e.notice.Handshake)
	assert.Equal(t, 90*time.Second, e.notice.Age)
	assert.True(t, e.notice.Has(tcp.FieldAge))

	binary.LittleEndian.PutUint64(b[endingEstablished:], 0)
	require.NoError(t, e.ending(b))
	assert.True(t, e.notice.Established.IsZero(), "it was established before anybody looked")
	assert.Equal(t, now.Add(-10*time.Second), e.notice.Ended)
	assert.False(t, e.notice.Has(tcp.FieldAge))
}

func TestRoles(t *testing.T) {
	for name, tt := range map[string]struct {
		state, flags uint8
		want         tcp.Role
	}{
		"opened from here":    {1, flagClient, tcp.Client},
		"accepted":            {1, flagServer | flagTotalRTO, tcp.Server},
		"connecting":          {stateSynSent, 0, tcp.Client},
		"asked for":           {stateNewSynRecv, 0, tcp.Server},
		"established earlier": {1, flagFINReceived, tcp.NoRole},
	} {
		t.Run(name, func(t *testing.T) {
			b := head(kindConnection, tt.state, familyIPv4)
			b[headFlags] = tt.flags
			d := testDecoder()
			_, err := d.record(b)
			require.NoError(t, err)
			assert.Equal(t, tt.want, d.socket.Role)
		})
	}
}

func TestHolderOfAnEnding(t *testing.T) {
	e := testEndings()
	holder := func(b []byte) *tcp.Holder {
		require.NoError(t, e.ending(b))
		return e.notice.Holder
	}
	curl := holder(left(1, 812, "curl"))
	assert.Equal(t, &tcp.Holder{PID: 812, UID: 33, Started: 90 * time.Second, Executable: "curl"}, curl)
	assert.Same(t, curl, holder(left(1, 812, "curl")))

	ends := left(1, 812, "curl:worker")
	ends[holderIsComm] = 1
	assert.Same(t, curl, holder(ends), "one that is about to end has no file")
	later := left(1, 812, "sh")
	assert.Equal(t, "sh", holder(later).Executable, "it runs another program")
	again := left(1, 812, "node")
	again[holderStart]++
	assert.NotSame(t, curl, holder(again), "another process of that number")

	comm := left(1, 900, "nginx")
	comm[holderIsComm] = 1
	assert.True(t, holder(comm).IsComm)
	e.pids = false
	assert.Zero(t, holder(left(1, 901, "elsewhere")).PID)
	assert.Equal(t, "a\uFFFD", holder(left(1, 902, "a\xff")).Executable)
}

func TestManyHolders(t *testing.T) {
	e := testEndings()
	for pid := range uint32(3 * maxHolders) {
		require.NoError(t, e.ending(left(1, pid+1, "x")))
		require.LessOrEqual(t, len(e.holders), maxHolders)
	}
}

func TestMalformedEndings(t *testing.T) {
	e := testEndings()
	assert.ErrorContains(t, e.ending(left(1, 1, "x")[:endingLen-1]), "wants")
	assert.ErrorContains(t, e.ending(left(0, 1, "x")), "TCP state 0")
	plain := left(1, 1, "x")
	plain[headKind] = kindPlain
	assert.ErrorContains(t, e.ending(plain), "of kind 1")
}

func FuzzEnding(f *testing.F) {
	f.Add(left(1, 812, "curl"))
	f.Add(left(4, 0, ""))
	f.Fuzz(func(t *testing.T, b []byte) {
		e := testEndings()
		if err := e.ending(b); err == nil && (e.notice.State != tcp.Closed || len(b) < endingLen || e.notice.Cause >= tcp.NumCauses || e.notice.Age < 0) {
			t.Errorf("%+v", e.notice)
		}
	})
}

func TestHoldings(t *testing.T) {
	b := make([]byte, 2*holdingLen+3)
	binary.LittleEndian.PutUint32(b[holdingPID:], 812)
	binary.LittleEndian.PutUint32(b[holdingFD:], 5)
	binary.LittleEndian.PutUint64(b[holdingInode:], 1<<40)
	b[holdingLen] = 1
	type holding struct {
		pid, fd int32
		inode   uint64
	}
	var all []holding
	done, err := holdings(b, func(pid, fd int32, inode uint64) error {
		all = append(all, holding{pid, fd, inode})
		return nil
	})
	require.NoError(t, err)
	assert.Equal(t, 2*holdingLen, done)
	assert.Equal(t, []holding{{812, 5, 1 << 40}, {1, 0, 0}}, all)
}
