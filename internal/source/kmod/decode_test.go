// SPDX-License-Identifier: Apache-2.0

package kmod

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

func fixture(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/walk-v1.bin") // made by testdata/emit.c
	require.NoError(t, err)
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("the fixture is of a little-endian machine")
	}
	return b
}

func decoder() *Decoder {
	d := NewDecoder()
	d.Zone = func(index uint32) string { return "em" + string(rune('0'+index)) }
	return d
}

// decode reads a whole walk at once.
func decode(d *Decoder, b []byte, visit func(*tcp.Socket) error) error {
	w := d.newWalk(visit)
	if _, err := w.feed(b); err != nil {
		return err
	}
	return w.end()
}

func sockets(t testing.TB, b []byte) (all []tcp.Socket) {
	t.Helper()
	require.NoError(t, decode(decoder(), b, func(s *tcp.Socket) error {
		all = append(all, *s)
		return nil
	}))
	return all
}

func fields(list ...tcp.Field) (set tcp.Fields) {
	for _, f := range list {
		set = set.With(f)
	}
	return set
}

func TestRecords(t *testing.T) {
	all := sockets(t, fixture(t))
	require.Len(t, all, 4)
	assert.Equal(t, tcp.Socket{
		ID:    tcp.Identity{Cookie: 0x1122334455667788},
		Local: netip.MustParseAddrPort("192.0.2.1:443"), Peer: netip.MustParseAddrPort("198.51.100.2:50000"),
		Inode: 0xfffff80012345678, UID: 1001, State: tcp.Established,
		Fields: fields(tcp.FieldSmoothedRTT, tcp.FieldRTTVariation, tcp.FieldMinRTT, tcp.FieldRTO, tcp.FieldCongestionWindow,
			tcp.FieldSlowStartThreshold, tcp.FieldSendMSS, tcp.FieldPacingRate, tcp.FieldSendWindow, tcp.FieldReceiveWindow,
			tcp.FieldSendBufferUsage, tcp.FieldReceiveBufferUsage, tcp.FieldSendBufferLimit, tcp.FieldReceiveBufferLimit, tcp.FieldUnsent,
			tcp.FieldSinceDataSent, tcp.FieldSinceDataReceived, tcp.FieldAge, tcp.FieldBytesSent, tcp.FieldBytesReceived, tcp.FieldBytesAcked,
			tcp.FieldBytesRetransmitted, tcp.FieldRetransmits, tcp.FieldSpuriousRetransmits, tcp.FieldOutOfOrder, tcp.FieldZeroWindows,
			tcp.FieldDeliveredCE, tcp.FieldReceivedCE),
		Low32:             fields(tcp.FieldBytesReceived),
		PayloadOnly:       true,
		CongestionControl: "cubic", Stack: "freebsd",
		SmoothedRTT: 12345 * time.Microsecond, RTTVariation: 678 * time.Microsecond, MinRTT: 9 * time.Millisecond, RTO: 230 * time.Millisecond,
		CongestionWindow: 14480, SlowStartThreshold: 28960, SendMSS: 1448, SendWindow: 65536, ReceiveWindow: 131072, PacingRate: 26_000_000,
		SendBufferUsage: 2500, SendBufferLimit: 32900, ReceiveBufferUsage: 27, ReceiveBufferLimit: 65700, Unsent: 500,
		SinceDataSent: 24 * time.Millisecond, SinceDataReceived: 23 * time.Millisecond, Age: 25 * time.Second,
		BytesSent: 1<<32 + 8000, BytesRetransmitted: 3000, BytesAcked: 1<<32 + 3000, BytesReceived: 512,
		Retransmits: 3, SpuriousRetransmits: 12, OutOfOrder: 4, ZeroWindows: 5, DeliveredCE: 15, ReceivedCE: 16,
	}, all[0])
	assert.Equal(t, tcp.Socket{
		ID:    tcp.Identity{Cookie: 2, Namespace: 3},
		Local: netip.MustParseAddrPort("[::]:80"), Peer: netip.MustParseAddrPort("[::]:0"),
		Inode: 0xfffff80000000002, State: tcp.Listen, CongestionControl: "cubic", Stack: "freebsd",
		Fields:      fields(tcp.FieldQueueLength, tcp.FieldQueueLimit),
		QueueLength: 7, QueueLimit: tcp.FreeBSDQueueLimit(128),
	}, all[1])
	linkLocal := all[2]
	assert.Equal(t, "[fe80::1%em2]:8080", linkLocal.Local.String())
	assert.Equal(t, "[fe80::2%em2]:40000", linkLocal.Peer.String())
	assert.Zero(t, linkLocal.Inode, "no process has accepted it")
	assert.Equal(t, "sixteen-chars-cc", linkLocal.CongestionControl)
	assert.Equal(t, uint64(100), linkLocal.BytesReceived, "the FIN is no byte")
	for _, f := range []tcp.Field{tcp.FieldCongestionWindow, tcp.FieldSlowStartThreshold, tcp.FieldPacingRate, tcp.FieldSmoothedRTT, tcp.FieldSpuriousRetransmits} {
		assert.False(t, linkLocal.Has(f), "%d", f)
	}
	assert.Equal(t, fields(tcp.FieldBytesReceived), all[3].Fields, "13 keeps but sequence numbers of TIME_WAIT")
	assert.Equal(t, uint64(777), all[3].BytesReceived)
	assert.Equal(t, tcp.TimeWait, all[3].State)
}

