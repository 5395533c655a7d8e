// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64 || loong64 || ppc64le || riscv64)

package bpf

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/source/sockdiag"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// cast is quiet sockets of all kinds, none of which changes by itself but for
// its clocks.
type cast struct {
	testing.TB
	ports map[uint16]bool // of its listeners
}

// play opens them.
func play(t testing.TB) *cast {
	c := &cast{TB: t, ports: make(map[uint16]bool)}
	for _, address := range []string{"127.0.0.1:0", "[::1]:0", "[::]:0"} {
		l := c.listen(address, nil)
		if l == nil {
			continue
		}
		c.exchange(dial(t, l))
		c.halfClosed(dial(t, l))
		c.resting(dial(t, l))
		server, client := dial(t, l)
		c.resting(client, server)
		c.unread(dial(t, l))
		reno := c.dialWith(l, func(fd int) error { return unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, "reno") })
		accepted, err := l.Accept()
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, accepted.Close()) })
		_, err = reno.Write([]byte("reno"))
		require.NoError(t, err)
		c.dialWith(l, nil) // not accepted
	}
	// Of one that must send something first, the kernel keeps but an embryo.
	deferred := c.listen("127.0.0.1:0", func(fd int) error { return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 60) })
	c.dialWith(deferred, nil)
	return c
}

func (c *cast) listen(address string, option func(int) error) net.Listener {
	lc := net.ListenConfig{Control: control(option)}
	l, err := lc.Listen(bg, "tcp", address)
	if err != nil {
		c.Logf("not compared: %v", err)
		return nil
	}
	c.Cleanup(func() { assert.NoError(c, l.Close()) })
	c.ports[uint16(l.Addr().(*net.TCPAddr).Port)] = true
	return l
}

func (c *cast) dialWith(l net.Listener, option func(int) error) net.Conn {
	d := net.Dialer{Control: control(option)}
	conn, err := d.Dial("tcp", l.Addr().String())
	require.NoError(c, err)
	c.Cleanup(func() { _ = conn.Close() }) // the other end may have reset it
	return conn
}

func control(option func(int) error) func(_, _ string, raw syscall.RawConn) error {
	return func(_, _ string, raw syscall.RawConn) error {
		if option == nil {
			return nil
		}
		var err error
		return errors.Join(raw.Control(func(fd uintptr) { err = option(int(fd)) }), err)
	}
}

// exchange sends both ways.
func (c *cast) exchange(client, server *net.TCPConn) {
	for _, size := range []int{1, 100, 50_000} {
		_, err := client.Write(make([]byte, size))
		require.NoError(c, err)
		_, err = io.ReadFull(server, make([]byte, size))
		require.NoError(c, err)
		_, err = server.Write(make([]byte, 3*size))
		require.NoError(c, err)
		_, err = io.ReadFull(client, make([]byte, 3*size))
		require.NoError(c, err)
	}
}

// halfClosed leaves FIN_WAIT2 and CLOSE_WAIT.
func (c *cast) halfClosed(client, server *net.TCPConn) {
	_, err := client.Write(make([]byte, 77))
	require.NoError(c, err)
	require.NoError(c, client.CloseWrite())
	_, err = io.Copy(io.Discard, server)
	require.NoError(c, err)
}

// resting leaves TIME_WAIT.
func (c *cast) resting(client, server *net.TCPConn) {
	require.NoError(c, client.Close())
	_, err := io.Copy(io.Discard, server)
	require.NoError(c, err)
	require.NoError(c, server.Close())
}

