// SPDX-License-Identifier: Apache-2.0

package distribution

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// running is a collector that runs in the background.
type running struct {
	command *exec.Cmd
	log     *output
	ended   chan error
}

// start starts a collector in a folder of its own, in which it may write.
func (c collector) start(t *testing.T, dir, config string, environment []string, more ...string) *running {
	t.Helper()
	path, err := filepath.Abs(config)
	if err != nil {
		t.Fatal(err)
	}
	r := &running{command: exec.Command(string(c), append([]string{"--config", path}, more...)...), log: &output{all: make(chan struct{})}, ended: make(chan error, 1)}
	r.command.Dir = dir
	r.command.Env = append(os.Environ(), environment...)
	r.command.Stdout, r.command.Stderr = r.log, r.log
	if err := r.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { r.ended <- r.command.Wait() }()
	t.Cleanup(func() {
		r.command.Process.Signal(syscall.SIGTERM)
		select {
		case <-r.ended:
		case <-time.After(30 * time.Second):
			r.command.Process.Kill()
			t.Errorf("30 s after SIGTERM %s still runs:\n%s", c, r.log)
		}
	})
	return r
}

// logs waits until a collector has logged a text.
func (r *running) logs(t *testing.T, text string) {
	t.Helper()
	within(t, func() bool { return strings.Contains(r.log.String(), text) }, func() string {
		return fmt.Sprintf("it never logged %q:\n%s", text, r.log)
	})
}

// within waits for a condition.
func within(t *testing.T, condition func() bool, complaint func() string) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !condition(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("after 30 s ", complaint())
		}
	}
}

// A backend is a stock collector that keeps what it gets by OTLP.
type backend struct {
	endpoint, file string
}

// listen starts a backend; settings are those of its gRPC server.
func (c collector) listen(t *testing.T, settings string) backend {
	t.Helper()
	b := backend{endpoint: unusedEndpoint(t), file: filepath.Join(t.TempDir(), "received.json")}
	c.start(t, t.TempDir(), write(t, fmt.Sprintf(`
receivers: {otlp: {protocols: {grpc: {endpoint: %q, %s}}}}
exporters: {file: {path: %q}}
service:
  telemetry: {metrics: {level: none}}
  pipelines:
    metrics: {receivers: [otlp], exporters: [file]}
    logs: {receivers: [otlp], exporters: [file]}
`, b.endpoint, settings, b.file)), nil)
	within(t, func() bool {
		connection, err := net.Dial("tcp", b.endpoint)
		if err != nil {
			return false
		}
		connection.Close()
		return true
	}, func() string { return "the backend does not listen" })
	return b
}

// gets waits until a backend has all the words.
func (b backend) gets(t *testing.T, from *running, words ...string) {
	t.Helper()
	for _, word := range words {
		within(t, func() bool {
			body, err := os.ReadFile(b.file)
			return err == nil && bytes.Contains(body, []byte(word))
		}, func() string {
			return fmt.Sprintf("the backend never got %q; the collector said\n%s", word, from.log)
		})
	}
}

// unusedEndpoint is an address of loopback below the ports that clients are given, so
// that none of them takes it before the collector does.
func unusedEndpoint(t *testing.T) string {
	t.Helper()
	for port := 2000 + (os.Getpid()*7+int(time.Now().UnixNano()/1000))%7000; port < 30000; port++ {
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			listener.Close()
			return listener.Addr().String()
		}
	}
	t.Fatal("no port is free")
	return ""
}

// quick makes an example scrape at once and often, and bind no port of its own.
var quick = []string{
	"--set", "receivers::tcp_stats::collection_interval=500ms", "--set", "receivers::tcp_stats::initial_delay=100ms",
	"--set", "receivers::tcp_stats::connections::interval=0s", "--set", "service::telemetry::metrics::level=none",
}

