// SPDX-License-Identifier: Apache-2.0

package distribution

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// root is the repository's, as seen from this package.
const root = "../.."

// collector is a collector's binary.
type collector string

// own returns our distribution, built by `make build`.
func own(t *testing.T) collector {
	t.Helper()
	path := os.Getenv("OTELCOL_TCPSTATS")
	if path == "" {
		t.Skip("OTELCOL_TCPSTATS does not name the distribution's binary: make test does, or set it to _build/otelcol-tcpstats")
	}
	return collector(path)
}

// command runs a subcommand with a configuration file and returns what it wrote
// to its standard output and error.
func (c collector) command(t *testing.T, config string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, string(c), append(args, "--config", config)...)
	// The examples ask for these.
	cmd.Env = append(os.Environ(), "OTEL_EXPORTER_OTLP_ENDPOINT=localhost:4317", "HOSTNAME=host", "K8S_NODE_NAME=node")
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err = cmd.Run()
	return out.String(), errOut.String(), err
}

// accepts checks that `validate` finds nothing wrong with a configuration.
func (c collector) accepts(t *testing.T, config string) {
	t.Helper()
	if _, stderr, err := c.command(t, config, "validate"); err != nil {
		t.Errorf("validate %s: %v\n%s", config, err, stderr)
	}
}

// refuses checks that `validate` names what is wrong: the key, what it got, and
// what it takes.
func (c collector) refuses(t *testing.T, config string, words ...string) {
	t.Helper()
	_, stderr, err := c.command(t, config, "validate")
	if err == nil {
		t.Errorf("validate found nothing wrong with\n%s", read(t, config))
		return
	}
	for _, word := range words {
		if !strings.Contains(stderr, word) {
			t.Errorf("validate does not say %q of\n%s\nbut\n%s", word, read(t, config), stderr)
		}
	}
}

// pipeline writes a configuration with one receiver and the debug exporter.
func pipeline(t *testing.T, receiver string) string {
	t.Helper()
	return write(t, receiver+`
exporters: {debug: {verbosity: detailed}}
service:
  telemetry: {metrics: {level: none}}
  pipelines: {metrics: {receivers: [tcp_stats], exporters: [debug]}}
`)
}

// prints runs the collector until it has written all the words and then stops it,
// which it must do by itself and without an error.
func (c collector) prints(t *testing.T, config string, words ...string) {
	t.Helper()
	if runtime.GOOS != "linux" && runtime.GOOS != "freebsd" {
		t.Skipf("there is no source for %s yet, so nothing would be printed", runtime.GOOS)
	}
	log := &output{words: words, all: make(chan struct{})}
	cmd := exec.CommandContext(t.Context(), string(c), "--config", config)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()

	const patience = 30 * time.Second
	select {
	case <-log.all:
	case err := <-ended:
		t.Fatalf("%s ended by itself: %v\n%s", c, err, log)
	case <-time.After(patience):
		t.Errorf("after %s %s has not printed %q:\n%s", patience, c, log.missing(), log)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("after SIGTERM: %v\n%s", err, log)
		}
	case <-time.After(patience):
		t.Errorf("%s after SIGTERM %s still runs:\n%s", patience, c, log)
	}
}

// output collects what a process writes and tells when it has all the words.
type output struct {
	mu    sync.Mutex
	text  strings.Builder
	words []string
	all   chan struct{}
	told  bool
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(b)
	if !o.told && len(o.lacks()) == 0 {
		o.told = true
		close(o.all)
	}
	return len(b), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func (o *output) missing() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.lacks()
}

func (o *output) lacks() []string {
	var words []string
	for _, word := range o.words {
		if !strings.Contains(o.text.String(), word) {
			words = append(words, word)
		}
	}
	return words
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
