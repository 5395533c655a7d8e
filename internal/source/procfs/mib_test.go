// SPDX-License-Identifier: Apache-2.0

package procfs

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func collect(parse func([]byte, string, func(name, value []byte)) error, text, prefix string) (string, error) {
	var pairs []string
	err := parse([]byte(text), prefix, func(name, value []byte) { pairs = append(pairs, fmt.Sprintf("%s=%s", name, value)) })
	return strings.Join(pairs, " "), err
}

func TestParseTable(t *testing.T) {
	for _, test := range []struct{ name, text, want, err string }{
		{"plain", "Tcp: A B\nTcp: 1 -1\n", "A=1 B=-1", ""},
		{"among others", "Ip: A\nIp: 7\nIpTcp: A\nIpTcp: 8\nTcp: A\nTcp: 1\nTcpExt: A\nTcpExt: 9\n", "A=1", ""},
		{"spaces", "Tcp:   A  B \nTcp:1 2\n", "A=1 B=2", ""},
		{"twice", "Tcp: A\nTcp: 1\nTcp: A\nTcp: 2\n", "A=1", ""},
		{"nothing in it", "Tcp:\nTcp:\n", "", ""},
		{"empty file", "", "", `no line begins with "Tcp:"`},
		{"other lines only", "Ip: A\nIp: 1\n Tcp: A\n", "", `no line begins with "Tcp:"`},
		{"names only", "Tcp: A\n", "", `the names of "Tcp:" are not followed by a line of numbers`},
		{"names only, then others", "Tcp: A\nUdp: 1\nTcp: 1\n", "", `the names of "Tcp:" are not followed by a line of numbers`},
		{"a number too few", "Tcp: A B\nTcp: 1\n", "", `"Tcp:" has 2 names but 1 numbers`},
		{"a number too many", "Tcp: A\nTcp: 1 2\n", "", `"Tcp:" has 1 names but 2 numbers`},
		{"names cut off", "Tcp: A", "", `the line of "Tcp:" is cut off before its end`},
		{"numbers cut off", "Tcp: A\nTcp: 12", "", `the names of "Tcp:" are not followed by a line of numbers`},
	} {
		got, err := collect(parseTable, test.text, "Tcp:")
		require.Equal(t, test.want, got, test.name)
		if test.err == "" {
			require.NoError(t, err, test.name)
		} else {
			require.EqualError(t, err, test.err, test.name)
		}
	}

	huge, err := collect(parseTable, "Tcp:"+strings.Repeat(" A", 50_000)+"\nTcp:"+strings.Repeat(" 1", 50_000)+"\n", "Tcp:")
	require.NoError(t, err)
	require.Equal(t, 50_000, strings.Count(huge, "A=1"))
}

func TestParsePairs(t *testing.T) {
	for _, test := range []struct{ name, text, want, err string }{
		{"plain", "sockets: used 57\nTCP: inuse 28 orphan 2\nUDP: inuse 0\n", "inuse=28 orphan=2", ""},
		{"nothing in it", "TCP:\n", "", ""},
		{"no line", "sockets: used 57\nTCP6: inuse 28\n", "", `no line begins with "TCP:"`},
		{"odd", "TCP: inuse 28 orphan\n", "", `"TCP:" has a name without a number in 3 words`},
		{"cut off", "TCP: inuse 28 orphan 2", "", `the line of "TCP:" is cut off before its end`},
	} {
		got, err := collect(parsePairs, test.text, "TCP:")
		require.Equal(t, test.want, got, test.name)
		if test.err == "" {
			require.NoError(t, err, test.name)
		} else {
			require.EqualError(t, err, test.err, test.name)
		}
	}
}

func fuzzPairs(f *testing.F, parse func([]byte, string, func(name, value []byte)) error, prefix string) {
	f.Fuzz(func(t *testing.T, text []byte) {
		found := 0
		before := bytes.Clone(text)
		err := parse(text, prefix, func(name, value []byte) {
			found++
			require.NotEmpty(t, name)
			require.NotEmpty(t, value)
			require.False(t, bytes.ContainsAny(name, " \n") || bytes.ContainsAny(value, " \n"))
			parseDecimal(value)
		})
		if err != nil {
			require.Zero(t, found)
		}
		require.Equal(t, before, text)
	})
}

func FuzzParseTable(f *testing.F) {
	f.Add(readFixture(f, "snmp"))
	f.Add([]byte("Tcp: A B\nTcp: 1 -1\n"))
	f.Add([]byte("Tcp: A\nUdp: 1\nTcp: 1"))
	fuzzPairs(f, parseTable, "Tcp:")
}

func FuzzParsePairs(f *testing.F) {
	f.Add(readFixture(f, "sockstat"))
	f.Add([]byte("TCP: inuse 28 orphan"))
	fuzzPairs(f, parsePairs, "TCP:")
}
