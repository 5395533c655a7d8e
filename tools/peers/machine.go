// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/tools/peers/hold"
)

// insideVariable tells the bench that its network namespace is its own.
const insideVariable = "TCPSTATS_PEERS_INSIDE"

// ownNamespace gives the bench a network namespace of its own, in which nobody
// else has sockets, by running it once more. inside is false where that has been
// done, and err how it ended.
func ownNamespace() (inside bool, err error) {
	if os.Getenv(insideVariable) != "" {
		return true, hold.LoopbackUp()
	}
	// The child gets its signal when the thread that made it ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), insideVariable+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: unix.SIGKILL}
	err = cmd.Start()
	if errors.Is(err, unix.EPERM) {
		log.Print("no network namespace of its own (it takes CAP_SYS_ADMIN): the host's other sockets are measured, too")
		return true, nil
	}
	if err != nil {
		return false, err
	}
	return false, cmd.Wait()
}

// machine says when and on what the bench ran.
func machine() (string, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "", fmt.Errorf("uname: %w", err)
	}
	cpu, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "", err
	}
	release := regexp.MustCompile(`^[0-9]+\.[0-9]+`).FindString(unix.ByteSliceToString(name.Release[:]))
	what := "machine"
	if regexp.MustCompile(`(?m)^flags\s*:.*\bhypervisor\b`).Match(cpu) {
		what = "virtual machine"
	}
	model := ""
	if m := regexp.MustCompile(`(?m)^model name\s*:\s*(.*)$`).FindSubmatch(cpu); m != nil {
		model = " of " + article(string(bytes.TrimSpace(m[1])))
	}
	about := fmt.Sprintf("%s, a %s with %d cores%s, Linux %s, %s", time.Now().Format(time.DateOnly), what,
		runtime.NumCPU(), model, release, strings.Replace(runtime.Version(), "go", "Go ", 1))
	if version := ssVersion(); version != "" {
		about += ", " + version
	}
	return about + ".", nil
}

func article(noun string) string {
	if strings.ContainsAny(noun[:1], "AEIOU") {
		return "an " + noun
	}
	return "a " + noun
}

// ssVersion is empty without ss.
func ssVersion() string {
	said, err := exec.Command("ss", "-V").Output()
	if errors.Is(err, exec.ErrNotFound) || err != nil {
		return ""
	}
	return regexp.MustCompile(`iproute2-[0-9.]+`).FindString(string(said))
}
