// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A collector is the distribution that is soaked.
type collector struct {
	command *exec.Cmd
	log     string
	ended   chan error
}

// configuration of the collector: everything is on that keeps something of connections.
const configuration = `
receivers:
  tcp_stats:
    collection_interval: 1s
    network_namespaces: all
    groups: {by: [process.executable.name, tcp.role, server.port], expiry: 30s}
    connections: {enabled: true, limit: 200}
    records: {events: [start, progress, end, failure], progress_interval: 10s, limit: 200}
    detect: {enabled: [scan, beacon, egress, listener, stall, saturation]}
    page: {endpoint: %s, transport: unix}
processors:
  memory_limiter: {check_interval: 1s, limit_mib: 400}
exporters:
  otlp_grpc:
    endpoint: %s
    tls: {insecure: true}
    # A hang of a minute loses nothing.
    sending_queue: {queue_size: 1000}
    retry_on_failure: {max_interval: 2s, max_elapsed_time: 5m}
  nop:
service:
  telemetry: {metrics: {level: none}}
  pipelines:
    metrics: {receivers: [tcp_stats], processors: [memory_limiter], exporters: [otlp_grpc]}
    logs: {receivers: [tcp_stats], exporters: [nop]}
`

func start(path, dir, endpoint string, port int) (*collector, error) {
	config := filepath.Join(dir, "soak.yaml")
	socket := filepath.Join(dir, "page.sock")
	if err := errors.Join(os.RemoveAll(socket), os.WriteFile(config, fmt.Appendf(nil, configuration, socket, endpoint), 0o644)); err != nil {
		return nil, err
	}
	c := &collector{command: exec.Command(path, "--config", config), log: filepath.Join(dir, "collector.log"), ended: make(chan error, 1)}
	log, err := os.Create(c.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	c.command.Stdout, c.command.Stderr = log, log
	c.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.command.Start(); err != nil {
		return nil, fmt.Errorf("%w (make build builds it)", err)
	}
	go func() { c.ended <- c.command.Wait() }()
	return c, nil
}

// reload makes it read its configuration again.
func (c *collector) reload() error { return c.command.Process.Signal(syscall.SIGHUP) }

// stop ends it, and wants it to end well.
func (c *collector) stop() error {
	if err := c.command.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case err := <-c.ended:
		if err != nil {
			return fmt.Errorf("the collector ended with %w; its log is %s", err, c.log)
		}
		return nil
	case <-time.After(30 * time.Second):
		return fmt.Errorf("30 s after SIGTERM the collector still runs; its log is %s", c.log)
	}
}

func (c *collector) kill() { c.command.Process.Kill() }

// use is what it uses now.
func (c *collector) use() (rss, descriptors float64, cpu time.Duration, err error) {
	select {
	case err := <-c.ended:
		c.ended <- err
		return 0, 0, 0, fmt.Errorf("the collector ended by itself: %v; its log is %s", err, c.log)
	default:
	}
	proc := "/proc/" + strconv.Itoa(c.command.Process.Pid)
	status, err := os.ReadFile(proc + "/status")
	if err != nil {
		return 0, 0, 0, err
	}
	for line := range bytes.Lines(status) {
		if value, ok := bytes.CutPrefix(line, []byte("VmRSS:")); ok {
			kilobytes, err := strconv.ParseFloat(strings.Fields(string(value))[0], 64)
			if err != nil {
				return 0, 0, 0, err
			}
			rss = kilobytes / 1024
		}
	}
	entries, err := os.ReadDir(proc + "/fd")
	if err != nil {
		return 0, 0, 0, err
	}
	stat, err := os.ReadFile(proc + "/stat")
	if err != nil {
		return 0, 0, 0, err
	}
	// What is after the name, which may have spaces: utime is the 12th, stime the 13th.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	var ticks int64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, 0, 0, err
		}
		ticks += n
	}
	return rss, float64(len(entries)), time.Duration(ticks) * 10 * time.Millisecond, nil
}
