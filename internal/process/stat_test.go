// SPDX-License-Identifier: Apache-2.0

package process

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fixture is a file as Linux 6.18 gave it, but for proc_stat, which is without
// its intr line, cgroup_hybrid, which has another path, and cgroup_v1_docker,
// which is written by hand.
func fixture(tb testing.TB, name string) []byte {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(tb, err)
	return b
}

func comm(name string) (c [16]byte) {
	copy(c[:], name)
	return c
}

func TestParseStat(t *testing.T) {
	for _, test := range []struct {
		file   string
		want   procStamp
		hollow bool
	}{
		{"stat_kthread", procStamp{start: 24, comm: comm("kthreadd"), kernel: true}, true},
		{"stat_hostile_comm", procStamp{start: 342056, parent: 10162, comm: comm(") R 1 (\n x)"), code: 94001128869888, stack: 140723996511808}, false},
		{"stat_zombie", procStamp{start: 342119, parent: 10308, comm: comm("python3")}, true},
	} {
		got, hollow, err := parseStat(fixture(t, test.file))
		require.NoError(t, err, test.file)
		assert.Equal(t, test.want, got, test.file)
		assert.Equal(t, test.hollow, hollow, test.file)
	}
}

func TestParseStatOfEndedFirstThread(t *testing.T) {
	stat := string(fixture(t, "stat_zombie"))
	const threads = " 20 0 1 0 "
	require.Contains(t, stat, threads)
	s, hollow, err := parseStat([]byte(strings.Replace(stat, threads, " 20 0 7 0 ", 1)))
	require.NoError(t, err)
	assert.False(t, hollow, "its other threads go on")
	assert.True(t, s.headless)
}

func TestParseStatRefuses(t *testing.T) {
	whole := string(fixture(t, "stat_bash"))
	fields := strings.Fields(whole)
	for name, stat := range map[string]string{
		"nothing":          "",
		"no comm":          "1 bash S 0",
		"comm unclosed":    "1 (bash S 0",
		"comm backwards":   "1 )bash( S 0",
		"ends in comm":     "1 (bash)",
		"cut before stack": strings.Join(fields[:27], " "),
		"negative parent":  strings.Replace(whole, ") S ", ") S -", 1),
		"no blank":         strings.Replace(whole, ") S ", ")S ", 1),
		"two blanks":       strings.Replace(whole, ") S ", ") S  ", 1),
	} {
		_, _, err := parseStat([]byte(stat))
		assert.ErrorIs(t, err, errStat, name)
	}
}

func TestCreated(t *testing.T) {
	boot := time.Unix(1795247699, 0).UTC()
	s := procStamp{start: 342056}
	assert.Equal(t, boot.Add(3420*time.Second+560*time.Millisecond), s.created(boot))
	s.start = 1<<64 - 1
	assert.True(t, s.created(boot).After(boot), "no overflow")
}

func TestParseBootTime(t *testing.T) {
	boot, err := parseBootTime(fixture(t, "proc_stat"))
	require.NoError(t, err)
	assert.Equal(t, time.Unix(1795247699, 0).UTC(), boot)
	for _, stat := range []string{"", "cpu 1 2 3\n", "btime\n", "btime x\n", "btime -1\n", "btime 18446744073709551615\n"} {
		_, err := parseBootTime([]byte(stat))
		assert.ErrorIs(t, err, errBootTime, stat)
	}
}

func FuzzParseStat(f *testing.F) {
	for _, file := range []string{"stat_bash", "stat_kthread", "stat_hostile_comm", "stat_zombie"} {
		f.Add(fixture(f, file))
	}
	f.Add([]byte("1 () S"))
	f.Fuzz(func(t *testing.T, stat []byte) {
		s, hollow, err := parseStat(stat)
		if err != nil {
			require.Zero(t, s)
			require.False(t, hollow)
			return
		}
		require.GreaterOrEqual(t, s.parent, int32(0))
		require.True(t, utf8.ValidString(s.name()))
		boot := time.Unix(1795247699, 0)
		require.False(t, s.created(boot).Before(boot))
	})
}

func FuzzParseBootTime(f *testing.F) {
	f.Add(fixture(f, "proc_stat"))
	f.Add([]byte("btime 1099511627777"))
	f.Fuzz(func(t *testing.T, stat []byte) {
		boot, err := parseBootTime(stat)
		require.True(t, err != nil || !boot.Before(time.Unix(0, 0)))
	})
}
