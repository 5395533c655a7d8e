// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// replay runs the command, and returns the findings and what it wrote to standard
// error.
func replay(t *testing.T, args ...string) ([]finding, string) {
	t.Helper()
	var out, errOut bytes.Buffer
	require.NoError(t, run(args, &out, &errOut))
	var all []finding
	for line := range strings.Lines(out.String()) {
		var f finding
		require.NoError(t, json.Unmarshal([]byte(line), &f))
		all = append(all, f)
	}
	return all, errOut.String()
}

func rules(all []finding) (names []string) {
	for _, f := range all {
		names = append(names, f.Rule+" "+f.Subject)
	}
	return names
}

// The fixtures are written by hand: a scan of 16 ports, a scan of the host, a beacon, a
// tunnel and some benign traffic.
func TestFixtures(t *testing.T) {
	want := []string{
		"scan.outbound 192.168.1.66",
		"scan.inbound 203.0.113.99",
		"dns_tunnel 192.168.1.66 by example.org",
		"beacon 192.168.1.66 to 198.51.100.7:443",
	}
	tsv, score := replay(t, "-conn", "testdata/conn.log", "-dns", "testdata/dns.log", "-local", "192.168.1.0/24")
	assert.Equal(t, want, rules(tsv))
	var s map[string]any
	require.NoError(t, json.Unmarshal([]byte(score), &s))
	assert.Equal(t, 1.0, s["precision"].(float64)+0.25, "the tunnel has no label in conn.log")
	assert.Equal(t, map[string]any{"labelled": 2.0, "found": 2.0, "recall": 1.0}, s["scanners"])
	assert.Equal(t, map[string]any{"labelled": 1.0, "found": 1.0, "recall": 1.0}, s["callers"])

	inJSON, _ := replay(t, "-conn", "testdata/conn.json", "-dns", "testdata/dns.json", "-local", "192.168.1.0/24")
	assert.Equal(t, tsv, inJSON)
	byDefault, _ := replay(t, "-conn", "testdata/conn.log", "-dns", "testdata/dns.log")
	assert.Equal(t, tsv, byDefault, "private addresses are local")
	again, _ := replay(t, "-conn", "testdata/conn.log", "-dns", "testdata/dns.log")
	assert.Equal(t, byDefault, again)
	apart, _ := replay(t, "-conn", "testdata/conn.log")
	assert.Len(t, apart, 3, "without dns.log")
}

func TestGzip(t *testing.T) {
	plain, err := os.ReadFile("testdata/conn.log")
	require.NoError(t, err)
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	_, err = w.Write(plain)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	name := filepath.Join(t.TempDir(), "conn.log")
	require.NoError(t, os.WriteFile(name, zipped.Bytes(), 0o600))
	want, _ := replay(t, "-conn", "testdata/conn.log")
	got, _ := replay(t, "-conn", name)
	assert.Equal(t, want, got)
}

func TestConfig(t *testing.T) {
	for _, text := range []string{"enabled: [scan]\nscan: {ports: 16}\n", "detect:\n  enabled: [scan]\n  scan: {ports: 16}\n"} {
		name := filepath.Join(t.TempDir(), "detect.yaml")
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
		found, _ := replay(t, "-conn", "testdata/conn.log", "-config", name)
		assert.Equal(t, []string{"scan.outbound 192.168.1.66", "scan.inbound 203.0.113.99"}, rules(found))
		assert.Equal(t, 16.0, found[0].Evidence["ports.threshold"])
	}
	name := filepath.Join(t.TempDir(), "detect.yaml")
	for text, want := range map[string]string{
		"scan: {ports: 0}":      "detect::scan::ports: got 0, takes a number from 2 to 128",
		"scan: {port: 3}":       "detect::scan",
		"beacon: {score: high}": `detect::beacon::score: got "high", takes a number`,
		"- 1":                   "detect.yaml",
	} {
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
		assert.ErrorContains(t, run([]string{"-conn", "testdata/conn.log", "-config", name}, &bytes.Buffer{}, &bytes.Buffer{}), want)
	}
}

