// SPDX-License-Identifier: Apache-2.0

package process

import (
	"math"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

func TestParseUint(t *testing.T) {
	for text, want := range map[string]uint64{"0": 0, "007": 7, "18446744073709551615": math.MaxUint64} {
		n, ok := parseUint([]byte(text))
		assert.True(t, ok, text)
		assert.Equal(t, want, n, text)
	}
	for _, text := range []string{"", "-1", "1 ", "x", "18446744073709551616", "99999999999999999999"} {
		_, ok := parseUint([]byte(text))
		assert.False(t, ok, text)
	}
}

func TestParseSocketLink(t *testing.T) {
	for target, want := range map[string]uint64{
		"socket:[42]":                   42,
		"socket:[4294967295]":           math.MaxUint32,
		"socket:[18446744073709551615]": math.MaxUint64,
	} {
		inode, ok := parseSocketLink([]byte(target))
		assert.True(t, ok, target)
		assert.Equal(t, want, inode, target)
		assert.Less(t, len(target), maxSocketLink, target)
	}
	for _, target := range []string{
		"", "socket:[", "socket:[]", "socket:[42", "socket:[42]x", "socket:[4 2]", "socket:[-1]", "socket:[18446744073709551616]",
		"pipe:[42]", "anon_inode:[eventpoll]", "/dev/null", "/tmp/socket:[42]", "socket:42",
	} {
		_, ok := parseSocketLink([]byte(target))
		assert.False(t, ok, target)
	}
}

func TestExecutableName(t *testing.T) {
	for target, want := range map[string]string{
		"/usr/sbin/nginx":              "nginx",
		"/usr/sbin/nginx (deleted)":    "nginx (deleted)",
		"/opt/my app/run me":           "run me",
		"(unreachable)/bin/sleep":      "sleep",
		"/memfd:loader":                "memfd:loader",
		"/usr/bin/\xff":                "\uFFFD",
		"":                             "",
		"/":                            "",
		"/" + strings.Repeat("a", 255): strings.Repeat("a", tcp.MaxName),
		"/" + strings.Repeat("ü", 40):  strings.Repeat("ü", tcp.MaxName/2),
	} {
		assert.Equal(t, want, executableName([]byte(target)), target)
	}
}

func TestCommandName(t *testing.T) {
	for cmdline, want := range map[string]string{
		"":                              "",
		"\x00":                          "",
		"/usr/bin/psql\x00-W\x00pw\x00": "/usr/bin/psql",
		"nginx: worker process\x00\x00": "nginx: worker process",
		"no end":                        "no end",
		"cut inside of \xc3":            "cut inside of ",
		"\xfe\x00x":                     "\uFFFD",
	} {
		assert.Equal(t, want, commandName([]byte(cmdline)), cmdline)
	}
}

func FuzzParseSocketLink(f *testing.F) {
	for _, seed := range []string{"socket:[42]", "socket:[18446744073709551616]", "socket:[]", "pipe:[1]", "socket:"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, target []byte) {
		inode, ok := parseSocketLink(target)
		if !ok {
			require.Zero(t, inode)
			return
		}
		number := strings.TrimSuffix(strings.TrimPrefix(string(target), "socket:["), "]")
		want, err := strconv.ParseUint(number, 10, 64)
		require.NoError(t, err)
		require.Equal(t, want, inode)
	})
}

// FuzzNames is for the names that a process chooses.
func FuzzNames(f *testing.F) {
	for _, seed := range []string{"/usr/sbin/nginx (deleted)", "a\x00b\x00", "\xff/\xfe", "/", ""} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		executable, command := executableName(b), commandName(b)
		require.True(t, utf8.ValidString(executable))
		require.NotContains(t, executable, "/")
		require.True(t, utf8.ValidString(command))
		require.NotContains(t, command, "\x00")
	})
}
