// SPDX-License-Identifier: Apache-2.0

package kmod

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// endsFixture is what a read of /dev/tcpstats.ends returned on FreeBSD: the two
// ends of a connection over loopback whose client reset it. The reader had lost
// twelve others before.
func endsFixture(t testing.TB, osreldate int) []byte {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("testdata/ends-%d.bin", osreldate))
	require.NoError(t, err)
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("the fixture is of a little-endian machine")
	}
	return b
}

func notices(t testing.TB, d *EndDecoder, b []byte) (all []tcp.Notice) {
	t.Helper()
	_, err := d.Read(b, func(n *tcp.Notice) error { all = append(all, *n); return nil })
	require.NoError(t, err)
	return all
}

func eachEnds(t *testing.T, test func(t *testing.T, b []byte)) {
	for _, osreldate := range []int{1302001, 1501000} {
		t.Run(fmt.Sprint(osreldate), func(t *testing.T) { test(t, endsFixture(t, osreldate)) })
	}
}

func TestEnds(t *testing.T) {
	eachEnds(t, func(t *testing.T, b []byte) {
		all := notices(t, NewEndDecoder(), b)
		require.Len(t, all, 2)
		client, server := all[0], all[1]
		if client.Role != tcp.Client {
			client, server = server, client
		}
		assert.Equal(t, tcp.Client, client.Role)
		assert.Equal(t, tcp.LocalReset, client.Cause)
		assert.Equal(t, tcp.Server, server.Role)
		assert.Equal(t, tcp.PeerReset, server.Cause)
		assert.Equal(t, [2]netip.AddrPort{client.Local, client.Peer}, [2]netip.AddrPort{server.Peer, server.Local})
		assert.NotEqual(t, client.ID, server.ID)
		for _, n := range all {
			assert.Equal(t, tcp.Closed, n.State)
			assert.Equal(t, tcp.Established, n.Left)
			assert.False(t, n.NeverEstablished)
			assert.True(t, n.WithoutFINs)
			assert.Equal(t, tcp.NoFailure, n.Failure)
			assert.Zero(t, n.Inode)
			assert.Zero(t, n.Low32)
			assert.True(t, n.Has(tcp.FieldBytesSent) && n.Has(tcp.FieldBytesReceived))
			assert.Zero(t, n.BytesSent+n.BytesReceived)
			assert.NotEmpty(t, n.CongestionControl)
			assert.Equal(t, "freebsd", n.Stack)
			assert.Equal(t, 2026, n.Ended.UTC().Year())
			assert.True(t, n.Ended.After(n.Established) || n.Ended.Equal(n.Established))
			assert.Less(t, n.Age, time.Second)
		}
		assert.Positive(t, client.Handshake)
		assert.Less(t, client.Handshake, time.Second)
		assert.Zero(t, server.Handshake, "it was in the syncache")
		require.NotNil(t, client.Holder)
		assert.Equal(t, "t", client.Holder.Executable)
		assert.False(t, client.Holder.IsComm)
		assert.Positive(t, client.Holder.PID)
		assert.Positive(t, client.Holder.Started)
	})
}

// What a reader lost is said once.
func TestEndsLost(t *testing.T) {
	b, d := endsFixture(t, 1501000), NewEndDecoder()
	for _, tt := range []struct{ total, want uint64 }{{5, 5}, {5, 0}, {12, 7}, {3, 0}} {
		binary.NativeEndian.PutUint64(b[atEndsLost:], tt.total)
		lost, err := d.Read(b, func(*tcp.Notice) error { return nil })
		require.NoError(t, err)
		assert.Equal(t, tt.want, lost, "%d in all", tt.total)
	}
}

// A connection that is older than the module's watch has 32 bits of its bytes.
func TestEndsTaken(t *testing.T) {
	b := endsFixture(t, 1501000)
	tail := b[endsHeaderLenV1+recordLenV1:]
	binary.NativeEndian.PutUint32(tail[atEndFlags:], endTaken)
	binary.NativeEndian.PutUint64(tail[atEndReceived:], 1<<40)
	binary.NativeEndian.PutUint32(tail[atEndStates:], 1<<tcp.Established)
	n := notices(t, NewEndDecoder(), b)[0]
	assert.Equal(t, fields(tcp.FieldBytesReceived), n.Low32)
	assert.Zero(t, n.BytesReceived, "as rcv_nxt says")
	assert.Equal(t, tcp.NoRole, n.Role)
}

func TestEndsPast4GiB(t *testing.T) {
	b := endsFixture(t, 1501000)
	tail := b[endsHeaderLenV1+recordLenV1:]
	binary.NativeEndian.PutUint64(tail[atEndReceived:], 5<<32+1)
	binary.NativeEndian.PutUint64(tail[atEndSent:], 6<<32+2)
	n := notices(t, NewEndDecoder(), b)[0]
	assert.Equal(t, uint64(5<<32+1), n.BytesReceived)
	assert.Equal(t, uint64(6<<32+2), n.BytesSent)
	assert.Zero(t, n.BytesRetransmitted)
}

// Of another vnet than the reader's it says which.
func TestEndsOfAVnet(t *testing.T) {
	b := endsFixture(t, 1501000)
	binary.NativeEndian.PutUint32(b[endsHeaderLenV1+atVnet:], 7)
	all := notices(t, NewEndDecoder(), b)
	assert.Equal(t, uint64(7), all[0].ID.Namespace)
	assert.Zero(t, all[1].ID.Namespace)
}

