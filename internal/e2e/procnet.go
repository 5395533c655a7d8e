// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// procNet reads the TCP counters in /proc/net/snmp and netstat, by the kernel's
// names.
func procNet(t *testing.T) map[string]float64 {
	t.Helper()
	counters := make(map[string]float64)
	for file, prefix := range map[string]string{"snmp": "Tcp:", "netstat": "TcpExt:"} {
		text, err := os.ReadFile("/proc/net/" + file)
		require.NoError(t, err)
		var names []string
		for line := range strings.Lines(string(text)) {
			words := strings.Fields(line)
			switch {
			case words[0] != prefix:
			case names == nil:
				names = words
			default:
				for i, word := range words[1:] {
					n, err := strconv.ParseFloat(word, 64)
					require.NoError(t, err)
					counters[names[i+1]] = n
				}
			}
		}
	}
	return counters
}

// boot returns when the host was started.
func boot(t *testing.T) time.Time {
	t.Helper()
	text, err := os.ReadFile("/proc/stat")
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(text), "\nbtime ")
	require.True(t, ok)
	word, _, _ := strings.Cut(rest, "\n")
	seconds, err := strconv.ParseInt(word, 10, 64)
	require.NoError(t, err)
	return time.Unix(seconds, 0)
}

// kernelBefore tells whether this kernel is older than a version such as 6.7.
func kernelBefore(t *testing.T, major, minor int) bool {
	t.Helper()
	var name unix.Utsname
	require.NoError(t, unix.Uname(&name))
	words := strings.FieldsFunc(unix.ByteSliceToString(name.Release[:]), func(r rune) bool { return r < '0' || r > '9' })
	haveMajor, _ := strconv.Atoi(words[0])
	haveMinor, _ := strconv.Atoi(words[1])
	return haveMajor < major || haveMajor == major && haveMinor < minor
}

// cgroup is the process's control group in the unified hierarchy, "" if unknown.
func (p *Process) cgroup(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.PID), "cgroup"))
	require.NoError(t, err)
	for _, line := range strings.Split(string(text), "\n") {
		if path, ok := strings.CutPrefix(line, "0::"); ok && path != "/" {
			return path
		}
	}
	return ""
}

// cpuTime is how long a process has run so far.
func cpuTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(text), ") ") // the name may hold anything
	require.True(t, ok)
	words := strings.Fields(rest)
	var ticks int64 // of 10 ms: proc(5), utime and stime
	for _, word := range words[11:13] {
		n, err := strconv.ParseInt(word, 10, 64)
		require.NoError(t, err)
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// ports counts the ephemeral ports that sockets of this network namespace have, and
// how many there are.
func ephemeralPorts(t *testing.T) (used, limit float64) {
	t.Helper()
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	require.NoError(t, err)
	words := strings.Fields(string(text))
	first, err := strconv.ParseUint(words[0], 10, 16)
	require.NoError(t, err)
	last, err := strconv.ParseUint(words[1], 10, 16)
	require.NoError(t, err)
	ports := make(map[uint64]bool)
	for _, words := range procSockets(t) {
		_, hex, _ := strings.Cut(words[1], ":")
		port, err := strconv.ParseUint(hex, 16, 16)
		require.NoError(t, err)
		if port >= first && port <= last {
			ports[port] = true
		}
	}
	return float64(len(ports)), float64(last - first + 1)
}

// established counts the established connections of this network namespace.
func established(t *testing.T) (n float64) {
	t.Helper()
	for _, words := range procSockets(t) {
		if words[3] == "01" {
			n++
		}
	}
	return n
}

// procSockets are the lines of /proc/net/tcp and tcp6, in words.
func procSockets(t *testing.T) (lines [][]string) {
	t.Helper()
	for _, file := range []string{"tcp", "tcp6"} {
		text, err := os.ReadFile("/proc/net/" + file)
		if os.IsNotExist(err) {
			continue // no IPv6
		}
		require.NoError(t, err)
		for line := range strings.Lines(string(text)) {
			if words := strings.Fields(line); words[0] != "sl" {
				lines = append(lines, words)
			}
		}
	}
	return lines
}
