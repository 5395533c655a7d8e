// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64 || loong64 || ppc64le || riscv64)

package bpf

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func openedHolders(t testing.TB) *Holders {
	t.Helper()
	h, err := OpenHolders()
	skipWithout(t, err)
	require.NoError(t, err)
	return h
}

// The iterator and the walk over /proc give the same owners, down to the
// descriptor.
func TestTheSameHoldersAsProc(t *testing.T) {
	s := opened(t)
	c := play(t)
	type answer struct {
		pid, fd int32
		reason  process.Reason
	}
	// All sockets of the host are asked for, but only ours stay as they are.
	ask := func(h process.Holders) (map[pair]answer, process.Stats) {
		r, err := process.NewResolver(process.Options{Holders: h})
		require.NoError(t, err)
		defer func() { assert.NoError(t, r.Close()) }()
		all := sockets(t, s)
		owners := make(map[pair]*process.Owner)
		reasons := make(map[pair]*process.Reason)
		var claims []process.Claim
		for p, sock := range all {
			owners[p], reasons[p] = new(process.Owner), new(process.Reason)
			claims = append(claims, process.Claim{Inode: sock.Inode, Owner: owners[p], Reason: reasons[p]})
		}
		stats, err := r.Resolve(bg, time.Now(), nil, claims)
		require.NoError(t, err)
		answers := make(map[pair]answer)
		for p := range c.onlyOf(all) {
			a := answer{reason: *reasons[p]}
			if owner := owners[p]; owner.Process != nil {
				a.pid, a.fd = owner.Process.PID, owner.FD
			}
			answers[p] = a
		}
		return answers, stats
	}
	theirs, _ := ask(nil)
	ours, stats := ask(openedHolders(t))
	assert.Len(t, ours, len(theirs))
	for p, a := range theirs {
		assert.Equal(t, a, ours[p], p)
	}
	assert.True(t, stats.Walked)
	assert.Positive(t, stats.Processes)
	assert.Positive(t, stats.Descriptors)
	assert.Zero(t, stats.Denied)
	mine := 0
	for _, a := range ours {
		if a.pid == int32(os.Getpid()) {
			mine++
		}
	}
	assert.Greater(t, mine, 10)
}

func TestListingAllocatesNothingPerDescriptor(t *testing.T) {
	h := openedHolders(t)
	defer func() { assert.NoError(t, h.Close()) }()
	play(t)
	n := 0
	visit := func(_, _ int32, _ uint64) error { n++; return nil }
	allocs := testing.AllocsPerRun(5, func() { assert.NoError(t, h.Each(bg, visit)) })
	assert.Less(t, allocs, 10.0)
	assert.Greater(t, n, 6*20)
}

func TestVisitorsOfHoldersThatStop(t *testing.T) {
	h := openedHolders(t)
	defer func() { assert.NoError(t, h.Close()) }()
	play(t)
	stop := errors.New("stop")
	assert.Equal(t, stop, h.Each(bg, func(_, _ int32, _ uint64) error { return stop }))
}

// BenchmarkHolders lists the descriptors of the host.
func BenchmarkHolders(b *testing.B) {
	h := openedHolders(b)
	defer func() { assert.NoError(b, h.Close()) }()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	for range 4000 {
		dial(b, l)
	}
	require.NoError(b, l.Close())
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		require.NoError(b, h.Each(bg, func(_, _ int32, _ uint64) error { n++; return nil }))
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/socket")
}
