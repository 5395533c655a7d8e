// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"encoding/binary"
	"math"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// head makes a record of a kind, as long as it must be.
func head(kind, state, family uint8) []byte {
	length := map[uint8]int{kindPlain: headLen, kindPassedOver: headLen, kindListener: listenerLen, kindConnection: connectionLen}[kind]
	b := make([]byte, length)
	b[headKind], b[headState], b[headFamily] = kind, state, family
	binary.LittleEndian.PutUint16(b[headLocalPort:], 443)
	binary.BigEndian.PutUint16(b[headPeerPort:], 50000)
	binary.LittleEndian.PutUint32(b[headUID:], 1000)
	binary.LittleEndian.PutUint64(b[headCookie:], 42)
	copy(b[headLocal:], []byte{192, 0, 2, 1})
	copy(b[headPeer:], []byte{198, 51, 100, 7})
	return b
}

func testDecoder() decoder {
	return newDecoder(7, 4*time.Millisecond, func(uint32) string { return "eth0" })
}

func TestPlainRecord(t *testing.T) {
	d := testDecoder()
	n, err := d.record(head(kindPlain, 6, familyIPv4))
	require.NoError(t, err)
	assert.Equal(t, headLen, n)
	assert.Equal(t, tcp.Socket{
		ID:    tcp.Identity{Cookie: 42, Namespace: 7},
		Local: netip.MustParseAddrPort("192.0.2.1:443"), Peer: netip.MustParseAddrPort("198.51.100.7:50000"),
		State: tcp.TimeWait, UID: 1000,
	}, d.socket)
}

func TestAddresses(t *testing.T) {
	for want, address := range map[string]netip.Addr{
		"[2001:db8::1]:443":  netip.MustParseAddr("2001:db8::1"),
		"192.0.2.1:443":      netip.MustParseAddr("::ffff:192.0.2.1"),
		"[fe80::1%eth0]:443": netip.MustParseAddr("fe80::1"),
	} {
		b := head(kindPlain, 1, familyIPv6)
		copy(b[headLocal:], address.AsSlice())
		b[headIfindex] = 2
		d := testDecoder()
		_, err := d.record(b)
		require.NoError(t, err)
		assert.Equal(t, want, d.socket.Local.String())
	}
}

func TestListenerRecord(t *testing.T) {
	b := head(kindListener, 10, familyIPv4)
	binary.LittleEndian.PutUint64(b[listenerInode:], 99)
	binary.LittleEndian.PutUint32(b[listenerQueue:], 3)
	binary.LittleEndian.PutUint32(b[listenerLimit:], 128)
	binary.LittleEndian.PutUint32(b[listenerDrops:], 5)
	d := testDecoder()
	_, err := d.record(b)
	require.NoError(t, err)
	s := d.socket
	assert.Equal(t, tcp.Listen, s.State)
	assert.Equal(t, [4]uint64{99, 3, 128 + 1, 5}, [4]uint64{s.Inode, uint64(s.QueueLength), uint64(s.QueueLimit), s.Drops})
	assert.Equal(t, tcp.Fields(0).With(tcp.FieldQueueLength).With(tcp.FieldQueueLimit).With(tcp.FieldDrops), s.Fields)
}

// What the kernel has not measured yet, or has no limit of, is absent.
func TestWhatIsAbsent(t *testing.T) {
	b := head(kindConnection, 1, familyIPv4)
	put32 := func(at int, v uint32) { binary.LittleEndian.PutUint32(b[at:], v) }
	decode := func() tcp.Socket {
		d := testDecoder()
		_, err := d.record(b)
		require.NoError(t, err)
		return d.socket
	}
	put32(connectionSsthresh, infiniteSsthresh)
	binary.LittleEndian.PutUint64(b[connectionPacingRate:], math.MaxUint64)
	put32(connectionMinRTT, math.MaxUint32)
	s := decode()
	for _, f := range []tcp.Field{
		tcp.FieldSmoothedRTT, tcp.FieldRTTVariation, tcp.FieldMinRTT, tcp.FieldSlowStartThreshold, tcp.FieldPacingRate,
		tcp.FieldDeliveryRate, tcp.FieldTimeouts, tcp.FieldReceivedCE, tcp.FieldRetransmitsBy, tcp.FieldQueueLength, tcp.FieldZeroWindows,
	} {
		assert.False(t, s.Has(f), f)
	}
	assert.True(t, s.Has(tcp.FieldSinceDataSent))

	put32(connectionSRTT, 8*1500)
	put32(connectionMdev, 4*250)
	put32(connectionSendMSS, 1000)
	put32(connectionSsthresh, 7)
	put32(connectionRateDelivered, 3)
	put32(connectionRateIntervalUs, 1500)
	put32(connectionRTO, 51)
	put32(connectionRetransmits+4*int(tcp.SYNRetransmit), 3)
	b[headFlags] = flagTotalRTO | flagReceivedCE | flagRetransmits
	s = decode()
	assert.Equal(t, 1500*time.Microsecond, s.SmoothedRTT)
	assert.Equal(t, 250*time.Microsecond, s.RTTVariation)
	assert.False(t, s.Has(tcp.FieldMinRTT))
	assert.Equal(t, uint64(7000), s.SlowStartThreshold)
	assert.Equal(t, uint64(2_000_000), s.DeliveryRate)
	assert.Equal(t, 204*time.Millisecond, s.RTO)
	assert.True(t, s.Has(tcp.FieldTimeouts))
	assert.True(t, s.Has(tcp.FieldReceivedCE))
	assert.True(t, s.Has(tcp.FieldRetransmitsBy))
	assert.Equal(t, [tcp.NumRetransmitTypes]uint64{tcp.SYNRetransmit: 3}, s.RetransmitsBy)

	b[headState] = 2
	s = decode()
	assert.Equal(t, tcp.SynSent, s.State)
	assert.False(t, s.Has(tcp.FieldSinceDataSent))
}

