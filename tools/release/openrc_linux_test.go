// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// openrc runs Alpine's service in Debian's OpenRC: it starts, keeps running what dies,
// reloads only what is valid, and stops.
func (c chroot) openrc(t *testing.T) {
	t.Helper()
	inside := func(path string) string { return filepath.Join(string(c), path) }
	if _, err := os.Stat(inside("/sbin/openrc-run")); err != nil {
		t.Error(err)
		return
	}
	// OpenRC of Debian is built without capabilities(7).
	script := regexp.MustCompile(`(?m)^capabilities=.*\n`).ReplaceAll(read(t, "packaging/otelcol-tcpstats.openrc"), nil)
	path := inside("/etc/init.d/otelcol-tcpstats")
	if err := os.WriteFile(path, script, 0o755); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(path) // and its log: neither is of the Debian package
	defer os.Remove(inside("/var/log/otelcol-tcpstats.log"))
	// What booting by OpenRC leaves.
	for _, dir := range strings.Fields("starting started stopping stopped inactive failed daemons options exclusive tmp") {
		if err := os.MkdirAll(inside("/run/openrc/"+dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(inside("/run/openrc/softlevel"), []byte("default\n"), 0o644); err != nil {
		t.Fatal(err)
	}

	config := inside("/etc/otelcol-tcpstats/config.yaml")
	was := read(t, config)
	address := freePorts(t, 1)[0]
	here := bytes.ReplaceAll(was, []byte("127.0.0.1:8890"), []byte(address))
	write := func(text []byte) {
		if err := os.WriteFile(config, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(here)
	defer write(was)
	shows := func(when string) {
		t.Helper()
		if body, err := get("http://"+address+"/top", 30*time.Second); err != nil || !strings.Contains(body, "PROCESS") {
			t.Errorf("%s: %v; the page is %q; the log:\n%s", when, err, body, read(t, inside("/var/log/otelcol-tcpstats.log")))
		}
	}
	service := func(verb string) (string, error) {
		return c.try("rc-service", "--nodeps", "otelcol-tcpstats", verb)
	}
	defer service("stop") // if the test ended before

	if said, err := service("start"); err != nil {
		t.Errorf("start: %v\n%s", err, said)
		return
	}
	shows("started")
	if said, err := service("reload"); err != nil {
		t.Errorf("reload: %v\n%s", err, said)
	}
	shows("reloaded")
	write(append(here, "exporters: 5\n"...))
	if said, err := service("reload"); err == nil {
		t.Errorf("it reloads a configuration that is wrong: %s", said)
	}
	write(here)
	shows("not reloaded")
	pid := c.process(t, "/usr/bin/otelcol-tcpstats")
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	shows("killed")
	if again := c.process(t, "/usr/bin/otelcol-tcpstats"); again == pid {
		t.Errorf("process %d did not die", pid)
	}
	if said, err := service("stop"); err != nil {
		t.Errorf("stop: %v\n%s", err, said)
	}
	if pid := c.process(t, "/usr/bin/otelcol-tcpstats"); pid != 0 {
		t.Errorf("process %d runs after stop", pid)
	}
}

// process returns the process that runs a program inside, 0 if there is none.
func (c chroot) process(t *testing.T, program string) int {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		if path, err := os.Readlink(link); err == nil && path == filepath.Join(string(c), program) {
			return number(t, filepath.Base(filepath.Dir(link)))
		}
	}
	return 0
}
