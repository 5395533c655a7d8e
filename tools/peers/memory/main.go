// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command memory measures how much memory the distribution takes at its worst: with
// nothing to watch, with many sockets in groups, and with every connection written
// while the backend hangs. `make bench-memory` runs it.
//
// All of it is in a network namespace of its own. What counts is anonymous memory,
// which is the process's own. The pages of its executable are listed beside it: how
// many of them are mapped is the page cache's doing, it differs several times over from
// one copy of the file to the next, and the kernel takes them back when it needs them.
package main

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/tools/peers/hold"
)

// inside is the first argument of this program in its network namespace.
const inside = "inside"

func main() {
	log.SetFlags(0)
	log.SetPrefix("memory: ")
	if err := run(os.Args[1:]); err != nil {
		log.Fatal(err)
	}
}

func run(args []string) error {
	switch {
	case len(args) > 1 && args[0] == hold.Role:
		return hold.Main(args[1], os.Stdin, os.Stdout)
	case len(args) > 0 && args[0] == inside:
		return measureAll(args[1:])
	}
	// The child gets its signal when the thread that made it ends.
	runtime.LockOSThread()
	cmd := exec.Command("/proc/self/exe", append([]string{inside}, args...)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: unix.SIGKILL}
	return cmd.Run()
}

// scenario is what the collector is measured with.
type scenario struct {
	name    string
	sockets int
	config  string
	env     []string
	most    int // MB of anonymous memory
}

const plain = `
receivers: {tcp_stats: {collection_interval: 2s}}
exporters: {nop: }
service:
  telemetry: {metrics: {level: none}}
  pipelines: {metrics: {receivers: [tcp_stats], exporters: [nop]}}
`

func measureAll(args []string) error {
	var (
		flags  = flag.NewFlagSet("memory", flag.ExitOnError)
		root   = flags.String("root", "../..", "the repository's `folder`")
		groups = flags.Int("groups", 190_000, "`sockets` to watch in groups")
		hung   = flags.Int("hung", 90_000, "`sockets` to write one by one to a backend that hangs")
		length = flags.Duration("for", 30*time.Second, "how `long` each takes")
	)
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := hold.LoopbackUp(); err != nil {
		return err
	}
	example, err := fromManifest(filepath.Join(*root, "examples/kubernetes/base"))
	if err != nil {
		return err
	}
	backend, err := hang()
	if err != nil {
		return err
	}
	example.env = append(example.env, "OTEL_EXPORTER_OTLP_ENDPOINT=http://"+backend, "K8S_NODE_NAME=node")
	example.sockets = *hung
	var errs []error
	for _, s := range []scenario{
		{name: "idle", config: plain, most: 60},
		{name: "groups", sockets: *groups, config: plain, most: 130},
		example,
	} {
		if err := s.measure(filepath.Join(*root, "_build/otelcol-tcpstats"), *length); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.name, err))
		}
	}
	return errors.Join(errs...)
}

// fromManifest returns a scenario with the configuration, the environment and the limit
// of the Kubernetes example in a folder, but with every connection written.
func fromManifest(folder string) (s scenario, err error) {
	config, err := os.ReadFile(filepath.Join(folder, "config.yaml"))
	if err != nil {
		return s, err
	}
	daemons, err := os.ReadFile(filepath.Join(folder, "daemonset.yaml"))
	if err != nil {
		return s, err
	}
	const tcpStats, every = "tcp_stats: {}", "tcp_stats: {connections: {enabled: true, limit: 0}}"
	if !strings.Contains(string(config), tcpStats) {
		return s, fmt.Errorf("%s: no configuration with %q in it", folder, tcpStats)
	}
	s.name, s.config = "hung backend", strings.Replace(string(config), tcpStats, every, 1)
	_, limit, _ := strings.Cut(string(daemons), "limits:\n")
	if s.most, err = strconv.Atoi(strings.TrimSuffix(valueOf(limit, "memory: "), "Mi")); err != nil {
		return s, fmt.Errorf("%s: limit of memory: %w", folder, err)
	}
	_, soft, _ := strings.Cut(string(daemons), "- name: GOMEMLIMIT\n")
	s.env = []string{"GOMEMLIMIT=" + valueOf(soft, "value: ")}
	return s, nil
}

// valueOf returns what follows a key, up to the end of the line.
func valueOf(text, key string) string {
	_, value, _ := strings.Cut(text, key)
	value, _, _ = strings.Cut(value, "\n")
	return value
}

// hang returns the address of a backend that accepts connections and never answers.
func hang() (address string, err error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	go func() {
		var kept []net.Conn
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			kept = append(kept, c)
		}
	}()
	return l.Addr().String(), nil
}

func (s *scenario) measure(collector string, length time.Duration) (err error) {
	if s.sockets > 0 {
		holders, err := hold.Start(hold.Plan{Sockets: s.sockets})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, holders.Close()) }()
	}
	config, err := os.CreateTemp("", "memory-*.yaml")
	if err != nil {
		return err
	}
	defer os.Remove(config.Name())
	if _, err := config.WriteString(s.config); err != nil {
		return err
	}
	if err := config.Close(); err != nil {
		return err
	}
	var said bytes.Buffer
	cmd := exec.Command(collector, "--config", config.Name())
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), s.env...), &said, &said
	if err := cmd.Start(); err != nil {
		return err
	}
	var anonymous, file int
	for end := time.Now().Add(length); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		anonymous = max(anonymous, status(cmd.Process.Pid, "RssAnon:"))
		file = max(file, status(cmd.Process.Pid, "RssFile:"))
	}
	whole := status(cmd.Process.Pid, "VmHWM:")
	killed := cmd.Process.Signal(unix.SIGKILL)
	_ = cmd.Wait()
	if killed != nil || whole == 0 {
		return fmt.Errorf("the collector ended by itself:\n%s", said.String())
	}
	fmt.Printf("%-13s %7d sockets: anonymous %4d MB at most (bound: %d MB), executable %4d MB, together (VmHWM) %4d MB\n",
		s.name, s.sockets, anonymous>>10, s.most, file>>10, whole>>10)
	if anonymous>>10 > s.most {
		return fmt.Errorf("it takes %d MB of anonymous memory, more than %d MB", anonymous>>10, s.most)
	}
	return nil
}

// status returns a number of /proc/PID/status, in kB; 0 if it is not there.
func status(pid int, name string) (kB int) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), name); ok {
			kB, _ = strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(value, "kB")))
		}
	}
	return kB
}
