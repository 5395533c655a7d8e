// SPDX-License-Identifier: Apache-2.0

package freebsd

import (
	"bufio"
	"fmt"
	"hash/fnv"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"
)

const (
	// A guest that says nothing for so long has hung: init bounds each job.
	hangs = jobLimit + 2*time.Minute
	// What a kernel may take to say why it panics.
	dies = 20 * time.Second
)

// TestKernel boots the kernel and runs everything in it.
func TestKernel(t *testing.T) {
	kernel := os.Getenv("FREEBSD_KERNEL")
	if kernel == "" {
		t.Skip("no FreeBSD kernel is named: `make test-freebsd KERNEL=/path/to/kernel`")
	}
	for tool, from := range map[string]string{
		"qemu-system-x86_64": "qemu-system-x86",
		"makefs":             "makefs",
	} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s cannot be had (apt install %s): %v", tool, from, err)
		}
	}
	if _, err := os.Stat(kernel); err != nil {
		t.Fatal(err)
	}

	g := newGuest(t, os.Getenv("FREEBSD_JOBS"), os.Getenv("FREEBSD_KMOD"))
	rounds := os.Getenv("FREEBSD_COST")
	if rounds != "" {
		g.cost(rounds)
	} else {
		g.packages()
		g.endToEnd(os.Getenv("FREEBSD_PACKAGE"))
	}
	g.finish()

	// Each kernel has its own, so that several can run at once.
	path, err := filepath.Abs(kernel)
	if err != nil {
		t.Fatal(err)
	}
	of := fnv.New32a()
	_, _ = of.Write([]byte(path))
	record, err := os.Create(filepath.Join(build(t), fmt.Sprintf("console-%08x.txt", of.Sum32())))
	if err != nil {
		t.Fatal(err)
	}
	defer record.Close()
	t.Logf("the console is written to %s", record.Name())
	boot := exec.Command("sh", "boot.sh", kernel, g.root)
	if rounds != "" {
		boot.Env = append(os.Environ(), "ICOUNT=1")
	}
	boot.Stderr = os.Stderr
	out, err := boot.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := boot.Start(); err != nil {
		t.Fatal(err)
	}
	// Its end is the end of the console, and of all that waits for it.
	hung := time.AfterFunc(hangs, func() { _ = boot.Process.Signal(syscall.SIGTERM) })
	defer hung.Stop()
	c := &console{lines: bufio.NewScanner(out), record: record, hung: hung}
	c.lines.Buffer(nil, 1<<20)
	done := c.follow(t)
	if err := boot.Wait(); err != nil {
		t.Errorf("boot.sh: %v", err)
	}
	if !c.over {
		t.Errorf("the guest did not come to the end of its jobs: see %s", record.Name())
	}
	for _, j := range g.jobs {
		if !slices.Contains(done, j.Name) {
			t.Errorf("%s did not begin", j.Name)
		}
	}
}