// unread leaves bytes in both buffers of one direction, and a FIN behind them.
func (c *cast) unread(client, server *net.TCPConn) {
	require.NoError(c, client.SetWriteDeadline(time.Now().Add(50*time.Millisecond)))
	_, err := io.Copy(client, zeros{})
	require.ErrorIs(c, err, os.ErrDeadlineExceeded)
	_, err = io.ReadFull(server, make([]byte, 10))
	require.NoError(c, err)
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

// has tells whether a socket is one of the cast.
func (c *cast) has(p pair) bool { return c.ports[p[0].Port()] || c.ports[p[1].Port()] }

// onlyOf leaves the sockets of the cast.
func (c *cast) onlyOf(all map[pair]tcp.Socket) map[pair]tcp.Socket {
	maps.DeleteFunc(all, func(p pair, _ tcp.Socket) bool { return !c.has(p) })
	return all
}

// clocks are the values that move by themselves.
var clocks = map[string]bool{
	"SinceDataSent": true, "SinceDataReceived": true, "SinceACKReceived": true,
	// Of what cannot be sent; and the window is probed.
	"BusyTime": true, "ReceiveWindowLimited": true, "SendBufferLimited": true,
}

// difference says in which field two samples differ, the second of which was
// taken at most so much later.
func difference(a, b tcp.Socket, later time.Duration) error {
	va, vb := reflect.ValueOf(a), reflect.ValueOf(b)
	for i := range va.NumField() {
		name := va.Type().Field(i).Name
		if name == "Role" {
			continue // sock_diag does not show it
		}
		x, y := va.Field(i).Interface(), vb.Field(i).Interface()
		if clocks[name] {
			if grew := y.(time.Duration) - x.(time.Duration); grew < 0 || grew > later {
				return fmt.Errorf("%s: %v, and %v later: %v", name, x, later, y)
			}
		} else if x != y {
			return fmt.Errorf("%s: %v and %v", name, x, y)
		}
	}
	return nil
}

func TestTheSameAsSockDiag(t *testing.T) {
	ours := opened(t)
	theirs, err := sockdiag.Open(bg)
	require.NoError(t, err)
	defer func() { assert.NoError(t, theirs.Close()) }()
	c := play(t)

	// What waits for a late acknowledgement, or to be retransmitted, may move
	// between two dumps: that is no difference if it is none at another time.
	var differs error
	for range 20 {
		time.Sleep(100 * time.Millisecond)
		began := time.Now()
		first := c.onlyOf(sockets(t, ours))
		second := c.onlyOf(sockets(t, theirs))
		later := time.Since(began) + 2*ours.dec.jiffy
		require.Greater(t, len(first), 10)
		differs = nil
		states := make(map[tcp.State]int)
		for p, a := range first {
			states[a.State]++
			b, ok := second[p]
			if !ok {
				differs = errors.Join(differs, fmt.Errorf("%v: not in sock_diag", p))
			} else if err := difference(a, b, later); err != nil {
				differs = errors.Join(differs, fmt.Errorf("%v %v: %w", a.State, p, err))
			}
		}
		for p, b := range second {
			if _, ok := first[p]; !ok {
				differs = errors.Join(differs, fmt.Errorf("%v %v: only in sock_diag", b.State, p))
			}
		}
		for _, state := range []tcp.State{tcp.Listen, tcp.Established, tcp.CloseWait, tcp.FinWait2, tcp.TimeWait, tcp.SynReceived} {
			assert.Positive(t, states[state], state)
		}
		if differs == nil {
			return
		}
	}
	assert.NoError(t, differs)
}

// ssNames are the fields that ss shows as key:value or "key value", by our own
// names, with what ss's unit is.
var ssNames = map[string]struct {
	field tcp.Field
	value func(*tcp.Socket) float64
}{
	"cwnd":           {tcp.FieldCongestionWindow, func(s *tcp.Socket) float64 { return float64(s.CongestionWindow / uint64(s.SendMSS)) }},
	"ssthresh":       {tcp.FieldSlowStartThreshold, func(s *tcp.Socket) float64 { return float64(s.SlowStartThreshold / uint64(s.SendMSS)) }},
	"mss":            {tcp.FieldSendMSS, func(s *tcp.Socket) float64 { return float64(s.SendMSS) }},
	"rcvmss":         {tcp.FieldReceiveMSS, func(s *tcp.Socket) float64 { return float64(s.ReceiveMSS) }},
	"rto":            {tcp.FieldRTO, func(s *tcp.Socket) float64 { return float64(s.RTO) / 1e6 }},
	"rtt":            {tcp.FieldSmoothedRTT, func(s *tcp.Socket) float64 { return float64(s.SmoothedRTT) / 1e6 }},
	"minrtt":         {tcp.FieldMinRTT, func(s *tcp.Socket) float64 { return float64(s.MinRTT) / 1e6 }},
	"bytes_sent":     {tcp.FieldBytesSent, func(s *tcp.Socket) float64 { return float64(s.BytesSent) }},
	"bytes_retrans":  {tcp.FieldBytesRetransmitted, func(s *tcp.Socket) float64 { return float64(s.BytesRetransmitted) }},
	"segs_out":       {tcp.FieldSegmentsSent, func(s *tcp.Socket) float64 { return float64(s.SegmentsSent) }},
	"segs_in":        {tcp.FieldSegmentsReceived, func(s *tcp.Socket) float64 { return float64(s.SegmentsReceived) }},
	"notsent":        {tcp.FieldUnsent, func(s *tcp.Socket) float64 { return float64(s.Unsent) }},
	"snd_wnd":        {tcp.FieldSendWindow, func(s *tcp.Socket) float64 { return float64(s.SendWindow) }},
	"bytes_acked":    {tcp.FieldBytesAcked, func(s *tcp.Socket) float64 { return float64(s.BytesAcked) + one(s.State.OwnFinAcked()) }},
	"bytes_received": {tcp.FieldBytesReceived, func(s *tcp.Socket) float64 { return float64(s.BytesReceived) + one(s.State.PeerFinReceived()) }},
	"delivery_rate":  {tcp.FieldDeliveryRate, func(s *tcp.Socket) float64 { return 8 * float64(s.DeliveryRate) }},
	"pacing_rate":    {tcp.FieldPacingRate, func(s *tcp.Socket) float64 { return 8 * float64(s.PacingRate) }},
	"ino":            {tcp.NumFields, func(s *tcp.Socket) float64 { return float64(s.Inode) }},
	"uid":            {tcp.NumFields, func(s *tcp.Socket) float64 { return float64(s.UID) }},
	"rcv_ooopack":    {tcp.FieldOutOfOrder, func(s *tcp.Socket) float64 { return float64(s.OutOfOrder) }},
	"delivered_ce":   {tcp.FieldDeliveredCE, func(s *tcp.Socket) float64 { return float64(s.DeliveredCE) }},
	"dsack_dups":     {tcp.FieldSpuriousRetransmits, func(s *tcp.Socket) float64 { return float64(s.SpuriousRetransmits) }},
	"lost":           {tcp.FieldLost, func(s *tcp.Socket) float64 { return float64(s.Lost) }},
}

func one(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// TestTheSameAsSS has ss as a referee that shares no code with either source.
func TestTheSameAsSS(t *testing.T) {
	if _, err := exec.LookPath("ss"); err != nil {
		t.Skipf("no ss to compare with (apt install iproute2): %v", err)
	}
	s := opened(t)
	c := play(t)
	var differs error
	for range 20 {
		time.Sleep(100 * time.Millisecond)
		ours := c.onlyOf(sockets(t, s))
		out, err := exec.Command("ss", "-atineOH").Output()
		require.NoError(t, err)
		differs = nil
		compared := make(map[string]int)
		for line := range strings.Lines(string(out)) {
			words := strings.Fields(line)
			p := pair{ssEndpoint(t, words[3]), ssEndpoint(t, words[4])}
			if !c.has(p) {
				continue
			}
			sock, ok := ours[p]
			if !ok {
				differs = errors.Join(differs, fmt.Errorf("%v: not shown", p))
				continue
			}
			differs = errors.Join(differs, c.compareSS(&sock, words, compared))
			delete(ours, p)
		}
		for p := range ours {
			differs = errors.Join(differs, fmt.Errorf("%v: not in ss", p))
		}
		for _, name := range []string{"queues", "cookie", "ino", "cwnd", "rtt", "rto", "mss", "bytes_sent", "bytes_acked", "bytes_received", "segs_in", "segs_out", "minrtt", "snd_wnd", "notsent", "pacing_rate", "delivery_rate"} {
			assert.Positive(t, compared[name], "%s was never compared", name)
		}
		if differs == nil {
			return
		}
	}
	assert.NoError(t, differs)
}

func (c *cast) compareSS(s *tcp.Socket, words []string, compared map[string]int) (differs error) {
	differ := func(name string, ours, theirs any) {
		differs = errors.Join(differs, fmt.Errorf("%v %v %v: %s: %v, of ss %v", s.State, s.Local, s.Peer, name, ours, theirs))
	}
	queues := fmt.Sprintf("%d %d", s.ReceiveBufferUsage, s.SendBufferUsage)
	if s.State == tcp.Listen {
		// ss shows the kernel's number, which one more connection than that passes.
		queues = fmt.Sprintf("%d %d", s.QueueLength, s.QueueLimit-1)
	}
	compared["queues"]++
	if theirs := words[1] + " " + words[2]; theirs != queues && !s.State.PeerFinReceived() {
		differ("queues", queues, theirs)
	}
	for i, word := range words[5:] {
		name, value, ok := strings.Cut(word, ":")
		if !ok && 5+i+1 < len(words) {
			name, value = word, words[5+i+1]
		}
		if name == "sk" {
			compared["cookie"]++
			if ours := fmt.Sprintf("%x", s.ID.Cookie); value != ours {
				differ("cookie", ours, value)
			}
			continue
		}
		of, ok := ssNames[name]
		if !ok || s.State == tcp.Listen && name != "ino" {
			continue // of a listener it shows what its children begin with
		}
		compared[name]++
		if of.field != tcp.NumFields && !s.Has(of.field) {
			differ(name, "none", value)
			continue
		}
		value, _, _ = strings.Cut(value, "/")
		theirs, err := strconv.ParseFloat(strings.TrimSuffix(value, "bps"), 64)
		if err != nil {
			differ(name, "a number", value)
		}
		if ours := of.value(s); ours != theirs {
			differ(name, ours, theirs)
		}
	}
	return differs
}

// ssEndpoint reads an endpoint as ss shows it: * for no port, [::] and
// [::ffff:127.0.0.1] for IPv6.
func ssEndpoint(t *testing.T, text string) netip.AddrPort {
	t.Helper()
	at := strings.LastIndexByte(text, ':')
	host, port := strings.Trim(text[:at], "[]"), strings.Replace(text[at+1:], "*", "0", 1)
	if host == "*" {
		host = "::"
	}
	host, _, _ = strings.Cut(host, "%")
	addr, err := netip.ParseAddr(host)
	require.NoError(t, err, text)
	number, err := strconv.ParseUint(port, 10, 16)
	require.NoError(t, err, text)
	return netip.AddrPortFrom(addr.Unmap(), uint16(number))
}