// However the bytes come, they mean the same.
func TestPieces(t *testing.T) {
	b := fixture(t)
	want := sockets(t, b)
	for size := 1; size < len(b); size += 7 {
		var got []tcp.Socket
		w := decoder().newWalk(func(s *tcp.Socket) error { got = append(got, *s); return nil })
		var have []byte
		for rest := b; len(rest) > 0; {
			n := min(size, len(rest))
			have, rest = append(have, rest[:n]...), rest[n:]
			used, err := w.feed(have)
			require.NoError(t, err)
			have = have[used:]
		}
		require.NoError(t, w.end())
		require.Equal(t, want, got, "in pieces of %d", size)
	}
}

func TestTrailer(t *testing.T) {
	w := decoder().newWalk(func(*tcp.Socket) error { return nil })
	_, err := w.feed(fixture(t))
	require.NoError(t, err)
	assert.Equal(t, Trailer{Seen: 13, Records: 4, Withheld: 7, Fresh: 2, Syncache: 9}, w.trailer)
}

func TestMalformed(t *testing.T) {
	put16 := func(at int, v uint16) func([]byte) []byte {
		return func(b []byte) []byte { binary.NativeEndian.PutUint16(b[at:], v); return b }
	}
	put64 := func(at int, v uint64) func([]byte) []byte {
		return func(b []byte) []byte { binary.NativeEndian.PutUint64(b[at:], v); return b }
	}
	trailer := len(fixture(t)) - trailerLenV1
	for name, tt := range map[string]struct {
		change func([]byte) []byte
		err    string
	}{
		"empty":            {func(b []byte) []byte { return nil }, "0 of 0 records are missing, or the trailer: cut off before its end"},
		"half a header":    {func(b []byte) []byte { return b[:40] }, "0 of 0 records are missing, or the trailer: cut off before its end"},
		"half a record":    {func(b []byte) []byte { return b[:headerLenV1+recordLenV1*3/2] }, "3 of 4 records are missing, or the trailer: cut off before its end"},
		"no trailer":       {func(b []byte) []byte { return b[:trailer] }, "0 of 4 records are missing, or the trailer: cut off before its end"},
		"text":             {func(b []byte) []byte { copy(b, "tcp4"); return b }, "magic 0x34706374, wants 0x53504354: unknown layout"},
		"version 0":        {put16(atHeaderVersion, 0), "version 0, wants 1 or later: unknown layout"},
		"short records":    {put16(atHeaderRecordLen, recordLenV1-8), "header, records and trailer of 64, 360 and 72 bytes, wants 64, 368 and 72 or more: unknown layout"},
		"short header":     {put16(atHeaderLen, 0), "header, records and trailer of 0,"},
		"short trailer":    {put16(atHeaderTrailerLen, 1), "and 1 bytes, wants"},
		"many records":     {put64(atHeaderCount, 1<<63), "records are missing"},
		"few records":      {put64(atHeaderCount, 3), "magic of the trailer"},
		"trailer's magic":  {func(b []byte) []byte { b[trailer] ^= 1; return b }, "magic of the trailer 0x45504355, wants 0x45504354: unknown layout"},
		"trailer's number": {put64(trailer+atTrailerRecords, 5), "header of 4 records, trailer of 5: unknown layout"},
	} {
		t.Run(name, func(t *testing.T) {
			err := decode(decoder(), tt.change(fixture(t)), func(*tcp.Socket) error { return nil })
			assert.ErrorContains(t, err, tt.err)
		})
	}
}

