// SPDX-License-Identifier: Apache-2.0

package process

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// sockets is how many a benchmark's child holds, as far as RLIMIT_NOFILE goes.
const sockets = 10_000

// startHolder runs a child with many sockets and returns their owners' inodes.
func startHolder(b *testing.B) []uint64 {
	b.Helper()
	n := sockets
	var limit unix.Rlimit
	require.NoError(b, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	if limit.Max < uint64(n)+100 {
		n = int(limit.Max) - 100
		b.Logf("only %d sockets: the limit of descriptors is %d", n, limit.Max)
	}
	c := startChild(b, fmt.Sprintf("sockets %d", n), nil)
	c.ready()
	var inodes []uint64
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", c.pid()))
	require.NoError(b, err)
	for _, link := range links {
		target, err := os.Readlink(link)
		require.NoError(b, err)
		if inode, ok := parseSocketLink([]byte(target)); ok {
			inodes = append(inodes, inode)
		}
	}
	require.Len(b, inodes, n)
	return inodes
}

// cpu is the time that this process has used.
func cpu(b *testing.B) time.Duration {
	var usage unix.Rusage
	require.NoError(b, unix.Getrusage(unix.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// readAll is the walk as it would be without this package.
func readAll(b *testing.B, claims map[uint64]int) (descriptors, found int) {
	processes, err := os.ReadDir("/proc")
	require.NoError(b, err)
	for _, process := range processes {
		if _, ok := parseID(append([]byte(process.Name()), 0)); !ok {
			continue
		}
		dir := filepath.Join("/proc", process.Name(), "fd")
		fds, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, fd := range fds {
			descriptors++
			target, err := os.Readlink(filepath.Join(dir, fd.Name()))
			if err != nil {
				continue
			}
			if inode, ok := parseSocketLink([]byte(target)); ok {
				if _, ok := claims[inode]; ok {
					found++
				}
			}
		}
	}
	return descriptors, found
}

// whole makes the claims of a whole walk: the given sockets and one that is
// nowhere.
func whole(inodes []uint64) (lost *question, claims []Claim) {
	q, claims := ask(append(inodes, 1)...)
	return q[len(q)-1], claims
}

// BenchmarkWalk reads all descriptors of the host. cpu-ns/fd is this process's
// time, user and system, for each.
func BenchmarkWalk(b *testing.B) {
	inodes := startHolder(b)
	lost, claims := whole(inodes)
	r := open(b, Options{})
	walk := func() (descriptors int) {
		lost.owner = Owner{}
		stats, err := r.Resolve(bg, time.Now(), nil, claims)
		require.NoError(b, err)
		require.True(b, stats.Walked)
		return stats.Descriptors
	}
	byInode := make(map[uint64]int)
	for i, inode := range inodes {
		byInode[inode] = i
	}
	perDescriptor := func(b *testing.B, f func() int) {
		b.ReportAllocs()
		f()
		began, descriptors := cpu(b), 0
		for b.Loop() {
			descriptors += f()
		}
		b.ReportMetric(float64(cpu(b)-began)/float64(descriptors), "cpu-ns/fd")
		b.ReportMetric(float64(descriptors)/float64(b.N), "fds")
	}
	b.Run("resolver", func(b *testing.B) { perDescriptor(b, walk) })
	b.Run("os", func(b *testing.B) {
		perDescriptor(b, func() int { n, _ := readAll(b, byInode); return n })
	})
	// In turns, because a host's pace changes.
	b.Run("ratio", func(b *testing.B) {
		var ours, theirs time.Duration
		for b.Loop() {
			a := cpu(b)
			walk()
			c := cpu(b)
			_, found := readAll(b, byInode)
			ours, theirs = ours+c-a, theirs+cpu(b)-c
			require.Equal(b, len(inodes), found)
		}
		b.ReportMetric(float64(ours)/float64(theirs), "of-os")
	})
}

// BenchmarkProbe is one percent of the sockets replaced, each in its place.
func BenchmarkProbe(b *testing.B) {
	inodes := startHolder(b)
	q, claims := ask(inodes...)
	r := open(b, Options{})
	_, err := r.Resolve(bg, time.Now(), nil, claims)
	require.NoError(b, err)
	claims = claims[:len(claims)/100]
	vanished := make([]Owner, len(claims))
	for i := range vanished {
		vanished[i] = q[i].owner
	}
	b.ReportAllocs()
	began := cpu(b)
	for b.Loop() {
		stats, err := r.Resolve(bg, time.Now(), vanished, claims)
		require.NoError(b, err)
		require.Equal(b, len(claims), stats.ProbeHits)
	}
	b.ReportMetric(float64(cpu(b)-began)/float64(b.N)/float64(len(vanished)), "cpu-ns/fd")
}

// BenchmarkStale checks one known process.
func BenchmarkStale(b *testing.B) {
	inodes := startHolder(b)
	_, claims := ask(inodes[0])
	r := open(b, Options{})
	_, err := r.Resolve(bg, time.Now(), nil, claims)
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		stale, err := r.Stale(bg, time.Now())
		require.NoError(b, err)
		require.Empty(b, stale)
	}
}

func BenchmarkParseSocketLink(b *testing.B) {
	target := []byte("socket:[123456789]")
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := parseSocketLink(target); !ok {
			b.Fatal("not parsed")
		}
	}
}

func BenchmarkNextEntry(b *testing.B) {
	var buf []byte
	for fd := range 1000 {
		buf = append(buf, dirent(fmt.Sprint(fd))...)
	}
	b.ReportAllocs()
	for b.Loop() {
		for rest := buf; len(rest) > 0; {
			var name []byte
			var err error
			if name, _, rest, err = nextEntry(rest); err != nil {
				b.Fatal(err)
			}
			if _, ok := parseID(name); !ok {
				b.Fatal("not parsed")
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/fd")
}
