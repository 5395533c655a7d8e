// SPDX-License-Identifier: Apache-2.0

package procfs

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// render writes what a source of this package tells of a socket, and the state
// that the fields are in.
func render(s *tcp.Socket) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v %v %v", s.Local, s.Peer, s.State)
	if s.UID != 0 {
		fmt.Fprintf(&b, " uid=%d", s.UID)
	}
	if s.Inode != 0 {
		b.WriteString(" held")
	}
	if s.Has(tcp.FieldSendBufferUsage) {
		fmt.Fprintf(&b, " tx=%d", s.SendBufferUsage)
	}
	if s.Has(tcp.FieldReceiveBufferUsage) {
		fmt.Fprintf(&b, " rx=%d", s.ReceiveBufferUsage)
	}
	if s.Has(tcp.FieldQueueLength) {
		fmt.Fprintf(&b, " queue=%d", s.QueueLength)
	}
	return b.String()
}

func TestParseSocket(t *testing.T) {
	for _, test := range []struct {
		name, line, want string
		order            byteOrder
	}{
		{
			name: "IPv4",
			line: "  12: 0100007F:0456 0200A8C0:03F2 01 00000007:00000005 00:00000000 00000000  1000        0 32361 1 00000000cbd19ee2 20 4 4 10 -1                     ",
			want: "127.0.0.1:1110 192.168.0.2:1010 established uid=1000 held tx=7 rx=5",
		},
		{
			name:  "IPv4 of a big-endian host",
			line:  "  12: 7F000001:0456 C0A80002:03F2 01 00000007:00000005 00:00000000 00000000  1000        0 32361 1 00000000cbd19ee2 20 4 4 10 -1",
			order: bigEndian,
			want:  "127.0.0.1:1110 192.168.0.2:1010 established uid=1000 held tx=7 rx=5",
		},
		{
			name: "IPv6",
			line: "   0: B80D0120000000000000000001000000:2B66 B80D0120000000003412000078560000:2B02 01 00000000:00000005 00:00000000 00000000     0        0 32398 2 00000000aefc77da 20 4 4 10 -1",
			want: "[2001:db8::1]:11110 [2001:db8::1234:0:5678]:11010 established held tx=0 rx=5",
		},
		{
			name:  "IPv6 of a big-endian host",
			line:  "   0: 20010DB8000000000000000000000001:2B66 20010DB8000000000000123400005678:2B02 01 00000000:00000005 00:00000000 00000000     0        0 32398 2 00000000aefc77da 20 4 4 10 -1",
			order: bigEndian,
			want:  "[2001:db8::1]:11110 [2001:db8::1234:0:5678]:11010 established held tx=0 rx=5",
		},
		{
			name:  "IPv4 through IPv6 of a big-endian host",
			line:  "   0: 00000000000000000000FFFF7F000001:2B66 00000000000000000000FFFFC0A80002:2B02 01 00000000:00000005 00:00000000 00000000     0        0 32398",
			order: bigEndian,
			want:  "127.0.0.1:11110 192.168.0.2:11010 established held tx=0 rx=5",
		},
		{
			name: "listener of IPv4 through IPv6",
			line: "   0: 0000000000000000FFFF00000100007F:4E20 00000000000000000000000000000000:0000 0A 00000000:00000003 00:00000000 00000000     0        0 32424 1 00000000af75a456 100 0 0 10 0",
			want: "127.0.0.1:20000 0.0.0.0:0 listen held queue=3",
		},
		{
			name: "listener of both",
			line: "   1: 00000000000000000000000000000000:2AF8 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 32387 1 0000000005fb1c2b 100 0 0 10 0",
			want: "[::]:11000 [::]:0 listen held queue=0",
		},
		{
			name: "NEW_SYN_RECV by its own number",
			line: "   7: 0100007F:03EC 0100007F:0450 0C 00000000:00000000 01:000000B5 00000001     0        0 0 0 00000000d3629855",
			want: "127.0.0.1:1004 127.0.0.1:1104 syn_received tx= rx=",
		},
		{
			name: "wide numbers",
			line: "123456: 0100007F:FFFF 0100007F:0450 01 FFFFFFFF:FFFFFFFF 02:7FFFFFFFFFFFFFFF FFFFFFFF 4294967294 -1 18446744073709551615 1 00000000d3629855",
			want: "127.0.0.1:65535 127.0.0.1:1104 established uid=4294967294 held tx=4294967295 rx=4294967295",
		},
		{
			name: "FINs that take the only sequence number",
			line: "   1: 0100007F:0001 0100007F:0002 0B 00000001:00000001 01:00000000 00000000     0        0 7 1 0",
			want: "127.0.0.1:1 127.0.0.1:2 closing held tx=0 rx=0",
		},
		{
			name: "FINs that the kernel does not count",
			line: "   1: 0100007F:0001 0100007F:0002 09 00000000:00000000 01:00000000 00000000     0        0 0 1 0",
			want: "127.0.0.1:1 127.0.0.1:2 last_ack tx=0 rx=0",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := tcp.Socket{Inode: 1, UID: 2, Fields: 3, SendBufferUsage: 4, ReceiveBufferUsage: 5, QueueLength: 6}
			require.NoError(t, parseSocket([]byte(test.line), test.order, &s))
			require.Equal(t, strings.ReplaceAll(test.want, " tx= rx=", ""), render(&s))
		})
	}
}