// A record that cannot be read costs no other.
func TestMalformedRecords(t *testing.T) {
	b := fixture(t)
	b[headerLenV1+atState] = 11
	b[headerLenV1+recordLenV1+atIPVersion] = 5
	n := 0
	err := decode(decoder(), b, func(*tcp.Socket) error { n++; return nil })
	assert.Equal(t, 2, n)
	partials := source.Partials(err)
	require.Len(t, partials, 1)
	assert.Equal(t, source.ErrorDecode, partials[0].Type)
	assert.Equal(t, 2, partials[0].Count)
	assert.ErrorContains(t, err, "record of TCP state 11")
}

func TestCutOff(t *testing.T) {
	b := fixture(t)
	binary.NativeEndian.PutUint64(b[len(b)-trailerLenV1+atTrailerCut:], 1<<60)
	partials := source.Partials(decode(decoder(), b, func(*tcp.Socket) error { return nil }))
	require.Len(t, partials, 1)
	assert.Equal(t, source.ErrorTruncated, partials[0].Type)
}

func TestVisitorStops(t *testing.T) {
	stop := errors.New("stop")
	n := 0
	err := decode(decoder(), fixture(t), func(*tcp.Socket) error { n++; return stop })
	assert.Equal(t, stop, err)
	assert.Equal(t, 1, n)
}

func TestDecodingAllocatesNothing(t *testing.T) {
	b, d := fixture(t), decoder()
	d.Zone = func(uint32) string { return "em0" }
	visit := func(*tcp.Socket) error { return nil }
	require.NoError(t, decode(d, b, visit))
	assert.Zero(t, testing.AllocsPerRun(100, func() { _ = decode(d, b, visit) }))
}

func FuzzWalk(f *testing.F) {
	b := fixture(f)
	f.Add(b, 100)
	f.Add(b[:headerLenV1], 1)
	f.Add(b[:headerLenV1+recordLenV1], 400)
	f.Fuzz(func(t *testing.T, b []byte, size int) {
		d, before := decoder(), string(b)
		for range 2 { // once with nothing, once with something remembered
			w := d.newWalk(func(s *tcp.Socket) error {
				if s.State >= tcp.NumStates || !s.Local.IsValid() || !s.Peer.IsValid() {
					t.Fatalf("bad socket: %+v", s)
				}
				if s.RTO < 0 || s.SmoothedRTT < 0 || s.SinceDataSent < 0 || s.SinceDataReceived < 0 {
					t.Fatalf("negative time: %+v", s)
				}
				if s.BytesAcked > s.BytesSent || s.BytesRetransmitted > s.BytesSent {
					t.Fatalf("more than sent: %+v", s)
				}
				return nil
			})
			for have := b; ; {
				used, err := w.feed(have[:min(len(have), max(size, 0))])
				if err != nil || used == 0 {
					break
				}
				have = have[used:]
			}
			_ = w.end()
		}
		if before != string(b) {
			t.Fatal("the input was written to")
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	walk := fixture(b)
	record := walk[headerLenV1 : headerLenV1+recordLenV1]
	d := decoder()
	b.ReportAllocs()
	for b.Loop() {
		if err := d.record(record); err != nil {
			b.Fatal(err)
		}
	}
}
