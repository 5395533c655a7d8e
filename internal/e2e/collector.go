// SPDX-License-Identifier: Apache-2.0

//go:build linux || freebsd

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Collector is the distribution, running.
type Collector struct {
	Sink *Sink // what it sends by OTLP
	PID  int

	exporters string // more of them, in YAML
	pipelines string // in YAML
	config    string // file
	page      string // endpoint of its Prometheus exporter
	telemetry string // endpoint of its own metrics
	path      string
	uid       int
	args      []string
	log       log
	cmd       *exec.Cmd
	ended     chan struct{} // closed when it has ended
	err       error         // then: how
	stopped   bool          // and was looked at
	missing   bool          // it may miss ticks, where much else runs
}

// binary returns the path of the distribution.
func binary(t *testing.T) string {
	t.Helper()
	path := os.Getenv("OTELCOL_TCPSTATS")
	if path == "" {
		path = "../../_build/otelcol-tcpstats"
	}
	path, err := filepath.Abs(path)
	require.NoError(t, err)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("there is no distribution to test, `make build` makes one, or name another in OTELCOL_TCPSTATS: %v", err)
	}
	return path
}

// startCollector runs the distribution with the given configuration of the
// receiver, in YAML, as the given user; uid 0 is our own. It waits until the
// collector is ready. At the end of the test the collector must end by itself, as
// it should, on SIGTERM.
func startCollector(t *testing.T, receiver string, uid int) *Collector {
	t.Helper()
	return startCollectorWith(t, receiver, uid, "", "{metrics: {receivers: [tcp_stats], exporters: [otlp_grpc, prometheus]}}")
}

// startCollectorWith is startCollector with more exporters and other pipelines, in
// YAML, and with more arguments.
func startCollectorWith(t *testing.T, receiver string, uid int, exporters, pipelines string, args ...string) *Collector {
	t.Helper()
	path := staged(t, binary(t), "otelcol-tcpstats")
	overdue := time.AfterFunc(3*patience, func() { panic(t.Name() + " takes too long") })
	t.Cleanup(func() { overdue.Stop() })
	c := &Collector{
		Sink:      startSink(t),
		page:      freeEndpoint(t),
		telemetry: freeEndpoint(t),
		exporters: exporters,
		pipelines: pipelines,
		ended:     make(chan struct{}),
		missing:   emulated,
	}
	_, port, _ := net.SplitHostPort(c.telemetry)
	c.config = public(t, "config-"+port+".yaml")
	c.Configure(t, receiver)
	c.path, c.uid, c.args = path, uid, args
	c.start(t)
	t.Cleanup(func() { c.Stop(t) })
	c.Ready(t, 1)
	return c
}

func (c *Collector) start(t *testing.T) {
	t.Helper()
	c.cmd = exec.Command(c.path, append([]string{"--config", c.config}, c.args...)...)
	c.cmd.Stdout, c.cmd.Stderr = &c.log, &c.log
	c.cmd.SysProcAttr = as(c.uid)
	require.NoError(t, c.cmd.Start())
	c.PID = c.cmd.Process.Pid
	go func() {
		c.err = c.cmd.Wait()
		close(c.ended)
	}()
}

// Restart ends it, as Stop does, and starts it again some time later.
func (c *Collector) Restart(t *testing.T, later time.Duration) {
	t.Helper()
	ready := len(c.log.entries("Everything is ready"))
	c.Sink.Follow(false)
	c.Stop(t)
	time.Sleep(later)
	c.ended, c.stopped = make(chan struct{}), false
	c.start(t)
	c.Ready(t, ready+1)
	c.Sink.Follow(true)
}

// Configure writes the configuration with this receiver in it.
func (c *Collector) Configure(t *testing.T, receiver string) {
	t.Helper()
	host, port, err := net.SplitHostPort(c.telemetry)
	require.NoError(t, err)
	text := fmt.Sprintf(`
receivers:
  tcp_stats: %s
exporters:
  otlp_grpc:
    endpoint: %s
    tls: {insecure: true}
    # One batch after the other, as the receiver makes them.
    sending_queue: {enabled: false}
    # None comes twice because an answer took long.
    timeout: %s
  prometheus:
    endpoint: %s
    resource_to_telemetry_conversion: {enabled: true}
    without_scope_info: true
%s
service:
  telemetry:
    logs: {encoding: json}
    metrics:
      # As the collector has it by default, on another port.
      readers: [{pull: {exporter: {prometheus: {host: %s, port: %s, without_units: true, without_type_suffix: true, without_scope_info: true}}}}]
  pipelines: %s
`, receiver, c.Sink.Endpoint, patience, c.page, c.exporters, host, port, c.pipelines)
	require.NoError(t, os.WriteFile(c.config, []byte(text), 0o644))
}