func TestParseSocketRejects(t *testing.T) {
	const good = "   1: 0100007F:0001 0100007F:0002 01 00000000:00000000 00:00000000 00000000     0        0 7 1 00000000cbd19ee2 20 4 4 10 -1"
	require.NoError(t, parseSocket([]byte(good), littleEndian, new(tcp.Socket)))
	for _, test := range []struct{ old, new, want string }{
		{"1:", ":", "malformed slot"},
		{"1:", "x:", "malformed slot"},
		{"1:", "1", "malformed slot"},
		{"1: ", "1:", "malformed local address"},
		{"0100007F:0001", "0100007:0001", "malformed local address"},
		{"0100007F:0001", "0100007G:0001", "malformed local address"},
		{"0100007F:0001", "0100007F0100007F:0001", "malformed local address"},
		{"0100007F:0001", "0100007F:00010", "malformed local address"},
		{"0100007F:0001", "0100007F:", "malformed local address"},
		{"0100007F:0001", "0100007F 0001", "malformed local address"},
		{"0100007F:0002", "0000000000000000FFFF00000100007F:0002", "malformed peer address"},
		{"0100007F:0002", "", "malformed peer address"},
		{"0002 01", "0002 001", "malformed state"},
		{"0002 01", "0002 ?", "malformed state"},
		{"0002 01", "0002 00", "unknown state 0"},
		{"0002 01", "0002 0D", "unknown state 13"},
		{"0002 01", "0002 FF", "unknown state 255"},
		{"00000000:00000000", "100000000:00000000", "malformed tx_queue"},
		{"00000000:00000000", "00000000 00000000", "malformed rx_queue"},
		{"00000000:00000000", "00000000:-1", "malformed rx_queue"},
		{" 00:00000000 ", " 000:00000000 ", "malformed timer"},
		{" 00:00000000 ", " 00:00000000000000000 ", "malformed timer"},
		{" 00000000     0", " x     0", "malformed retransmits"},
		{"     0        0", "     4294967296        0", "malformed uid"},
		{"     0        0", "     -1        0", "malformed uid"},
		{" 7 1 00000000cbd19ee2 20 4 4 10 -1", "", "malformed inode"},
		{" 0 7 1 00000000cbd19ee2 20 4 4 10 -1", " ", "malformed timeout"},
		{" 7 ", " 18446744073709551616 ", "malformed inode"},
		{" 7 ", " 7x ", "malformed inode"},
		{" 7 ", " -7 ", "malformed inode"},
	} {
		line := strings.Replace(good, test.old, test.new, 1)
		require.NotEqual(t, good, line, "%q", test)
		require.EqualError(t, parseSocket([]byte(line), littleEndian, new(tcp.Socket)), test.want, "%q", line)
	}
	for n := range strings.Index(good, " 7 ") + 1 {
		require.Error(t, parseSocket([]byte(good[:n]), littleEndian, new(tcp.Socket)), "%q", good[:n])
	}
}

