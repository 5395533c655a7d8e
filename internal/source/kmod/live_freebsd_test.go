// SPDX-License-Identifier: Apache-2.0

package kmod

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/source/sysctl"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

func list(t *testing.T, s source.Source) (all map[tcp.Identity]tcp.Socket, embryos [][2]netip.AddrPort) {
	t.Helper()
	all = map[tcp.Identity]tcp.Socket{}
	require.NoError(t, s.Sockets(t.Context(), func(sock *tcp.Socket) error {
		switch {
		case sock.State == tcp.SynReceived: // of other identities in each source
			embryos = append(embryos, [2]netip.AddrPort{sock.Local, sock.Peer})
		case sock.State != tcp.TimeWait: // they go by themselves
			all[sock.ID] = *sock
		}
		return nil
	}))
	return all, embryos
}

// What both sources know they say alike, identities above all: a connection
// stays the same one when the module goes or comes.
func TestSourcesAgree(t *testing.T) {
	module(t)
	k, err := Factory().Open(t.Context())
	require.NoError(t, err)
	defer k.Close()
	s, err := sysctl.Factory().Open(t.Context())
	require.NoError(t, err)
	defer s.Close()

	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		c, server := pair(t, "tcp", address, nil)
		_, err := c.Write(make([]byte, 5000))
		require.NoError(t, err)
		require.NoError(t, server.CloseWrite())
	}
	l, err := net.Listen("tcp", "[::]:0")
	require.NoError(t, err)
	defer l.Close()
	if linkLocal, err := net.Listen("tcp", "[fe80::1%lo0]:0"); err == nil {
		defer linkLocal.Close()
	} else {
		t.Logf("without a link-local address: %v", err)
	}
	waiting, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer waiting.Close()
	time.Sleep(300 * time.Millisecond)

	// A handshake to which nobody answers stays in the syncache.
	embryos := halfOpen(t, l)

	theirs, theirEmbryos := list(t, s)
	ours, ourEmbryos := list(t, k)
	require.NotEmpty(t, ours)
	assert.Len(t, ourEmbryos, embryos)
	assert.Equal(t, theirEmbryos, ourEmbryos)
	assert.Len(t, ours, len(theirs))
	for id, their := range theirs {
		our, ok := ours[id]
		if !assert.True(t, ok, "%v %v %v", their.Local, their.Peer, their.State) {
			continue
		}
		// What sysctl knows, the module knows, too.
		assert.Zero(t, their.Fields&^our.Fields, "%v %v %v", their.Local, their.Peer, their.State)
		common := their
		common.Fields, common.SinceDataReceived = our.Fields, our.SinceDataReceived
		known := our
		for _, clear := range []func(*tcp.Socket){
			func(x *tcp.Socket) { x.SmoothedRTT, x.RTTVariation, x.MinRTT, x.RTO = 0, 0, 0, 0 },
			func(x *tcp.Socket) { x.BytesSent, x.BytesReceived, x.BytesAcked, x.BytesRetransmitted = 0, 0, 0, 0 },
			func(x *tcp.Socket) { x.SinceDataSent, x.Age, x.Unsent, x.PacingRate = 0, 0, 0, 0 },
			func(x *tcp.Socket) { x.DeliveredCE, x.ReceivedCE, x.Low32, x.PayloadOnly = 0, 0, 0, false },
		} {
			clear(&known)
		}
		assert.Equal(t, common, known)
	}

	counters, err := k.Counters(t.Context())
	require.NoError(t, err)
	_, ok := counters.Get(tcp.SegmentsReceived)
	assert.True(t, ok)
	states, err := k.(source.StateCounter).States(t.Context())
	require.NoError(t, err)
	assert.Positive(t, states[tcp.Listen])
}

// kldunload and kldload while the receiver runs.
func TestFallback(t *testing.T) {
	path := module(t)
	ctx, now := context.Background(), time.Now()
	core, logs := observer.New(zap.InfoLevel)
	selector := source.NewSelector([]source.Factory{Factory(), sysctl.Factory()}, source.Choice{Name: source.Auto}, zap.New(core), func(string, string) {})
	require.NoError(t, selector.Open(ctx, now))
	defer func() { require.NoError(t, selector.Close()) }()
	visit := func(*tcp.Socket) error { return nil }
	require.NoError(t, selector.Current().Sockets(ctx, visit))

	id, err := kldfind(path)
	require.NoError(t, err)
	require.NoError(t, kldunload(id, true))
	err = selector.Current().Sockets(ctx, visit)
	require.Error(t, err)
	require.True(t, selector.Failed(ctx, now, err))
	require.NoError(t, selector.Current().Sockets(ctx, visit))
	assert.False(t, selector.TryBetter(ctx, now.Add(time.Hour)), "it is not there yet")

	require.NoError(t, kldload(path))
	require.True(t, selector.TryBetter(ctx, now.Add(3*time.Hour)))
	require.NoError(t, selector.Current().Sockets(ctx, visit))
	selector.Succeeded()

	var lines []string
	for _, e := range logs.TakeAll() {
		lines = append(lines, e.Message)
		t.Log(e.Message, e.ContextMap())
	}
	assert.Equal(t, []string{
		"TCP sockets are read by kmod",
		"TCP sockets are read by sysctl now: kmod is lost",
		"TCP sockets are read by kmod again",
	}, lines)
}

// Without the module the error says what to do.
func TestWithoutTheModule(t *testing.T) {
	path := module(t)
	id, err := kldfind(path)
	require.NoError(t, err)
	require.NoError(t, kldunload(id, true))
	_, err = Factory().Open(t.Context())
	require.ErrorIs(t, err, os.ErrNotExist)
	assert.ErrorContains(t, err, "(kldload tcpstats)")
	require.NoError(t, kldload(path))
}

// halfOpen sends a listener a SYN from an address of an attached network at
// which nobody answers, and returns how many handshakes are under way then.
func halfOpen(t *testing.T, l net.Listener) int {
	t.Helper()
	var to, from netip.Addr
	addrs, err := net.InterfaceAddrs()
	require.NoError(t, err)
	for _, a := range addrs {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr().Is4() && !prefix.Addr().IsLoopback() {
			other := prefix.Addr().As4()
			other[3] ^= 3 // the other end, of a network of two
			to, from = prefix.Addr(), netip.AddrFrom4(other)
		}
	}
	if !to.IsValid() {
		t.Log("without handshakes: there is no network but loopback")
		return 0
	}
	raw, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)
	require.NoError(t, err)
	defer func() { require.NoError(t, unix.Close(raw)) }()
	require.NoError(t, unix.SetsockoptInt(raw, unix.IPPROTO_IP, unix.IP_HDRINCL, 1))

	packet := []byte{0x45, 0, 0, 40, 0, 0, 0, 0, 64, unix.IPPROTO_TCP, 0, 0} // RFC 791 §3.1
	packet = append(append(packet, from.AsSlice()...), to.AsSlice()...)
	packet = append(packet, 0x12, 0x34, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0) // RFC 9293 §3.1, SYN
	binary.BigEndian.PutUint16(packet[22:], uint16(l.Addr().(*net.TCPAddr).Port))
	sum := uint32(unix.IPPROTO_TCP + 20)
	for i := 12; i < len(packet); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(packet[i:]))
	}
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(packet[36:], ^uint16(sum+sum>>16))
	require.NoError(t, unix.Sendto(raw, packet, 0, &unix.SockaddrInet4{Addr: to.As4()}))
	require.Eventually(t, func() bool { return walkOnce(t).trailer.Syncache == 1 }, 3*time.Second, 20*time.Millisecond, "%v to %v", from, to)
	return 1
}