// Ready waits until the collector has said n times that it is.
func (c *Collector) Ready(t *testing.T, n int) {
	t.Helper()
	c.await(t, fmt.Sprintf("it is not ready for the %dth time", n), func() bool {
		return len(c.log.entries("Everything is ready")) >= n
	})
}

// await polls until ok, for as long as the collector runs.
func (c *Collector) await(t *testing.T, orElse string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); {
		select {
		case <-c.ended:
			require.True(t, ok(), "%s: the collector ended: %v\n%s", orElse, c.err, c.log.String())
			return
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			require.FailNow(t, orElse, c.log.String())
		}
	}
}

// Reload has it read its configuration again, and waits until it is ready.
func (c *Collector) Reload(t *testing.T) {
	t.Helper()
	ready := len(c.log.entries("Everything is ready"))
	c.Sink.Follow(false)
	require.NoError(t, c.cmd.Process.Signal(syscall.SIGHUP))
	c.Ready(t, ready+1)
	c.Sink.Follow(true)
}

// Terminate asks it to end.
func (c *Collector) Terminate(t *testing.T) {
	t.Helper()
	require.NoError(t, c.cmd.Process.Signal(syscall.SIGTERM))
}

// Stop ends it: it must end soon, say that all was well, and have complained of
// nothing all the while.
func (c *Collector) Stop(t *testing.T) {
	t.Helper()
	if c.stopped {
		return
	}
	c.stopped = true
	select {
	case <-c.ended:
	default:
		c.Terminate(t)
	}
	select {
	case <-c.ended:
	case <-time.After(patience):
		_ = c.cmd.Process.Kill()
		<-c.ended
		t.Errorf("it still ran %s after SIGTERM", patience)
	}
	assert.NoError(t, c.err, "how it ended")
	for _, e := range c.log.entries("") {
		missed := c.missing && (strings.Contains(e.Text, "ticks are missed") || strings.Contains(e.Text, "ticks that are missed"))
		// On FreeBSD an ordinary user may not list the bpf devices of others.
		refused := c.uid != 0 && strings.Contains(e.Text, "what the host counts beneath TCP cannot be read")
		if e.Level != "info" && !e.expected() && !missed && !refused {
			t.Errorf("the collector complained: %s", e.short())
		}
	}
	if t.Failed() {
		t.Log("the collector's log:\n" + c.log.String())
	}
}

// Page returns what the Prometheus exporter shows.
func (c *Collector) Page(t *testing.T) Page {
	t.Helper()
	return fetch(t, c.page)
}

// Telemetry returns what the collector tells of itself.
func (c *Collector) Telemetry(t *testing.T) Page {
	t.Helper()
	return fetch(t, c.telemetry)
}

// descriptors counts the files that the collector keeps open, by what they are:
// the fewest of each seen in a while, since it opens some for a moment.
func (c *Collector) descriptors(t *testing.T) map[string]int {
	t.Helper()
	fewest := openFiles(t, c.PID)
	for range 20 {
		time.Sleep(10 * time.Millisecond)
		now := openFiles(t, c.PID)
		for kind, n := range fewest {
			fewest[kind] = min(n, now[kind])
		}
	}
	maps.DeleteFunc(fewest, func(_ string, n int) bool { return n == 0 })
	return fewest
}

// openFiles counts the open files of a process by what they are.
func openFiles(t *testing.T, pid int) map[string]int {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	count := make(map[string]int)
	for _, e := range entries {
		if link, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil {
			kind, _, _ := strings.Cut(link, "[") // socket:[4711]
			count[kind]++
		}
	}
	return count
}

// log is what the collector writes: a JSON object a line.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// entry is one line of it.
type entry struct {
	Level string `json:"level"`
	Text  string `json:"-"` // all of it
}

// expected tells whether a warning is one that is right.
func (e entry) expected() bool {
	return strings.Contains(e.Text, "Config updated, restart service") ||
		// Even root may not look into each process, as in most containers.
		strings.Contains(e.Text, missingCapabilities)
}

// short is the line without the stack trace.
func (e entry) short() string {
	line, _, _ := strings.Cut(e.Text, `,"stacktrace"`)
	return line
}

// missingCapabilities is what the receiver asks for where sockets belong to
// processes that it may not look into.
const missingCapabilities = "CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH"

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// entries returns the whole lines that hold the words.
func (l *log) entries(words string) []entry {
	var found []entry
	for line := range strings.Lines(l.String()) {
		if !strings.HasSuffix(line, "\n") || !strings.Contains(line, words) {
			continue
		}
		e := entry{Text: strings.TrimSpace(line)}
		if json.Unmarshal([]byte(line), &e) != nil {
			e.Level = "not JSON"
		}
		found = append(found, e)
	}
	return found
}

// web leaves no connection open: those would be among what is watched.
var web = &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
