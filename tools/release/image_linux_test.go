// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

// TestImage unpacks the image, checks what is in it, and runs it without privileges:
// its health check is content, and an OTLP receiver at the other end gets metrics.
func TestImage(t *testing.T) {
	r := fixture(t, development)
	if _, err := r.image([]string{"amd64"}); err != nil {
		t.Fatal(err)
	}
	index, err := layout.ImageIndexFromPath(filepath.Join(r.out, "image"))
	if err != nil {
		t.Fatal(err)
	}
	outer, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	inner, err := index.ImageIndex(outer.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	machines, err := inner.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if platform := machines.Manifests[0].Platform; platform.String() != "linux/amd64" {
		t.Errorf("it is for %s", platform)
	}
	image, err := inner.Image(machines.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.Config.User != "65532:65532" || config.Config.Labels["org.opencontainers.image.version"] != development {
		t.Errorf("its user is %q, its version %q", config.Config.User, config.Config.Labels["org.opencontainers.image.version"])
	}

	var packed bytes.Buffer
	extracted := mutate.Extract(image)
	if _, err := packed.ReadFrom(extracted); err != nil {
		t.Fatal(err)
	}
	files := readTar(t, packed.Bytes(), "/")
	if roots := bytes.Count(files["/etc/ssl/certs/ca-certificates.crt"].body, []byte("BEGIN CERTIFICATE")); roots < 50 {
		t.Errorf("it has the certificates of %d authorities", roots)
	}
	for _, path := range []string{"/usr/share/doc/otelcol-tcpstats/THIRD_PARTY_NOTICES", "/usr/share/doc/otelcol-tcpstats/LICENSE", "/usr/share/doc/otelcol-tcpstats/sbom.cdx.json"} {
		if len(files[path].body) == 0 {
			t.Errorf("it has no %s", path)
		}
	}

	if os.Getuid() != 0 {
		t.Skip("skipped: the image is not run, because to enter its root takes root")
	}
	dir := t.TempDir()
	// t.TempDir's own folders are closed to others.
	for path := dir; path != os.TempDir() && path != "/"; path = filepath.Dir(path) {
		if err := os.Chmod(path, 0o755); err != nil {
			break
		}
	}
	for name, file := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, file.body, os.FileMode(file.mode).Perm()); err != nil {
			t.Fatal(err)
		}
	}
	proc := filepath.Join(dir, "proc")
	if err := os.Mkdir(proc, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("proc", proc, "proc", 0, ""); err != nil {
		t.Skipf("skipped: mount %s: %v", proc, err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(proc, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})

	ports := freePorts(t, 3)
	endpoint := ports[2]
	received := backend(t, endpoint)
	inside := func(program string, args ...string) *exec.Cmd {
		command := exec.Command(program, args...)
		command.Err, command.Dir = nil, "/"
		command.SysProcAttr = &syscall.SysProcAttr{Chroot: dir, Credential: &syscall.Credential{Uid: user, Gid: user}}
		return command
	}
	collector := inside(config.Config.Entrypoint[0], append(config.Config.Cmd,
		"--set", "receivers::tcp_stats::page::endpoint="+ports[0],
		"--set", "extensions::health_check::endpoint="+ports[1])...)
	collector.Env = []string{"OTELCOL_TCPSTATS_EXPORTER=otlp_grpc", "OTEL_EXPORTER_OTLP_INSECURE=true", "OTEL_EXPORTER_OTLP_ENDPOINT=" + endpoint}
	var log bytes.Buffer
	collector.Stdout, collector.Stderr = &log, &log
	if err := collector.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- collector.Wait() }()

	_, pageErr := get("http://"+ports[0]+"/top", 30*time.Second)
	if pageErr == nil {
		if output, err := inside("/healthcheck", "http://"+ports[1]+"/").CombinedOutput(); err != nil {
			t.Errorf("its health check: %v\n%s", err, output)
		}
	}
	got := waitFor(received, "system.network.tcp.connection.opens", 30*time.Second)
	collector.Process.Signal(syscall.SIGTERM)
	if err := <-ended; err != nil || pageErr != nil || !got {
		t.Errorf("it ended with %v, its page with %v, metrics arrived: %v\n%s", err, pageErr, got, log.Bytes())
	}
	if output, err := inside("/healthcheck", "http://"+ports[1]+"/").CombinedOutput(); err == nil {
		t.Errorf("its health check is content with what has ended: %s", output)
	}
}

// backend runs a collector that writes what it receives by OTLP into a file.
func backend(t *testing.T, endpoint string) (file string) {
	t.Helper()
	dir := t.TempDir()
	file = filepath.Join(dir, "received.json")
	config := filepath.Join(dir, "backend.yaml")
	text := "receivers: {otlp: {protocols: {grpc: {endpoint: " + endpoint + "}}}}\nexporters: {file: {path: " + file + "}}\n" +
		"service: {telemetry: {metrics: {level: none}}, pipelines: {metrics: {receivers: [otlp], exporters: [file]}}}\n"
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	command := exec.Command(os.Getenv("OTELCOL_TCPSTATS"), "--config", config)
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		command.Process.Signal(syscall.SIGTERM)
		if err := command.Wait(); err != nil {
			t.Errorf("the backend: %v", err)
		}
	})
	return file
}

// waitFor waits until a file has a word.
func waitFor(file, word string, patience time.Duration) bool {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if body, err := os.ReadFile(file); err == nil && strings.Contains(string(body), word) {
			return true
		}
	}
	return false
}

// freePorts returns addresses of loopback that nobody listens at, below the ports that
// the kernel gives to clients.
func freePorts(t *testing.T, n int) []string {
	t.Helper()
	var free []string
	for port := 2000 + os.Getpid()%5000; len(free) < n; port++ {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		listener, err := net.Listen("tcp", address)
		if err != nil {
			if port > 30000 {
				t.Fatal("no free port: ", err)
			}
			continue
		}
		listener.Close()
		free = append(free, address)
	}
	return free
}