// TestExamplesDeliver starts each example that sends something, and looks at what
// arrives at a stock collector without TLS.
func TestExamplesDeliver(t *testing.T) {
	c := own(t)
	if runtime.GOOS != "linux" {
		t.Skip("skipped: the connections that are looked for are made on Linux")
	}
	for example, words := range map[string][]string{
		"otlp.yaml":     {"system.network.tcp.connection.opens", "tcp.connection.io", `"host.name"`, "tcp.count"},
		"records.yaml":  {"tcp.connection.end", "network.community_id", `"host.name"`, "tcp.count"},
		"findings.yaml": {"tcp.finding", `"host.name"`},
	} {
		t.Run(example, func(t *testing.T) {
			t.Parallel()
			b := c.listen(t, "")
			dir := t.TempDir()
			more := quick
			if example == "findings.yaml" {
				// A program that opens a port is found without a scan being made.
				more = append(more[:len(more):len(more)], "--set", "receivers::tcp_stats::detect::listener::learn=1s",
					"--set", "receivers::tcp_stats::detect::listener::memory=1s")
			}
			r := c.start(t, dir, filepath.Join(root, "examples", example), []string{
				"OTEL_EXPORTER_OTLP_ENDPOINT=" + b.endpoint, "OTEL_EXPORTER_OTLP_INSECURE=true",
			}, more...)
			r.logs(t, "Everything is ready")
			stop := talk(t)
			defer stop()
			b.gets(t, r, words...)
			if example == "records.yaml" {
				for _, file := range []string{"tcp-connections.jsonl", "tcp-connections.pb"} {
					within(t, func() bool {
						info, err := os.Stat(filepath.Join(dir, file))
						return err == nil && info.Size() > 0
					}, func() string { return file + " is empty" })
				}
			}
		})
	}
}

// talk makes connections over loopback until it is stopped, and opens a new port now
// and then.
func talk(t *testing.T) (stop func()) {
	t.Helper()
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		var listeners []net.Listener
		defer func() {
			for _, listener := range listeners {
				listener.Close()
			}
		}()
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			case <-time.After(50 * time.Millisecond):
			}
			listener, err := net.Listen("tcp", "0.0.0.0:0")
			if err != nil {
				continue
			}
			if i%40 == 39 {
				listeners = append(listeners, listener)
				continue
			}
			if client, err := net.Dial("tcp", listener.Addr().String()); err == nil {
				server, err := listener.Accept()
				if err == nil {
					client.Write([]byte("hello"))
					server.Close()
				}
				client.Close()
			}
			listener.Close()
		}
	}()
	return func() { close(done); <-stopped }
}

// TestTLSBackend sends to a collector with TLS, and reads what is said of one without.
func TestTLSBackend(t *testing.T) {
	c := own(t)
	example := filepath.Join(root, "examples", "otlp.yaml")
	ca, certificate, key := authority(t)

	t.Run("delivers", func(t *testing.T) {
		b := c.listen(t, fmt.Sprintf("tls: {cert_file: %q, key_file: %q}", certificate, key))
		r := c.start(t, t.TempDir(), example, []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + b.endpoint},
			append(quick[:len(quick):len(quick)], "--set", "exporters::otlp_grpc::tls::ca_file="+ca)...)
		b.gets(t, r, "system.network.tcp.connection.opens")
	})
	t.Run("the backend has no TLS", func(t *testing.T) {
		b := c.listen(t, "")
		r := c.start(t, t.TempDir(), example, []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + b.endpoint}, quick...)
		r.documented(t, "first record does not look like a TLS handshake")
	})
	t.Run("the variable is not set", func(t *testing.T) {
		t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "")
		r := c.start(t, t.TempDir(), example, nil)
		r.documented(t, `exporters::otlp_grpc: requires a non-empty "endpoint"`)
	})
	t.Run("memory is short", func(t *testing.T) {
		b := c.listen(t, "")
		r := c.start(t, t.TempDir(), example, []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + b.endpoint, "OTEL_EXPORTER_OTLP_INSECURE=true"},
			append(quick[:len(quick):len(quick)], "--set", "processors::memory_limiter::limit_mib=10", "--set", "processors::memory_limiter::spike_limit_mib=2")...)
		r.documented(t, "Memory usage is above hard limit")
		r.documented(t, "data refused due to high memory usage")
	})
}

// documented waits for a message that docs/troubleshooting.md explains.
func (r *running) documented(t *testing.T, message string) {
	t.Helper()
	if page := read(t, filepath.Join(root, "docs", "troubleshooting.md")); !strings.Contains(page, message) {
		t.Errorf("docs/troubleshooting.md has nothing about %q", message)
	}
	r.logs(t, message)
}

// authority makes a certificate for loopback and the authority that signed it.
func authority(t *testing.T) (ca, certificate, key string) {
	t.Helper()
	dir := t.TempDir()
	secret, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "backend"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, &secret.PublicKey, secret)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	save := func(name, kind string, body []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: body}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	certificate = save("backend.pem", "CERTIFICATE", signed)
	return certificate, certificate, save("backend.key", "PRIVATE KEY", private)
}