func TestHostOrder(t *testing.T) {
	// The form of 127.0.0.1 as the kernel of this host writes it, not ours.
	want := map[byteOrder]string{littleEndian: "0100007F", bigEndian: "7F000001"}
	l := listenTCP(t, "127.0.0.1:0")
	require.Contains(t, string(readProc(t, "tcp")), fmt.Sprintf(" %s:%04X ", want[hostOrder()], port(l.Addr())))
}

// kernelLine writes a line as the kernel's format strings do.
func kernelLine(slot int, local, peer netip.AddrPort, state int, tx, rx uint32, timer int, uid uint32, inode uint64, order byteOrder) string {
	return fmt.Sprintf("%4d: %s:%04X %s:%04X %02X %08X:%08X %02X:%08X %08X %5d %8d %d 1 00000000cbd19ee2 20 4 4 10 -1",
		slot, kernelAddr(local.Addr(), order), local.Port(), kernelAddr(peer.Addr(), order), peer.Port(), state, tx, rx, timer, 0, 0, uid, 0, inode)
}

func kernelAddr(addr netip.Addr, order byteOrder) string {
	b := addr.AsSlice()
	var text strings.Builder
	for ; len(b) > 0; b = b[4:] {
		if order == bigEndian {
			fmt.Fprintf(&text, "%02X%02X%02X%02X", b[0], b[1], b[2], b[3])
		} else {
			fmt.Fprintf(&text, "%02X%02X%02X%02X", b[3], b[2], b[1], b[0])
		}
	}
	return text.String()
}

// FuzzParseSocket looks for lines that make the parser panic, and for sockets
// that are not what they were after being written and read once more.
func FuzzParseSocket(f *testing.F) {
	for _, name := range []string{"tcp", "tcp6"} {
		for _, line := range strings.Split(string(readFixture(f, name)), "\n") {
			f.Add([]byte(line), false)
			f.Add([]byte(line), true)
		}
	}
	numbers := make(map[tcp.State]int)
	for n := range 12 {
		if s, ok := tcp.LinuxState(uint64(n)); ok {
			numbers[s] = n
		}
	}
	f.Fuzz(func(t *testing.T, line []byte, big bool) {
		var s tcp.Socket
		if parseSocket(line, byteOrder(big), &s) != nil {
			return
		}
		require.True(t, s.Local.IsValid() && s.Peer.IsValid())
		require.False(t, s.Local.Addr().Is4In6())
		if s.Local.Addr().Is4() != s.Peer.Addr().Is4() {
			return // IPv4 local to IPv6 peer or the reverse: no line of the kernel's
		}
		tx, rx, timer := s.SendBufferUsage, s.ReceiveBufferUsage, 0
		switch {
		case s.Has(tcp.FieldQueueLength):
			rx = s.QueueLength
		case !s.Has(tcp.FieldSendBufferUsage):
			timer = timerTimeWait
		default:
			lessRx, lessTx := tcp.LinuxQueues(s.State, rx, tx)
			tx, rx = tx+(tx-lessTx), rx+(rx-lessRx)
		}
		again := tcp.Socket{}
		written := kernelLine(1, s.Local, s.Peer, numbers[s.State], tx, rx, timer, s.UID, s.Inode, byteOrder(!big))
		require.NoError(t, parseSocket([]byte(written), byteOrder(!big), &again), "%q", written)
		require.Equal(t, s, again, "%q", written)
	})
}