func TestBadArguments(t *testing.T) {
	for want, args := range map[string][]string{
		"no log is named":                 {},
		`-local: got "x"`:                 {"-conn", "a", "-local", "x"},
		"takes only flags":                {"-conn", "a", "b"},
		"open a log: open testdata/none:": {"-conn", "testdata/none"},
		"testdata/main.go":                {"-conn", "testdata/main.go"},
	} {
		assert.ErrorContains(t, run(args, &bytes.Buffer{}, &bytes.Buffer{}), want)
	}
	assert.ErrorContains(t, run([]string{"-conn", "main.go"}, &bytes.Buffer{}, &bytes.Buffer{}), "main.go: line 1: takes Zeek's logs")
}

func TestBadLines(t *testing.T) {
	const header = "#fields\tts\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tduration\torig_bytes\tresp_bytes\tconn_state\n"
	for line, want := range map[string]string{
		"x\t10.0.0.1\t1\t10.0.0.2\t2\ttcp\t-\t-\t-\tS0":     "line 2: ts: got",
		"NaN\t10.0.0.1\t1\t10.0.0.2\t2\ttcp\t-\t-\t-\tS0":   "line 2: ts: got",
		"1e300\t10.0.0.1\t1\t10.0.0.2\t2\ttcp\t-\t-\t-\tS0": "line 2: ts: got",
		"1\thost\t1\t10.0.0.2\t2\ttcp\t-\t-\t-\tS0":         "id.orig_h: got",
		"1\t10.0.0.1\t1\t10.0.0.2\t70000\ttcp\t-\t-\t-\tS0": "id.resp_h: got port",
		"1\t10.0.0.1\t1\t10.0.0.2\t2\ttcp\t-1\t-\t-\tS0":    "duration: got",
		"1\t10.0.0.1\t1\t10.0.0.2\t2\ttcp\t-\tx\t-\tS0":     "orig_bytes: got",
		"{": "line 2: takes a JSON object",
	} {
		assert.ErrorContains(t, readFrom(strings.NewReader(header+line+"\n"), newRecording(nil).conn), want, line)
	}
	assert.NoError(t, readFrom(strings.NewReader(header+"1\t10.0.0.1\t1\t10.0.0.2\t2\tudp\t-\t-\t-\tS0\n1\t10.0.0.1\n"), newRecording(nil).conn), "other protocols and cut lines are left out")
}

// Zeek begins a new line for a connection that was idle: nothing opened.
func TestContinuedLines(t *testing.T) {
	const header = "#fields\tts\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tduration\tconn_state\thistory\n"
	for history, want := range map[string]int{"ShADadfF": 1, "DdA": 0} {
		var log strings.Builder
		log.WriteString(header)
		for n := range 100 {
			fmt.Fprintf(&log, "%d\t192.168.1.5\t50000\t198.51.100.7\t443\ttcp\t0.1\tSF\t%s\n", 1_770_000_000+60*n, history)
		}
		rec, found := newRecording(nil), 0
		require.NoError(t, readFrom(strings.NewReader(log.String()), rec.conn))
		_, err := rec.play(all(), func(*finding) { found++ })
		require.NoError(t, err)
		assert.Equal(t, want, found, history)
	}
}

// With the local networks named, all other addresses are not home, private or not.
func TestHome(t *testing.T) {
	var log strings.Builder
	log.WriteString("#fields\tts\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tduration\tconn_state\thistory\n")
	for n := range 100 {
		fmt.Fprintf(&log, "%d\t192.168.1.5\t50000\t10.9.9.9\t443\ttcp\t0.1\tSF\tShADadfF\n", 1_770_000_000+60*n)
	}
	for local, want := range map[string]int{"": 0, "192.168.1.0/24": 1, "192.168.1.0/24,10.0.0.0/8": 0} {
		o, err := parse([]string{"-conn", "-", "-local", local}, io.Discard)
		require.NoError(t, err)
		rec, found := newRecording(o.local), 0
		require.NoError(t, readFrom(strings.NewReader(log.String()), rec.conn))
		_, err = rec.play(all(), func(*finding) { found++ })
		require.NoError(t, err)
		assert.Equal(t, want, found, local)
	}
}

func FuzzLogs(f *testing.F) {
	for _, name := range []string{"conn.log", "dns.log", "conn.json", "dns.json"} {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		require.NoError(f, err)
		f.Add(text[:min(len(text), 2000)])
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		rec := newRecording(nil)
		_ = readFrom(bytes.NewReader(text), rec.conn)
		_ = readFrom(bytes.NewReader(text), rec.query)
		judge := newJudge(rec)
		_, err := rec.play(all(), judge.take)
		require.NoError(t, err)
		judge.score()
	})
}
