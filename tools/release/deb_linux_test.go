// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// deb makes the Debian package of a version.
func deb(t *testing.T, version string) string {
	t.Helper()
	r := fixture(t, version)
	stage, err := r.stage("linux", "amd64")
	if err != nil {
		t.Fatal(err)
	}
	made, err := r.linux(stage, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	return ending(t, made, ".deb")
}

// TestLintian has Debian's own checker look at the package.
func TestLintian(t *testing.T) {
	lintian, err := exec.LookPath("lintian")
	if err != nil {
		t.Skip("skipped: lintian is not installed (apt install lintian)")
	}
	command := exec.Command(lintian, "--fail-on", "error", "--suppress-tags", "bad-distribution-in-changes-file", deb(t, development))
	output, err := command.CombinedOutput()
	t.Logf("%s", output)
	if err != nil {
		t.Errorf("lintian: %v", err)
	}
}

// A chroot is a small Debian.
type chroot string

// debian makes one, or skips the test where that cannot be done.
func debian(t *testing.T) chroot {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("skipped: to install a package takes root")
	}
	tool, err := exec.LookPath("mmdebstrap")
	if err != nil {
		t.Skip("skipped: mmdebstrap is not installed (apt install mmdebstrap)")
	}
	dir := filepath.Join(t.TempDir(), "debian")
	command := exec.Command(tool, "--variant=minbase", "--include=openrc", "--skip=cleanup/apt", "bookworm", dir)
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	command.WaitDelay = time.Second
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	timeout := time.AfterFunc(5*time.Minute, func() { command.Process.Kill() })
	defer timeout.Stop()
	if err := command.Wait(); err != nil {
		t.Skipf("skipped: no Debian can be made here: %v\n%s", err, output.Bytes())
	}
	proc := filepath.Join(dir, "proc")
	if err := syscall.Mount("proc", proc, "proc", 0, ""); err != nil {
		t.Skipf("skipped: mount %s: %v", proc, err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(proc, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return chroot(dir)
}

// run runs a command inside.
func (c chroot) run(t *testing.T, name string, args ...string) string {
	t.Helper()
	output, err := c.try(name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, output)
	}
	return output
}

// try runs a command inside that may fail.
func (c chroot) try(name string, args ...string) (string, error) {
	command := exec.Command(name, args...)
	command.SysProcAttr = &syscall.SysProcAttr{Chroot: string(c)}
	command.Dir = "/"
	command.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive"}
	// The path is looked up inside.
	command.Path, command.Err = "/usr/bin/env", nil
	command.Args = append([]string{"env", name}, args...)
	// Services run on, with its output as theirs.
	command.WaitDelay = time.Second
	output, err := command.CombinedOutput()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil
	}
	return string(output), err
}

// number is the number that a text is.
func number(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// take copies a file of this host to the root inside.
func (c chroot) take(t *testing.T, path string) string {
	t.Helper()
	if err := os.WriteFile(filepath.Join(string(c), filepath.Base(path)), read(t, path), 0o644); err != nil {
		t.Fatal(err)
	}
	return "/" + filepath.Base(path)
}

// TestInstall installs the package in a Debian of its own, runs what it has as its unit
// would, upgrades it, and removes it.
func TestInstall(t *testing.T) {
	first, second := deb(t, "0.1.0"), deb(t, "0.1.1")
	c := debian(t)
	inside := func(path string) string { return filepath.Join(string(c), path) }
	missing := func(path string) bool {
		_, err := os.Lstat(inside(path))
		return errors.Is(err, fs.ErrNotExist)
	}

	c.run(t, "dpkg", "-i", c.take(t, first))
	passwd := c.run(t, "getent", "passwd", "otelcol-tcpstats")
	fields := strings.Split(passwd, ":")
	uid, err := strconv.Atoi(fields[2])
	if err != nil || uid == 0 || uid >= 1000 {
		t.Fatalf("its user is %q", passwd)
	}
	gid, err := strconv.Atoi(fields[3])
	if err != nil {
		t.Fatalf("its user is %q", passwd)
	}
	state, err := os.Stat(inside("/var/lib/otelcol-tcpstats"))
	if err != nil {
		t.Fatal(err)
	}
	if owner := state.Sys().(*syscall.Stat_t); int(owner.Uid) != uid || state.Mode().Perm() != 0o750 {
		t.Errorf("/var/lib/otelcol-tcpstats is %v of %d", state.Mode(), owner.Uid)
	}
	if version := c.run(t, "dpkg-query", "-W", "-f", "${Version}", "otelcol-tcpstats"); version != "0.1.0" {
		t.Errorf("version %q is installed", version)
	}
	if said := c.run(t, "otelcol-tcpstats", "validate", "--config", "/etc/otelcol-tcpstats/config.yaml"); said != "" {
		t.Errorf("validate says of the default configuration: %s", said)
	}
	c.serves(t, uid, gid)
	c.openrc(t)
	// In the chroot of an image as well, where systemd does not run.
	enabled := "/etc/systemd/system/multi-user.target.wants/otelcol-tcpstats.service"
	if missing(enabled) {
		t.Error("the service is not enabled")
	}

	// What the administrator changed stays.
	if err := os.Remove(inside(enabled)); err != nil {
		t.Error(err)
	}
	config := inside("/etc/otelcol-tcpstats/config.yaml")
	changed := append([]byte("# changed here\n"), read(t, config)...)
	if err := os.WriteFile(config, changed, 0o644); err != nil {
		t.Fatal(err)
	}
	c.run(t, "dpkg", "-i", c.take(t, second))
	if version := c.run(t, "dpkg-query", "-W", "-f", "${Version}", "otelcol-tcpstats"); version != "0.1.1" {
		t.Errorf("after the upgrade version %q is installed", version)
	}
	if !bytes.Equal(read(t, config), changed) {
		t.Error("the upgrade changed the configuration")
	}
	c.serves(t, uid, gid)
	if !missing(enabled) {
		t.Error("the upgrade enabled the service, which was disabled")
	}

	// What is removed and installed again runs again.
	if err := os.Symlink("/lib/systemd/system/otelcol-tcpstats.service", inside(enabled)); err != nil {
		t.Fatal(err)
	}
	asked := c.systemd(t)
	c.run(t, "dpkg", "-r", "otelcol-tcpstats")
	if !strings.Contains(asked(), "stop otelcol-tcpstats.service") {
		t.Error("the removal does not stop the service")
	}
	c.run(t, "dpkg", "-i", c.take(t, second))
	if missing(enabled) {
		t.Error("after another installation the service is not enabled")
	}
	if !strings.Contains(asked(), "start otelcol-tcpstats.service") {
		t.Error("after another installation the service is not started")
	}
	// Nor does what systemd refuses keep anybody from a removal.
	c.systemdRefuses(t)

	c.run(t, "dpkg", "-r", "otelcol-tcpstats")
	if !missing("/usr/bin/otelcol-tcpstats") || missing("/etc/otelcol-tcpstats/config.yaml") {
		t.Error("after the removal the program is there, or the configuration is not")
	}
	if err := os.WriteFile(inside("/var/lib/otelcol-tcpstats/records.jsonl"), []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.run(t, "dpkg", "--purge", "otelcol-tcpstats")
	for _, dir := range []string{"/etc", "/usr", "/var", "/lib"} {
		left := strings.TrimSpace(c.run(t, "find", dir, "-name", "*otelcol*"))
		if left != "" {
			t.Errorf("after the purge there is still\n%s", left)
		}
	}
	if users := c.run(t, "getent", "passwd"); strings.Contains(users, "otelcol") {
		t.Error("after the purge its user is still there")
	}
}

// systemd puts a systemctl inside that says yes to everything, and returns a function with
// what it was asked since the last call.
func (c chroot) systemd(t *testing.T) func() string {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(string(c), "run", "systemd", "system"), 0o755); err != nil {
		t.Fatal(err)
	}
	c.systemctl(t, "echo \"$*\" >>/asked\ncase $* in *is-enabled*) echo enabled ;; *is-active*) echo active ;; esac\n")
	return func() string {
		path := filepath.Join(string(c), "asked")
		said := read(t, path)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		return string(said)
	}
}

// systemdRefuses has systemctl fail from now on.
func (c chroot) systemdRefuses(t *testing.T) {
	t.Helper()
	c.systemctl(t, "exit 1\n")
}

func (c chroot) systemctl(t *testing.T, body string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(string(c), "usr", "bin", "systemctl"), []byte("#!/bin/sh\n"+body), 0o755); err != nil {
		t.Fatal(err)
	}
}

// serves runs the command of the unit with the unit's user and capabilities, and looks
// at the page.
func (c chroot) serves(t *testing.T, uid, gid int) {
	t.Helper()
	settings := make(map[string]string)
	for line := range strings.Lines(string(read(t, filepath.Join(string(c), "/lib/systemd/system/otelcol-tcpstats.service")))) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(key, "#") {
			settings[key] = value
		}
	}
	capabilities := map[string]uintptr{"CAP_DAC_READ_SEARCH": 2, "CAP_SYS_PTRACE": 19}
	var ambient []uintptr
	for _, name := range strings.Fields(settings["AmbientCapabilities"]) {
		number, ok := capabilities[name]
		if !ok {
			t.Fatalf("the unit wants %s", name)
		}
		ambient = append(ambient, number)
	}
	// Another collector of this machine may have the page's own port.
	address := freePorts(t, 1)[0]
	words := strings.Fields(settings["ExecStart"])
	command := exec.Command(words[0], append(words[1:], "--set", "receivers::tcp_stats::page::endpoint="+address)...)
	command.Err = nil // it is inside
	command.Dir = settings["WorkingDirectory"]
	command.SysProcAttr = &syscall.SysProcAttr{
		Chroot:      string(c),
		Credential:  &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)},
		AmbientCaps: ambient,
	}
	var log bytes.Buffer
	command.Stdout, command.Stderr = &log, &log
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	body, err := get("http://"+address+"/top", 30*time.Second)
	if err == nil && !strings.Contains(body, "PROCESS") {
		err = fmt.Errorf("the page is %q", body)
	}
	command.Process.Signal(syscall.SIGTERM)
	if stopped := <-ended; err != nil || stopped != nil {
		t.Errorf("run as the unit would: %v, %v\n%s", err, stopped, log.Bytes())
	}
}

// get asks until there is an answer.
func get(url string, patience time.Duration) (string, error) {
	var last error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		response, err := http.Get(url)
		if err != nil {
			last = err
			continue
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err == nil && response.StatusCode == http.StatusOK {
			return string(body), nil
		}
		last = fmt.Errorf("%s: %w", response.Status, err)
	}
	return "", last
}
