// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// stage is the collector with the page, and processes with connections.
type stage struct {
	ctx       context.Context
	dir       string
	self      string
	binary    string // the collector's
	port      int
	addresses addresses
	interval  string
	otlp      string // where the collector sends metrics, if anywhere
	procs     []*actor
	collector *exec.Cmd
	log       bytes.Buffer
}

// addresses are those that the actors use.
type addresses struct{ db, web, api, reports, clients string }

type actor struct {
	*exec.Cmd
	input io.Closer
}

func newStage(ctx context.Context, collector string) (*stage, error) {
	binary, err := filepath.Abs(collector)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(binary); err != nil {
		return nil, fmt.Errorf("%w (make build makes it)", err)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "tcpstats-page-")
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	s := &stage{ctx: ctx, dir: dir, self: self, binary: binary, port: port, interval: "1s"}
	s.addresses = addresses{"127.20.3.2", "127.20.1.10", "127.20.3.17", "127.20.9.4", "127.9.113.7"}
	if os.Getenv(ownNetworkEnv) != "" {
		s.addresses = addresses{"10.20.3.2", "10.20.1.10", "10.20.3.17", "10.20.9.4", "203.0.113.7"}
	}
	return s, nil
}

// freePort returns a port that nobody uses now. It is below those that Linux and
// FreeBSD give to whoever asks for none, lest the actors or a browser take it before
// the collector does, or while the collector is started again.
func freePort() (int, error) {
	const first, ports = 2000, 8000
	for _, n := range rand.Perm(ports) {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(first+n)))
		if err == nil {
			return first + n, l.Close()
		}
	}
	return 0, errors.New("no port from 2000 to 9999 is free")
}

// play starts a process of a name that does something.
func (s *stage) play(name string, spec ...string) (*actor, error) {
	path := filepath.Join(s.dir, name)
	if err := copyOf(s.self, path); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	cmd := exec.CommandContext(s.ctx, path)
	cmd.Env = append(os.Environ(), actEnv+"="+join(spec))
	cmd.Stderr = os.Stderr
	input, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	a := &actor{cmd, input}
	s.procs = append(s.procs, a)
	if line, err := bufio.NewReader(output).ReadString('\n'); line != "ready\n" {
		return nil, fmt.Errorf("%s %v: %q, %w", name, spec, line, err)
	}
	return a, nil
}

// end ends a process that play started.
func (a *actor) end() {
	_ = a.input.Close()
	_ = a.Process.Kill()
	_ = a.Wait()
}

func join(spec []string) string {
	all := ""
	for _, one := range spec {
		all += one + " "
	}
	return all
}

// copyOf makes a link, and a copy where that is not possible.
func copyOf(from, to string) error {
	if err := os.Link(from, to); err == nil || errors.Is(err, os.ErrExist) {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

func (s *stage) url() string { return "http://127.0.0.1:" + strconv.Itoa(s.port) + "/" }

// startCollector runs the distribution until the page has had a scrape.
func (s *stage) startCollector() error {
	config := filepath.Join(s.dir, "config.yaml")
	if err := os.WriteFile(config, []byte(s.config()), 0o600); err != nil {
		return err
	}
	s.collector = exec.CommandContext(s.ctx, s.binary, "--config", config)
	s.collector.Env = append(os.Environ(), "OTEL_RESOURCE_ATTRIBUTES=host.name="+plottedHost)
	s.collector.Stdout, s.collector.Stderr = &s.log, &s.log
	if err := s.collector.Start(); err != nil {
		return err
	}
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if _, err := s.get("connections.json"); err == nil {
			return nil
		}
	}
	return errors.New("the page does not answer: " + s.log.String())
}

// config is the collector's.
func (s *stage) config() string {
	exporter, settings := "nop", "{}"
	if s.otlp != "" {
		exporter, settings = "otlp_http", "{endpoint: "+s.otlp+"}"
	}
	return fmt.Sprintf(`receivers:
  tcp_stats:
    collection_interval: %s
    initial_delay: 0s
    process: {refresh_interval: 1s}
    page: {endpoint: "127.0.0.1:%d"}
processors: {resource_detection: {detectors: [env]}}
exporters: {%s: %s}
service:
  telemetry: {metrics: {level: none}}
  pipelines: {metrics: {receivers: [tcp_stats], processors: [resource_detection], exporters: [%[3]s]}}
`, s.interval, s.port, exporter, settings)
}

func (s *stage) stopCollector() {
	if s.collector == nil {
		return
	}
	_ = s.collector.Process.Signal(os.Interrupt)
	_ = s.collector.Wait()
	s.collector = nil
}

func (s *stage) get(path string) ([]byte, error) {
	client := &http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	answer, err := client.Get(s.url() + path)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", path, answer.Status)
	}
	return body, err
}

func (s *stage) close() {
	s.stopCollector()
	for _, a := range s.procs {
		a.end()
	}
	_ = os.RemoveAll(s.dir)
}
