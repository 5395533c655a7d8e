// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64 || loong64 || ppc64le || riscv64)

package bpf

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/source/sockdiag"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// BenchmarkFew compares the two dumps as sockets grow from none, by the CPU time of
// the thread, in microseconds: medians of rounds in turns.
func BenchmarkFew(b *testing.B) {
	s := opened(b)
	plain, err := sockdiag.Open(bg)
	require.NoError(b, err)
	defer func() { require.NoError(b, plain.Close()) }()
	m := mixedOf(b, openedBy(b, s.iterator))
	closesOf(b, m)
	l := listenPlain(b)
	held := 0
	nothing := func(*tcp.Socket) error { return nil }
	for _, n := range []int{0, 500, 1000, 2000, 4000, 6000, 8000, 12000, 19000} {
		for ; held < n; held += 2 {
			client, server := dial(b, l)
			require.NoError(b, client.SetLinger(0))
			require.NoError(b, server.SetLinger(0))
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			time.Sleep(300 * time.Millisecond)
			const rounds = 25
			var took [4][]float64
			for b.Loop() {
				for range rounds {
					took[0] = append(took[0], threadTime(b, func() error { return m.Sockets(bg, nothing) }))
					took[1] = append(took[1], threadTime(b, func() error { return s.Sockets(bg, nothing) }))
					took[2] = append(took[2], threadTime(b, func() error { _, err := s.Moved(bg, nothing); return err }))
					took[3] = append(took[3], threadTime(b, func() error { return plain.Sockets(bg, nothing) }))
				}
			}
			for i, name := range []string{"sock_diag-us", "iterator-us", "moved-us", "plain-us"} {
				slices.Sort(took[i])
				b.ReportMetric(took[i][len(took[i])/2], name)
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// threadTime returns the CPU time of f in microseconds.
func threadTime(b *testing.B, f func() error) float64 {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, after unix.Timespec
	require.NoError(b, unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &before))
	err := f()
	require.NoError(b, unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &after))
	require.NoError(b, err)
	return float64(after.Nano()-before.Nano()) / 1e3
}
