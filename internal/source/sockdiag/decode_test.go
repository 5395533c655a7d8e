// SPDX-License-Identifier: Apache-2.0

package sockdiag

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// The fixture is a dump of a network namespace on Linux 6.18, amd64, and what
// the process that owns the sockets knows of them.
const (
	fixture    = "testdata/linux-6.18-amd64"
	fixtureSeq = 1
)

func fixtureDatagrams(t testing.TB) [][]byte {
	t.Helper()
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("the fixture is little-endian, this machine is not")
	}
	files, err := filepath.Glob(fixture + "/dump.*.bin")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	var datagrams [][]byte
	for _, file := range files {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		datagrams = append(datagrams, b)
	}
	return datagrams
}

func newDecoder() *decoder {
	return &decoder{namespace: 7, names: make(map[string]string), zone: func(ifindex uint32) string { return fmt.Sprintf("if%d", ifindex) }}
}

// decode returns copies of all sockets.
func decode(t testing.TB, d *decoder, datagrams ...[]byte) (sockets []tcp.Socket, done bool) {
	t.Helper()
	d.begin()
	for _, b := range datagrams {
		require.False(t, done, "a datagram after the end")
		var err error
		done, err = d.datagram(b, fixtureSeq, func(s *tcp.Socket) error {
			sockets = append(sockets, *s)
			return nil
		})
		require.NoError(t, err)
	}
	return sockets, done
}