func TestEndsHolders(t *testing.T) {
	b := endsFixture(t, 1501000)
	d := NewEndDecoder()
	first := notices(t, d, b)[0].Holder
	require.NotNil(t, first)
	assert.Same(t, first, notices(t, d, b)[0].Holder, "one value for all connections of a process")
	last := b[endsHeaderLenV1+recordLenV1+atEndLast:]
	copy(last[atProcessComm:], "nineteen-characters\x00")
	h := notices(t, d, b)[0].Holder
	assert.Equal(t, "nineteen-characters", h.Executable)
	assert.True(t, h.IsComm, "it may be cut")
	binary.NativeEndian.PutUint32(last[atProcessPID:], 0)
	assert.Equal(t, first, notices(t, d, b)[0].Holder, "who connected, then")
	binary.NativeEndian.PutUint32(b[endsHeaderLenV1+recordLenV1+atEndFirst+atProcessPID:], 0)
	assert.Nil(t, notices(t, d, b)[0].Holder)
}

// Ends of a later version, longer than today's, read as today's.
func TestGrownEnds(t *testing.T) {
	eachEnds(t, func(t *testing.T, b []byte) {
		want := notices(t, NewEndDecoder(), b)
		const grown = 24
		longer := make([]byte, 0, 2*len(b))
		add := func(part []byte) { longer = append(append(longer, part...), make([]byte, grown)...) }
		add(b[:endsHeaderLenV1])
		for rest := b[endsHeaderLenV1:]; len(rest) > 0; rest = rest[endLenV1:] {
			add(rest[:recordLenV1])
			add(rest[recordLenV1:endLenV1])
		}
		binary.NativeEndian.PutUint16(longer[atEndsHeaderLen:], endsHeaderLenV1+grown)
		binary.NativeEndian.PutUint16(longer[atEndsRecordLen:], recordLenV1+grown)
		binary.NativeEndian.PutUint16(longer[atEndsEndLen:], endLenV1+2*grown)
		assert.Equal(t, want, notices(t, NewEndDecoder(), longer))
	})
}

func TestMalformedEnds(t *testing.T) {
	put16 := func(at int, v uint16) func([]byte) []byte {
		return func(b []byte) []byte { binary.NativeEndian.PutUint16(b[at:], v); return b }
	}
	for name, tt := range map[string]struct {
		change func([]byte) []byte
		err    string
	}{
		"empty":        {func([]byte) []byte { return nil }, "header of 0 bytes, wants 64: cut off before its end"},
		"text":         {func(b []byte) []byte { copy(b, "tcp4"); return b }, "magic 0x34706374, wants 0x46504354: unknown layout"},
		"version 0":    {put16(atEndsVersion, 0), "version 0, wants 1 or later: unknown layout"},
		"short ends":   {put16(atEndsEndLen, endLenV1-8), "header, records and ends of 64, 368 and 496 bytes, wants 64, 368 and 504 or more: unknown layout"},
		"short record": {put16(atEndsRecordLen, 8), "unknown layout"},
		"short header": {put16(atEndsHeaderLen, 8), "unknown layout"},
		"long header":  {put16(atEndsHeaderLen, 65535), "cut off before its end"},
		"half an end":  {func(b []byte) []byte { return b[:len(b)-100] }, "bytes for 2 ends: cut off before its end"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := NewEndDecoder().Read(tt.change(endsFixture(t, 1501000)), func(*tcp.Notice) error { return nil })
			assert.ErrorContains(t, err, tt.err)
		})
	}
}

// An end that cannot be read costs no other.
func TestMalformedEnd(t *testing.T) {
	b := endsFixture(t, 1501000)
	b[endsHeaderLenV1+atState] = 11
	n := 0
	_, err := NewEndDecoder().Read(b, func(*tcp.Notice) error { n++; return nil })
	assert.Equal(t, 1, n)
	partials := source.Partials(err)
	require.Len(t, partials, 1)
	assert.Equal(t, source.ErrorDecode, partials[0].Type)
	stop := errors.New("stop")
	_, err = NewEndDecoder().Read(endsFixture(t, 1501000), func(*tcp.Notice) error { return stop })
	assert.Equal(t, stop, err)
}

func TestDecodingEndsAllocatesNothing(t *testing.T) {
	b, d := endsFixture(t, 1501000), NewEndDecoder()
	visit := func(*tcp.Notice) error { return nil }
	_, err := d.Read(b, visit)
	require.NoError(t, err)
	assert.Zero(t, testing.AllocsPerRun(100, func() { _, _ = d.Read(b, visit) }))
}

func FuzzEnds(f *testing.F) {
	for _, osreldate := range []int{1302001, 1501000} {
		f.Add(endsFixture(f, osreldate))
	}
	f.Add(endsFixture(f, 1501000)[:endsHeaderLenV1])
	f.Fuzz(func(t *testing.T, b []byte) {
		d, before := NewEndDecoder(), string(b)
		for range 2 {
			_, _ = d.Read(b, func(n *tcp.Notice) error {
				if n.State != tcp.Closed || n.Left >= tcp.NumStates || n.Cause >= tcp.NumCauses || !n.Local.IsValid() || !n.Peer.IsValid() {
					t.Fatalf("bad notice: %+v", n)
				}
				if n.Age < 0 || n.Handshake < 0 {
					t.Fatalf("negative time: %+v", n)
				}
				if n.NeverEstablished && n.Cause != tcp.UnknownCause || !n.NeverEstablished && n.Failure != tcp.NoFailure {
					t.Fatalf("failed and ended: %+v", n)
				}
				if n.BytesAcked > n.BytesSent || n.BytesRetransmitted > n.BytesSent {
					t.Fatalf("more than sent: %+v", n)
				}
				if h := n.Holder; h != nil && (h.PID <= 0 || h.Started < 0 || len(h.Executable) > 3*commLen) {
					t.Fatalf("bad holder: %+v", h)
				}
				return nil
			})
		}
		if before != string(b) {
			t.Fatal("the input was written to")
		}
	})
}