func TestFINsAreNoBytes(t *testing.T) {
	b := head(kindConnection, 5, familyIPv4)
	binary.LittleEndian.PutUint64(b[connectionBytesReceived:], 101)
	binary.LittleEndian.PutUint64(b[connectionBytesAcked:], 778)
	d := testDecoder()
	_, err := d.record(b)
	require.NoError(t, err)
	assert.Equal(t, [2]uint64{101, 777}, [2]uint64{d.socket.BytesReceived, d.socket.BytesAcked})
	b[headFlags] |= flagFINReceived
	_, err = d.record(b)
	require.NoError(t, err)
	assert.Equal(t, uint64(100), d.socket.BytesReceived)
}

func TestRecordsInPieces(t *testing.T) {
	var all []byte
	for _, kind := range []uint8{kindPlain, kindConnection, kindListener, kindPassedOver, kindConnection} {
		all = append(all, head(kind, 1, familyIPv4)...)
	}
	for size := 1; size < len(all); size++ {
		d := testDecoder()
		var b []byte
		n := 0
		for rest := all; len(rest) > 0; {
			piece := min(size, len(rest))
			b, rest = append(b, rest[:piece]...), rest[piece:]
			done, err := d.records(b, func(*tcp.Socket) error { n++; return nil })
			require.NoError(t, err)
			b = b[done:]
		}
		require.Equal(t, 5, n)
		require.Empty(t, b)
		require.NoError(t, d.losses.Err())
	}
}

func TestMalformedRecords(t *testing.T) {
	good := head(kindPlain, 1, familyIPv4)
	for name, tt := range map[string]struct {
		bad     []byte
		want    string
		visited int
	}{
		"kind":   {head(kindPlain, 1, familyIPv4), "unknown kind 9", 1},
		"family": {head(kindPlain, 1, 16), "address family 16", 2},
		"state":  {head(kindPlain, 0, familyIPv4), "TCP state 0", 2},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "kind" {
				tt.bad[headKind] = 9
			}
			d := testDecoder()
			n := 0
			b := append(append(append([]byte{}, good...), tt.bad...), good...)
			done, err := d.records(b, func(*tcp.Socket) error { n++; return nil })
			require.NoError(t, err)
			assert.Equal(t, len(b), done)
			assert.Equal(t, tt.visited, n)
			assert.ErrorContains(t, d.losses.Err(), tt.want)
		})
	}
}

func FuzzRecords(f *testing.F) {
	f.Add(head(kindPlain, 6, familyIPv4))
	f.Add(head(kindListener, 10, familyIPv6))
	f.Add(append(head(kindConnection, 1, familyIPv4), head(kindPassedOver, 1, familyIPv6)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		d := testDecoder()
		n := 0
		done, err := d.records(b, func(s *tcp.Socket) error {
			n++
			if s.State >= tcp.NumStates || !s.Local.IsValid() || s.BusyTime < s.SendBufferLimited {
				t.Errorf("%+v", s)
			}
			return nil
		})
		if err != nil || done > len(b) || n > len(b)/headLen {
			t.Errorf("%d of %d bytes, %d sockets: %v", done, len(b), n, err)
		}
	})
}

func BenchmarkRecord(b *testing.B) {
	record := head(kindConnection, 1, familyIPv4)
	copy(record[connectionCongestion:], "cubic")
	d := testDecoder()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.record(record); err != nil {
			b.Fatal(err)
		}
	}
}