func TestFixture(t *testing.T) {
	d := newDecoder()
	sockets, done := decode(t, d, fixtureDatagrams(t)...)
	assert.True(t, done)
	require.NoError(t, d.losses.Err())
	assert.False(t, d.interrupted)
	assert.Len(t, sockets, 23)

	var truth struct {
		Sockets []struct {
			Name, State           string
			Local, Peer           []any
			Inode                 uint64
			Sent, Received        *uint64
			Queue, Backlog        *uint32
			Unread                uint32
			AckedKnown            *uint64 `json:"acked_known"`
			LocalAddr, RemoteAddr netip.AddrPort
		}
	}
	raw, err := os.ReadFile(fixture + "/truth.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &truth))
	byInode := make(map[uint64]tcp.Socket)
	cookies := make(map[tcp.Identity]bool)
	for _, s := range sockets {
		assert.NotZero(t, s.ID.Cookie)
		assert.Equal(t, uint64(7), s.ID.Namespace)
		assert.False(t, cookies[s.ID], "two sockets of one identity")
		cookies[s.ID] = true
		if s.Inode != 0 {
			byInode[s.Inode] = s
		}
	}
	endpoint := func(pair []any) string {
		addr := netip.MustParseAddr(pair[0].(string)).Unmap()
		if addr.IsLinkLocalUnicast() && addr.Is6() {
			addr = addr.WithZone("if3")
		}
		return netip.AddrPortFrom(addr, uint16(pair[1].(float64))).String()
	}
	for _, want := range truth.Sockets {
		t.Run(want.Name, func(t *testing.T) {
			got, ok := byInode[want.Inode]
			require.True(t, ok)
			assert.Equal(t, want.State, got.State.String())
			assert.Equal(t, endpoint(want.Local), got.Local.String())
			if want.Peer != nil {
				assert.Equal(t, endpoint(want.Peer), got.Peer.String())
			}
			if want.Queue != nil {
				assert.Equal(t, *want.Queue, got.QueueLength)
				assert.Equal(t, tcp.LinuxQueueLimit(*want.Backlog), got.QueueLimit)
				assert.True(t, got.Has(tcp.FieldQueueLength) && got.Has(tcp.FieldQueueLimit))
				assert.False(t, got.Has(tcp.FieldRTO), "a listener has no timers")
			}
			if want.Sent != nil {
				assert.True(t, got.Has(tcp.FieldBytesSent) && got.Has(tcp.FieldBytesReceived) && got.Has(tcp.FieldSmoothedRTT))
				assert.Equal(t, *want.Sent, got.BytesSent)
				assert.Equal(t, *want.Received, got.BytesReceived, "the FIN is no byte")
				assert.Equal(t, want.Unread, got.ReceiveBufferUsage)
				assert.Positive(t, got.SmoothedRTT)
				assert.Less(t, got.SmoothedRTT, time.Second)
				assert.Positive(t, got.CongestionWindow)
				assert.Positive(t, got.SendBufferLimit)
			}
			if want.AckedKnown != nil {
				assert.Equal(t, *want.AckedKnown+1, got.BytesAcked, "the SYN stays in, the FIN does not")
			}
		})
	}
	for _, s := range sockets {
		switch s.State {
		case tcp.SynSent:
			assert.False(t, s.Has(tcp.FieldSmoothedRTT), "nothing was measured yet")
			assert.False(t, s.Has(tcp.FieldMinRTT))
			assert.False(t, s.Has(tcp.FieldSinceDataSent), "counted from the kernel's boot")
			assert.True(t, s.Has(tcp.FieldRTO))
			assert.Zero(t, s.SendBufferUsage, "the SYN is no payload")
		case tcp.TimeWait:
			assert.Zero(t, s.Fields, "TIME_WAIT has no tcp_info")
			assert.Zero(t, s.Inode)
		}
	}
}

func TestCongestionControl(t *testing.T) {
	d := newDecoder()
	one := func(value string) string {
		sockets, _ := decode(t, d, message(msgTCPDiagGetSock, 2, fixtureSeq, record(familyIPv4, 1, attribute(attrCongestion, []byte(value)))))
		require.Len(t, sockets, 1)
		return sockets[0].CongestionControl
	}
	assert.Equal(t, "cubic", one("cubic\x00"))
	assert.Equal(t, "bbr", one("bbr"), "without its end")
	assert.Empty(t, one(""))
	assert.Equal(t, "\uFFFD", one("\xff"))
	for i := range 2 * source.MaxNames {
		one(fmt.Sprint("hostile", i))
	}
	assert.LessOrEqual(t, len(d.names), source.MaxNames)
	assert.Equal(t, "cubic", one("cubic\x00"))
}

// message makes a netlink message.
func message(typ, flags uint16, seq uint32, payload []byte) []byte {
	b := make([]byte, headerLen, headerLen+len(payload)+3)
	binary.NativeEndian.PutUint32(b, uint32(headerLen+len(payload)))
	binary.NativeEndian.PutUint16(b[4:], typ)
	binary.NativeEndian.PutUint16(b[6:], flags)
	binary.NativeEndian.PutUint32(b[8:], seq)
	b = append(b, payload...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// record makes an inet_diag_msg with attributes.
func record(family, state uint8, attributes ...[]byte) []byte {
	b := make([]byte, recordLen)
	b[0], b[1] = family, state
	binary.BigEndian.PutUint16(b[4:], 443)
	binary.BigEndian.PutUint16(b[6:], 50000)
	copy(b[8:], []byte{192, 0, 2, 1})
	copy(b[24:], []byte{192, 0, 2, 2})
	binary.NativeEndian.PutUint32(b[44:], 0x11223344)
	binary.NativeEndian.PutUint32(b[48:], 0x55667788)
	binary.NativeEndian.PutUint32(b[56:], 100)
	binary.NativeEndian.PutUint32(b[60:], 200)
	binary.NativeEndian.PutUint32(b[64:], 1000)
	binary.NativeEndian.PutUint32(b[68:], 4242)
	for _, a := range attributes {
		b = append(b, a...)
	}
	return b
}

func attribute(typ uint16, value []byte) []byte {
	b := make([]byte, attrHeaderLen)
	binary.NativeEndian.PutUint16(b, uint16(attrHeaderLen+len(value)))
	binary.NativeEndian.PutUint16(b[2:], typ)
	b = append(b, value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func errno(code int32) []byte { return binary.NativeEndian.AppendUint32(nil, uint32(-code)) }

func TestRecord(t *testing.T) {
	sockets, _ := decode(t, newDecoder(), message(msgTCPDiagGetSock, 2, fixtureSeq, record(familyIPv4, 1)))
	require.Len(t, sockets, 1)
	assert.Equal(t, tcp.Socket{
		ID:    tcp.Identity{Cookie: 0x5566778811223344, Namespace: 7},
		Local: netip.MustParseAddrPort("192.0.2.1:443"), Peer: netip.MustParseAddrPort("192.0.2.2:50000"),
		Inode: 4242, UID: 1000, State: tcp.Established,
	}, sockets[0], "without tcp_info nothing more is known")
}

// tcp_info has grown in almost every kernel: whatever there is is read, and
// nothing beyond.
func TestInfoOfAnyLength(t *testing.T) {
	full := make([]byte, 280)
	for i := range full {
		full[i] = 1
	}
	var s tcp.Socket
	all := info(&s, full)
	for n := range len(full) + 1 {
		var s tcp.Socket
		fields := info(&s, full[:n])
		assert.Zero(t, fields&^all)
		if n < infoLenTotalRetrans {
			assert.Zero(t, fields, "%d bytes", n)
		}
		assert.Equal(t, n >= infoLenBytes, fields.Has(tcp.FieldBytesReceived), "%d bytes", n)
		assert.Equal(t, n >= infoLenBytesSent, fields.Has(tcp.FieldBytesSent), "%d bytes", n)
		assert.Equal(t, n >= infoLenTotalRTO, fields.Has(tcp.FieldTimeouts), "%d bytes", n)
		assert.Equal(t, n >= infoLenReceivedCE, fields.Has(tcp.FieldReceivedCE), "%d bytes", n)
	}
	longer := info(&s, append(full, make([]byte, 500)...))
	assert.Equal(t, all, longer, "a kernel that is ahead of us")
}

func TestInfoLeavesOutWhatIsNotMeasured(t *testing.T) {
	b := make([]byte, 280)
	binary.NativeEndian.PutUint32(b[16:], 1448)
	binary.NativeEndian.PutUint32(b[80:], 10)
	put32 := func(at int, v uint32) { binary.NativeEndian.PutUint32(b[at:], v) }
	put64 := func(at int, v uint64) { binary.NativeEndian.PutUint64(b[at:], v) }
	put32(76, 0x7fffffff)
	put64(104, ^uint64(0))
	put32(148, ^uint32(0))
	s := tcp.Socket{State: tcp.Established}
	fields := info(&s, b)
	assert.Equal(t, uint64(14480), s.CongestionWindow, "bytes, not segments")
	for _, f := range []tcp.Field{tcp.FieldSlowStartThreshold, tcp.FieldPacingRate, tcp.FieldMinRTT, tcp.FieldSmoothedRTT, tcp.FieldRTTVariation, tcp.FieldDeliveryRate} {
		assert.False(t, fields.Has(f), "field %d", f)
	}

	put32(68, 1500)
	put32(72, 250)
	put32(148, 900)
	put32(76, 7)
	put64(104, 1e6)
	put64(160, 2e6)
	fields = info(&s, b)
	assert.True(t, fields.Has(tcp.FieldMinRTT))
	assert.Equal(t, 1500*time.Microsecond, s.SmoothedRTT)
	assert.Equal(t, 250*time.Microsecond, s.RTTVariation)
	assert.Equal(t, 900*time.Microsecond, s.MinRTT)
	assert.Equal(t, uint64(7*1448), s.SlowStartThreshold)
	assert.Equal(t, uint64(1e6), s.PacingRate)
	assert.Equal(t, uint64(2e6), s.DeliveryRate)

	put64(168, ^uint64(0))
	info(&s, b)
	assert.Positive(t, s.BusyTime, "a hostile time does not overflow")
}

// What is on its way by tcp_info is in the send queue, which was looked at before.
func TestSendQueueHasWhatIsOnItsWay(t *testing.T) {
	for _, tt := range []struct {
		state                  uint8
		queue, unacked, unsent uint32
		want                   uint32
	}{
		{state: 1, want: 0},
		{state: 1, unacked: 1, want: 1},
		{state: 8, unacked: 2, unsent: 1000, want: 1002},
		{state: 1, queue: 5000, unacked: 3, want: 5000},
		{state: 4, queue: 1, unacked: 1, want: 0}, // the FIN
		{state: 2, queue: 1, unacked: 1, want: 0}, // the SYN
	} {
		tcpInfo := make([]byte, 280)
		binary.NativeEndian.PutUint32(tcpInfo[24:], tt.unacked)
		binary.NativeEndian.PutUint32(tcpInfo[144:], tt.unsent)
		r := record(familyIPv4, tt.state, attribute(attrInfo, tcpInfo))
		binary.NativeEndian.PutUint32(r[60:], tt.queue)
		sockets, _ := decode(t, newDecoder(), message(msgTCPDiagGetSock, 2, fixtureSeq, r))
		require.Len(t, sockets, 1)
		assert.Equal(t, tt.want, sockets[0].SendBufferUsage, "%+v", tt)
	}
}

// The times of a destroyed socket that was never connected are since the kernel's boot.
func TestTimesOfANoticeWithoutAConnection(t *testing.T) {
	tcpInfo := make([]byte, 280)
	s := tcp.Socket{State: tcp.Closed}
	assert.False(t, info(&s, tcpInfo).Has(tcp.FieldSinceACKReceived))
	tcpInfo[infoOptions] = infoOptionSACK
	assert.True(t, info(&s, tcpInfo).Has(tcp.FieldSinceACKReceived))
	tcpInfo[infoOptions] = 0
	binary.NativeEndian.PutUint64(tcpInfo[120:], 1)
	assert.True(t, info(&s, tcpInfo).Has(tcp.FieldSinceACKReceived))
}

func TestOwnFIN(t *testing.T) {
	const sack, plain, synData = infoOptionSACK, 0, infoOptionSACK | infoOptionSYNData
	for _, tt := range []struct {
		options                byte
		queue, delivered, data uint32
		want                   tcp.OwnFIN
	}{
		{sack, 0, 2, 0, tcp.FINAcked},
		{sack, 0, 1, 0, tcp.NoFIN},
		{sack, 0, 12, 10, tcp.FINAcked},
		{sack, 0, 11, 10, tcp.UnknownFIN}, // reset, or a FIN with data
		{sack, 0, 12, 15, tcp.UnknownFIN}, // some were sent more than once
		{sack, 1, 2, 0, tcp.UnknownFIN},   // the FIN is outstanding
		{sack, 0, 0, 0, tcp.UnknownFIN},   // never connected
		{plain, 0, 2, 0, tcp.UnknownFIN},
		{synData, 0, 2, 0, tcp.UnknownFIN},
	} {
		b := make([]byte, infoLenDeliveredCE)
		b[infoOptions] = tt.options
		binary.NativeEndian.PutUint32(b[192:], tt.delivered)
		binary.NativeEndian.PutUint32(b[156:], tt.data)
		assert.Equal(t, tt.want, ownFIN(b, tt.queue), "%+v", tt)
		assert.Equal(t, tcp.UnknownFIN, ownFIN(b[:infoLenDeliveredCE-1], tt.queue), "an older kernel")
	}
}

func TestBadRecordsCostOnlyThemselves(t *testing.T) {
	good := message(msgTCPDiagGetSock, 2, fixtureSeq, record(familyIPv4, 1))
	join := func(parts ...[]byte) (b []byte) {
		for _, p := range parts {
			b = append(b, p...)
		}
		return b
	}
	tooLong := message(msgTCPDiagGetSock, 2, fixtureSeq, record(familyIPv4, 1))
	binary.NativeEndian.PutUint32(tooLong, 4000)
	tooShort := message(msgTCPDiagGetSock, 2, fixtureSeq, record(familyIPv4, 1))
	binary.NativeEndian.PutUint32(tooShort, 15)
	badAttribute := attribute(attrInfo, make([]byte, 8))
	binary.NativeEndian.PutUint16(badAttribute, 2)

	for name, tt := range map[string]struct {
		datagram []byte
		sockets  int
		loss     string
	}{
		"short record":          {join(good, message(msgTCPDiagGetSock, 2, fixtureSeq, make([]byte, 71)), good), 2, "sock_diag record of 71 bytes, wants 72"},
		"unknown family":        {join(good, message(msgTCPDiagGetSock, 2, fixtureSeq, record(17, 1)), good), 2, "address family 17"},
		"unknown state":         {join(good, message(msgTCPDiagGetSock, 2, fixtureSeq, record(familyIPv4, 13)), good), 2, "TCP state 13"},
		"state 0":               {join(good, message(msgTCPDiagGetSock, 2, fixtureSeq, record(familyIPv4, 0)), good), 2, "TCP state 0"},
		"unknown message":       {join(good, message(99, 2, fixtureSeq, nil), good), 2, "unknown type 99"},
		"length beyond the end": {join(good, tooLong), 1, "netlink message of length 4000 with 88 bytes left"},
		"length below a header": {join(good, tooShort, good), 1, "netlink message of length 15"},
		"trailing bytes":        {join(good, []byte{1, 2, 3}), 1, "3 bytes after the last netlink message"},
		"bad attribute":         {message(msgTCPDiagGetSock, 2, fixtureSeq, record(familyIPv4, 1, badAttribute)), 1, "malformed attributes: one of length 2 with 12 bytes left"},
		"short socket memory":   {message(msgTCPDiagGetSock, 2, fixtureSeq, record(familyIPv4, 1, attribute(attrSockMemory, make([]byte, 12)))), 1, "malformed attributes: socket memory of 12 bytes"},
		"empty":                 {nil, 0, ""},
		"no-op":                 {join(message(msgNoop, 0, fixtureSeq, nil), good), 1, ""},
		"another dump's":        {join(message(msgTCPDiagGetSock, 2, fixtureSeq+1, record(familyIPv4, 1)), good), 1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDecoder()
			sockets, done := decode(t, d, tt.datagram)
			assert.False(t, done)
			assert.Len(t, sockets, tt.sockets)
			err := d.losses.Err()
			if tt.loss == "" {
				assert.NoError(t, err)
				return
			}
			var partial *source.PartialError
			require.ErrorAs(t, err, &partial)
			assert.Equal(t, source.ErrorDecode, partial.Type)
			assert.Equal(t, 1, partial.Count)
			assert.Contains(t, err.Error(), tt.loss)
		})
	}
}

func TestEndsAndErrors(t *testing.T) {
	visit := func(*tcp.Socket) error { return nil }
	d := newDecoder()

	done, err := d.datagram(message(msgDone, 2, fixtureSeq, errno(0)), fixtureSeq, visit)
	assert.True(t, done)
	assert.NoError(t, err)
	done, err = d.datagram(message(msgDone, 2, fixtureSeq, nil), fixtureSeq, visit)
	assert.True(t, done, "kernels before 4.15 say nothing")
	assert.NoError(t, err)
	done, err = d.datagram(message(msgDone, 2, fixtureSeq, errno(int32(syscall.ENOMEM))), fixtureSeq, visit)
	assert.True(t, done)
	assert.ErrorIs(t, err, syscall.ENOMEM)
	done, err = d.datagram(message(msgError, 0, fixtureSeq, errno(int32(syscall.EPERM))), fixtureSeq, visit)
	assert.True(t, done)
	assert.ErrorIs(t, err, syscall.EPERM)
	done, err = d.datagram(message(msgError, 0, fixtureSeq, []byte{1}), fixtureSeq, visit)
	assert.True(t, done)
	assert.EqualError(t, err, "netlink error message without an error number")

	d.begin()
	_, err = d.datagram(message(msgTCPDiagGetSock, 2|flagDumpInterrupted, fixtureSeq, record(familyIPv4, 1)), fixtureSeq, visit)
	require.NoError(t, err)
	assert.True(t, d.interrupted)
	d.begin()
	assert.False(t, d.interrupted)

	stop := errors.New("stop")
	_, err = d.datagram(message(msgTCPDiagGetSock, 2, fixtureSeq, record(familyIPv4, 1)), fixtureSeq, func(*tcp.Socket) error { return stop })
	assert.Equal(t, stop, err)
}

func TestDecodingAllocatesNothing(t *testing.T) {
	datagrams := fixtureDatagrams(t)
	d := newDecoder()
	d.zone = func(uint32) string { return "d0" }
	n := 0
	visit := func(*tcp.Socket) error { n++; return nil }
	allocs := testing.AllocsPerRun(100, func() {
		for _, b := range datagrams {
			if _, err := d.datagram(b, fixtureSeq, visit); err != nil {
				t.Fatal(err)
			}
		}
	})
	assert.Zero(t, allocs)
	assert.Positive(t, n)
}

func BenchmarkDecode(b *testing.B) {
	datagrams := fixtureDatagrams(b)
	d := newDecoder()
	d.zone = func(uint32) string { return "d0" }
	sockets := 0
	visit := func(*tcp.Socket) error { sockets++; return nil }
	b.ReportAllocs()
	for b.Loop() {
		for _, datagram := range datagrams {
			if _, err := d.datagram(datagram, fixtureSeq, visit); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(sockets), "ns/socket")
}

func FuzzDatagram(f *testing.F) {
	for _, b := range fixtureDatagrams(f) {
		f.Add(b)
	}
	f.Add(message(msgError, 0, fixtureSeq, errno(int32(syscall.EPERM))))
	f.Add(message(msgTCPDiagGetSock, 2, fixtureSeq, record(familyIPv6, 10, attribute(attrInfo, make([]byte, 248)))))
	f.Fuzz(func(t *testing.T, b []byte) {
		d := newDecoder()
		before := string(b)
		_, _ = d.datagram(b, fixtureSeq, func(s *tcp.Socket) error {
			if s.State >= tcp.NumStates || !s.Local.IsValid() || !s.Peer.IsValid() {
				t.Fatalf("bad socket: %+v", s)
			}
			if s.Fields.Has(tcp.FieldMinRTT) && s.MinRTT < 0 || s.BusyTime < 0 || s.RTO < 0 {
				t.Fatalf("negative time: %+v", s)
			}
			return nil
		})
		if before != string(b) {
			t.Fatal("the input was written to")
		}
	})
}
