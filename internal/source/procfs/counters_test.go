// SPDX-License-Identifier: Apache-2.0

package procfs

import (
	"context"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

func get(t *testing.T, counters tcp.Counters, c tcp.Counter) uint64 {
	v, ok := counters.Get(c)
	require.True(t, ok, "counter %d", c)
	return v
}

func has(counters tcp.Counters, c tcp.Counter) bool {
	_, ok := counters.Get(c)
	return ok
}

func TestCounters(t *testing.T) {
	counters, err := NewCounters("testdata/states").Read(context.Background())
	require.NoError(t, err)
	require.Equal(t, len(recipes), counters.Len())
	for c, want := range map[tcp.Counter]uint64{
		tcp.OpensClient:           29,
		tcp.OpensServer:           24,
		tcp.AttemptsFailed:        1,
		tcp.ConnectionResets:      2,
		tcp.SegmentsReceived:      175,
		tcp.SegmentsSent:          171 + 1,
		tcp.Retransmits:           1,
		tcp.ErrorsChecksum:        2,
		tcp.ErrorsHeader:          3 - 2,
		tcp.ResetsSent:            2,
		tcp.RetransmitsSYN:        1,
		tcp.AcceptQueueOverflows:  3,
		tcp.ListenDrops:           3,
		tcp.TimeoutsRetransmit:    2,
		tcp.WindowProbesSent:      16,
		tcp.DelayedACKs:           14,
		tcp.ZeroWindowsAdvertised: 8,
		tcp.SYNCookiesSent:        0,
		tcp.Orphans:               2,
		tcp.MemoryUsage:           223 * uint64(os.Getpagesize()),
	} {
		require.Equal(t, want, get(t, counters, c), "counter %d", c)
	}
}

// TestRecipes: each counter is either made of something or known not to be
// counted by Linux, and the names are those of this machine's kernel.
func TestRecipes(t *testing.T) {
	seen := map[tcp.Counter]bool{
		tcp.TimeoutsPersist:      true,
		tcp.TimeoutsKeepalive:    true,
		tcp.WindowProbesReceived: true,
		tcp.DuplicateACKs:        true,
		tcp.ECNCEReceived:        true,
		tcp.FinWait2Drops:        true,
		tcp.EphemeralPortFirst:   true, // from another file
		tcp.EphemeralPortLimit:   true,
		tcp.EphemeralPortUsage:   true,
	}
	text := [numFiles]string{string(readFixture(t, "snmp")), string(readFixture(t, "netstat")), string(readFixture(t, "sockstat"))}
	for _, r := range recipes {
		require.False(t, seen[r.counter], "counter %d twice", r.counter)
		seen[r.counter] = true
		require.NotEmpty(t, r.add)
		for _, name := range append(r.sub, r.add...) {
			require.Contains(t, text[r.file], " "+name+" ")
		}
	}
	require.Len(t, seen, int(tcp.NumCounters))
}

// snmpText has the numbers of recipes with more than one part, in the order of
// an old kernel's file, which ends with OutRsts where there is no inCsum.
func snmpText(outSegs, retransSegs, inErrs, inCsum uint64) string {
	return fmt.Sprintf("Tcp: MaxConn OutSegs RetransSegs InErrs OutRsts InCsumErrors\nTcp: -1 %d %d %d 0 %d\n", outSegs, retransSegs, inErrs, inCsum)
}

func TestCountersMissing(t *testing.T) {
	const netstat, sockstat = "TcpExt: PAWSActive ListenDrops\nTcpExt: 3 4\n", "TCP: inuse 28 orphan 2\n"
	for _, test := range []struct {
		name  string
		files map[string]string
		has   []tcp.Counter
		errs  []string
	}{
		{
			name: "older kernel",
			files: map[string]string{
				"snmp":    "Tcp: MaxConn OutSegs RetransSegs InErrs OutRsts\nTcp: -1 1 2 3 4\n",
				"netstat": netstat, "sockstat": sockstat,
			},
			has: []tcp.Counter{tcp.SegmentsSent, tcp.Retransmits, tcp.ResetsSent, tcp.ListenDrops, tcp.Orphans},
		},
		{
			name:  "no snmp, no sockstat",
			files: map[string]string{"netstat": netstat},
			has:   []tcp.Counter{tcp.ListenDrops},
			errs:  []string{"%s/snmp: ", "%s/sockstat: "},
		},
		{
			name:  "no line of TCP",
			files: map[string]string{"snmp": "Udp: A\nUdp: 1\n", "netstat": "IpExt: A\nIpExt: 1\n", "sockstat": "UDP: inuse 1\n"},
			errs:  []string{`%s/snmp: no line begins with "Tcp:"`, `%s/netstat: no line begins with "TcpExt:"`, `%s/sockstat: no line begins with "TCP:"`},
		},
		{
			name:  "numbers that are none",
			files: map[string]string{"snmp": "Tcp: OutSegs RetransSegs InErrs InCsumErrors OutRsts\nTcp: 1 x 3 -1 18446744073709551615\n", "netstat": netstat, "sockstat": "TCP: orphan 18446744073709551616 mem 1\n"},
			has:   []tcp.Counter{tcp.ResetsSent, tcp.ListenDrops, tcp.MemoryUsage},
			errs:  []string{`RetransSegs is "x", not a number`, `InCsumErrors is "-1", not a number`, `orphan is "18446744073709551616", not a number`},
		},
		{
			name:  "huge",
			files: map[string]string{"snmp": "Tcp: OutRsts\nTcp: 1\n" + strings.Repeat("x", maxFileSize), "netstat": strings.Repeat("x", maxFileSize/2) + "\n" + netstat, "sockstat": sockstat},
			has:   []tcp.Counter{tcp.ListenDrops, tcp.Orphans},
			errs:  []string{"%s/snmp: longer than 262144 bytes"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := writeDir(t, test.files)
			r := NewCounters(dir)
			counters, err := r.Read(context.Background())
			if test.errs == nil {
				require.NoError(t, err)
			}
			for _, want := range test.errs {
				require.ErrorContains(t, err, strings.ReplaceAll(want, "%s", dir))
			}
			require.Equal(t, len(test.has), counters.Len())
			for _, c := range test.has {
				require.True(t, has(counters, c), "counter %d", c)
			}

			// What was there once is not told again after its file is gone.
			for name := range test.files {
				require.NoError(t, os.Remove(filepath.Join(dir, name)))
			}
			counters, err = r.Read(context.Background())
			require.ErrorIs(t, err, fs.ErrNotExist)
			require.Zero(t, counters.Len())
		})
	}
}

func TestCountersHonourContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	counters, err := NewCounters("testdata/states").Read(ctx)
	require.ErrorIs(t, err, context.Canceled)
	require.Zero(t, counters.Len())
}

