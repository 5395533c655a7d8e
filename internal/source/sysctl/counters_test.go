// SPDX-License-Identifier: Apache-2.0

package sysctl

import (
	"context"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// numbered is a tcpstat in which each number is its place.
func numbered(length int) []byte {
	raw := make([]byte, length)
	for at := 0; at+8 <= length; at += 8 {
		binary.NativeEndian.PutUint64(raw[at:], uint64(at))
	}
	return raw
}

// What the laboratory's kernels counted, and what it is known to have done.
func TestCounters(t *testing.T) {
	eachKernel(t, func(t *testing.T, osreldate int) {
		raw := fixture(t, osreldate, "tcp_stats")
		cs, err := counters(raw, osreldate)
		require.NoError(t, err)
		get := func(c tcp.Counter) uint64 {
			v, ok := cs.Get(c)
			require.True(t, ok, "counter %d", c)
			return v
		}
		// A connection has a client and a server here, but for one attempt that
		// nobody answers.
		assert.Equal(t, get(tcp.OpensServer)+1, get(tcp.OpensClient))
		assert.Greater(t, get(tcp.OpensServer), uint64(25))
		// All of it goes over loopback: what is sent is received, but for the SYNs
		// to two hosts that are not there.
		assert.InDelta(t, get(tcp.SegmentsSent), get(tcp.SegmentsReceived), 8)
		for _, c := range []tcp.Counter{tcp.ErrorsChecksum, tcp.ErrorsHeader, tcp.AcceptQueueOverflows, tcp.PAWSDrops, tcp.TimeoutsPersist} {
			assert.Zero(t, get(c), "counter %d", c)
		}
		for _, c := range []tcp.Counter{tcp.ResetsSent, tcp.ECNCESent, tcp.MemoryPressures, tcp.ZeroWindowsAdvertised, tcp.Orphans, tcp.MemoryUsage} {
			_, ok := cs.Get(c)
			assert.False(t, ok, "counter %d: a made-up 0", c)
		}
		for _, c := range []tcp.Counter{tcp.SYNCookiesFailed, tcp.DSACKsReceived, tcp.LossProbes} {
			_, ok := cs.Get(c)
			assert.Equal(t, osreldate >= 1400000, ok, "counter %d", c)
		}
		assert.Equal(t, map[int]int{1302001: 35, 1501000: 38}[osreldate], cs.Len())
	})
}

// An administrator may give the range the wrong way round, and so the kernel takes it.
func TestEphemeralPorts(t *testing.T) {
	for _, r := range [][2]int32{{10000, 65535}, {65535, 10000}} {
		var cs tcp.Counters
		setPorts(&cs, r[0], r[1])
		first, _ := cs.Get(tcp.EphemeralPortFirst)
		limit, _ := cs.Get(tcp.EphemeralPortLimit)
		assert.Equal(t, []uint64{10000, 55536}, []uint64{first, limit})
	}
}

// Each version has its own places. Those of 14 are from its header.
func TestCountersByVersion(t *testing.T) {
	for _, tt := range []struct {
		length, osreldate, n         int
		sent, cookiesFailed, ce, tlp uint64
		dsack                        uint64
	}{
		{statLen13, 1302001, 35, 128, 0, 704, 0, 0},
		{statLen14, 1403000, 37, 136, 0, 720, 936, 840},
		{statLen15, 1501000, 38, 136, 640 + 648, 744, 960, 864},
		{statLen15, 1302001, 38, 136, 640 + 648, 744, 960, 864}, // a jail that is told that it is on 13
	} {
		cs, err := counters(numbered(tt.length), tt.osreldate)
		require.NoError(t, err)
		assert.Equal(t, tt.n, cs.Len(), "%d bytes", tt.length)
		for c, want := range map[tcp.Counter]uint64{
			tcp.SegmentsSent: tt.sent, tcp.SYNCookiesFailed: tt.cookiesFailed, tcp.ECNCEReceived: tt.ce,
			tcp.LossProbes: tt.tlp, tcp.DSACKsReceived: tt.dsack,
		} {
			got, ok := cs.Get(c)
			assert.Equal(t, want != 0, ok)
			assert.Equal(t, want, got, "counter %d in %d bytes", c, tt.length)
		}
	}
}

func TestCountersOfAnUnknownVersion(t *testing.T) {
	for _, tt := range []struct{ length, osreldate int }{{1016, 1501000}, {statLen15, 1600000}, {896, 1302001}} {
		cs, err := counters(numbered(tt.length), tt.osreldate)
		require.ErrorIs(t, err, errLayout)
		assert.ErrorContains(t, err, "known are 904 of FreeBSD 13, 984 of 14 and 1000 of 15")
		for c, want := range map[tcp.Counter]uint64{tcp.OpensServer: 8, tcp.TimeoutsKeepalive: 104, tcp.KeepaliveProbes: 112} {
			got, ok := cs.Get(c)
			assert.True(t, ok)
			assert.Equal(t, want, got)
		}
		_, ok := cs.Get(tcp.SegmentsSent)
		assert.False(t, ok, "the first number that moved")
		_, ok = cs.Get(tcp.DropsTimeout)
		assert.False(t, ok, "a part of it moved")
	}
	cs, err := counters(nil, 1501000)
	require.ErrorContains(t, err, "struct tcpstat of 0 bytes on a kernel of osreldate 1501000: unknown layout")
	assert.Zero(t, cs.Len())
}

// The states are those of the whole vnet, whoever asks.
func TestStates(t *testing.T) {
	eachKernel(t, func(t *testing.T, osreldate int) {
		var listed tcp.States
		for _, s := range list(t, decoder(osreldate), fixture(t, osreldate, "pcblist")) {
			listed[s.State]++
		}
		for _, file := range []string{"tcp_states", "states_uid1001", "states_jail"} {
			got, err := states(fixture(t, osreldate, file))
			require.NoError(t, err)
			assert.Equal(t, listed, got, file)
		}
		got, err := states(fixture(t, osreldate, "states_vnetjail"))
		require.NoError(t, err)
		assert.Equal(t, tcp.States{tcp.Listen: 1, tcp.Established: 2}, got)
	})
	_, err := states(make([]byte, 96))
	assert.ErrorContains(t, err, "net.inet.tcp.states of 96 bytes, not 88: unknown layout")
	negative := make([]byte, 88)
	binary.NativeEndian.PutUint64(negative, 1<<64-1)
	got, err := states(negative)
	require.NoError(t, err)
	assert.Zero(t, got)
}

// Those of another network stack, in the same layouts: what cannot be read of the one
// costs nothing of the other.
func TestCountersOfAnotherStack(t *testing.T) {
	eachKernel(t, func(t *testing.T, osreldate int) {
		stats, raw := fixture(t, osreldate, "tcp_stats"), fixture(t, osreldate, "states_vnetjail")
		cs, n, err := countersOf(stats, raw, osreldate)
		require.NoError(t, err)
		want, err := counters(stats, osreldate)
		require.NoError(t, err)
		assert.Equal(t, want, cs)
		assert.Equal(t, tcp.States{tcp.Listen: 1, tcp.Established: 2}, n)

		cs, n, err = countersOf(nil, raw, osreldate)
		require.ErrorContains(t, err, "struct tcpstat of 0 bytes")
		assert.Zero(t, cs.Len())
		assert.Equal(t, int64(2), n[tcp.Established])
		cs, _, err = countersOf(stats, nil, osreldate)
		require.ErrorContains(t, err, "net.inet.tcp.states of 0 bytes")
		assert.Equal(t, want, cs)
	})
}

func FuzzCounters(f *testing.F) {
	for _, osreldate := range fixtures {
		f.Add(fixture(f, osreldate, "tcp_stats"), osreldate)
	}
	f.Add(numbered(statLen14), 1400097)
	f.Fuzz(func(t *testing.T, raw []byte, osreldate int) {
		cs, err := counters(raw, osreldate)
		if err != nil && cs.Len() > 16 {
			t.Fatalf("%d counters of an unknown layout", cs.Len())
		}
	})
}

func FuzzStates(f *testing.F) {
	for _, osreldate := range fixtures {
		f.Add(fixture(f, osreldate, "tcp_states"))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		n, err := states(raw)
		for _, v := range n {
			if v < 0 || err != nil && v != 0 {
				t.Fatal(n, err)
			}
		}
	})
}

