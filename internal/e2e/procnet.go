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
