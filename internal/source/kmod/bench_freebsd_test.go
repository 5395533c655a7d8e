// SPDX-License-Identifier: Apache-2.0

package kmod

import (
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/mib"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// benchSockets is how many sockets there are while a walk is timed.
func benchSockets(b *testing.B) int {
	b.Helper()
	n, err := strconv.Atoi(os.Getenv("TCPSTATS_SOCKETS"))
	if err != nil {
		n = 2000
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	b.Cleanup(func() { _ = l.Close() })
	accepted := make(chan net.Conn, n)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	for range n / 2 {
		c, err := net.Dial("tcp", l.Addr().String())
		require.NoError(b, err)
		s := <-accepted
		b.Cleanup(func() { _ = c.Close(); _ = s.Close() })
	}
	return n
}

// openWithheld opens the device as a user who may see no connection of ours.
func openWithheld(b *testing.B) *os.File {
	b.Helper()
	setSysctl(b, "security.bsd.see_other_uids", 0)
	require.NoError(b, os.Chmod(Device, 0o444))
	defer func() { require.NoError(b, os.Chmod(Device, 0o440)) }()
	require.NoError(b, syscall.Seteuid(65534))
	defer func() { require.NoError(b, syscall.Seteuid(0)) }()
	return openDevice(b)
}

// readWalk has the kernel walk, and reads it all.
func readWalk(f *os.File, buf []byte) error {
	_, err := f.Seek(0, io.SeekStart)
	for err == nil {
		_, err = f.Read(buf)
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// BenchmarkWalk times the module against net.inet.tcp.pcblist, which tells less
// of each socket, over the same sockets, in turns: what else the machine does
// then hits both. All buffers are there before.
func BenchmarkWalk(b *testing.B) {
	module(b)
	n := float64(benchSockets(b))
	f, withheld := openDevice(b), openWithheld(b)
	buf := make([]byte, bufferLen)
	pcblist, err := mib.New("net.inet.tcp.pcblist")
	require.NoError(b, err)
	s, err := Open(b.Context(), Device, anyHost{})
	require.NoError(b, err)
	defer s.Close()
	visit := func(*tcp.Socket) error { return nil }

	ways := []struct {
		name  string
		work  func() error
		spent []time.Duration
	}{
		{name: "kmod", work: func() error { return readWalk(f, buf) }},
		{name: "pcblist", work: func() error { _, err := pcblist.Read(b.Context()); return err }},
		{name: "kmod-decoded", work: func() error { return s.Sockets(b.Context(), visit) }},
		// A walk that looks at each connection and writes none.
		{name: "kmod-withheld", work: func() error { return readWalk(withheld, buf) }},
	}
	for b.Loop() {
		for i := range ways {
			began := time.Now()
			if err := ways[i].work(); err != nil {
				b.Fatal(err)
			}
			ways[i].spent = append(ways[i].spent, time.Since(began))
		}
	}
	median := func(i int) float64 {
		slices.Sort(ways[i].spent)
		return float64(ways[i].spent[len(ways[i].spent)/2])
	}
	for i, way := range ways {
		b.ReportMetric(median(i)/n, way.name+"-ns/socket")
	}
	b.ReportMetric(median(0)/median(1), "kmod/pcblist")
	b.ReportMetric(median(3)/median(1), "kmod-withheld/pcblist")
}