// changing is a list whose trailer says that it changed so often while it was
// made.
func changing(raw []byte, times uint64) []byte {
	changed := append([]byte(nil), raw...)
	before := binary.NativeEndian.Uint64(raw[xinpgenGen:])
	binary.NativeEndian.PutUint64(changed[len(raw)-xinpgenLen+xinpgenGen:], before+times)
	return changed
}

func TestListsThatChange(t *testing.T) {
	raw := fixture(t, 1501000, "pcblist_jail")
	for _, tt := range []struct {
		name    string
		changes []uint64 // of each list
		lists   int
		left    uint64
	}{
		{"quiet", []uint64{0}, 1, 0},
		{"once", []uint64{1, 0}, 2, 0},
		{"always a little", []uint64{1, 2, 3}, maxLists, 3},
		{"busy", []uint64{fewChanges + 1}, 1, fewChanges + 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			lists := 0
			got, changes, err := settled(t.Context(), func(context.Context) ([]byte, error) {
				lists++
				return changing(raw, tt.changes[lists-1]), nil
			})
			require.NoError(t, err)
			assert.Equal(t, tt.lists, lists)
			assert.Equal(t, tt.left, changes)
			assert.Len(t, got, len(raw))
			err = unsettled(changes)
			assert.True(t, source.Whole(err), "what was there all the while is in it")
			if tt.left > 0 {
				require.Len(t, source.Partials(err), 1)
				assert.Equal(t, source.ErrorInterrupted, source.Partials(err)[0].Type)
			}
		})
	}
	_, _, err := settled(t.Context(), func(context.Context) ([]byte, error) { return nil, errors.New("no") })
	assert.EqualError(t, err, "no")
	_, _, err = settled(t.Context(), func(context.Context) ([]byte, error) { return raw[:10], nil })
	assert.ErrorIs(t, err, errTruncated)
}
