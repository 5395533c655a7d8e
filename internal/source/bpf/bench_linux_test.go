// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64 || loong64 || ppc64le || riscv64)

package bpf

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// BenchmarkSockets dumps connections on loopback; ns/socket is what it says.
func BenchmarkSockets(b *testing.B) {
	s := opened(b)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	for range 4000 {
		dial(b, l)
	}
	require.NoError(b, l.Close())
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		require.NoError(b, s.Sockets(bg, func(*tcp.Socket) error { n++; return nil }))
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/socket")
}

// BenchmarkOpen loads the programs of a source.
func BenchmarkOpen(b *testing.B) {
	opened(b)
	for b.Loop() {
		s, err := Factory().Open(bg)
		require.NoError(b, err)
		require.NoError(b, s.Close())
	}
}