// TestCountersNeverFall reads one after the other what a kernel may show.
func TestCountersNeverFall(t *testing.T) {
	const wide = 1 << 32
	dir := t.TempDir()
	r := NewCounters(dir)
	for i, step := range []struct{ outSegs, retransSegs, inErrs, inCsum, wantSent, wantRetransmits, wantHeader uint64 }{
		{wide - 10, 5, 10, 3, wide - 5, 5, 7},
		{wide - 9, 5, 10, 4, wide - 4, 5, 7}, // counted between the reads of the two
		{wide - 9, 5, 2, 4, wide - 4, 5, 7},  // less than nothing
		{wide - 9, wide - 1, 12, 4, 2*wide - 10, wide - 1, 8},
		{3, wide - 1, 12, 4, 2*wide + 2, wide - 1, 8}, // a host with counters of 32 bits
		{4, 6, 12, 4, 2*wide + 10, wide + 6, 8},
		{5, wide - 1, 13, 4, 3*wide + 4, 2*wide - 1, 9},
		{5, 0, 13, 4, 3*wide + 5, 2 * wide, 9},
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "snmp"), []byte(snmpText(step.outSegs, step.retransSegs, step.inErrs, step.inCsum)), 0o600))
		counters, err := r.Read(context.Background())
		require.Error(t, err, "netstat and sockstat are not there")
		require.Equal(t, step.wantSent, get(t, counters, tcp.SegmentsSent), "step %d", i)
		require.Equal(t, step.wantRetransmits, get(t, counters, tcp.Retransmits), "step %d", i)
		require.Equal(t, step.wantHeader, get(t, counters, tcp.ErrorsHeader), "step %d", i)
	}
}

func TestNumber(t *testing.T) {
	for _, test := range []struct {
		name          string
		first, second uint64
		grows         bool
		want          uint64
	}{
		{"grows", 1, 2, true, 2},
		{"stays", 2, 2, true, 2},
		{"wraps", math.MaxUint32, 0, true, 1 << 32},
		{"64 bits wide", math.MaxUint32, 1 << 32, true, 1 << 32},
		{"falls from more than 32 bits", 1 << 32, 0, true, 0},
		{"falls by little", 1000, 1, true, 1},
		{"is of the moment", math.MaxUint32, 0, false, 0},
	} {
		var n number
		n.set(test.first, test.grows)
		n.set(test.second, test.grows)
		require.Equal(t, test.want, n.wrapped+n.raw, test.name)
	}
}

func TestCountersAllocateLittle(t *testing.T) {
	r := NewCounters("testdata/states")
	allocs := testing.AllocsPerRun(100, func() {
		if _, err := r.Read(context.Background()); err != nil {
			t.Error(err)
		}
	})
	require.LessOrEqual(t, allocs, 20.0)
}

func BenchmarkCounters(b *testing.B) {
	r := NewCounters("testdata/states")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Read(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}
