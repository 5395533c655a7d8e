// SPDX-License-Identifier: Apache-2.0

//go:build freebsd

// Init is the first process of the guest. It makes the system ready, runs the jobs
// of the list, one after the other, and powers off. Its lines on the console say
// what became of each.
//
// With arguments it does a single thing that a job consists of: "kldload PATH" or
// "kldunload NAME".
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/netpulse/tcpstatsreceiver/tools/freebsd/job"
)

func main() {
	if os.Getpid() != 1 {
		if err := single(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if err := runAll(); err != nil {
		fmt.Print(job.Says("init", "failed", err.Error()))
	}
	fmt.Print(job.SaysOver)
	drainConsole()
	powerOff()
}

func single(args []string) error {
	if len(args) == 2 {
		switch args[0] {
		case "kldload":
			return loadModule(args[1])
		case "kldunload":
			return unloadModule(args[1])
		}
	}
	return fmt.Errorf("got %q, takes kldload PATH or kldunload NAME", args)
}

func runAll() error {
	if err := openConsole(); err != nil {
		return err
	}
	signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
	if err := furnish(); err != nil {
		return err
	}
	list, err := os.ReadFile(job.List)
	if err != nil {
		return err
	}
	var jobs []job.Job
	if err := json.Unmarshal(list, &jobs); err != nil {
		return fmt.Errorf("%s: %w", job.List, err)
	}
	for _, j := range jobs {
		fmt.Print(job.Says(j.Name, "begins", ""))
		drainConsole()
		if err := run(j); err != nil {
			fmt.Print(job.Says(j.Name, "failed", err.Error()))
		} else {
			fmt.Print(job.Says(j.Name, "passed", ""))
		}
		time.Sleep(time.Second) // for its connections to be gone
	}
	return nil
}

// run runs a job in a process group of its own, of which nothing is left after it.
func run(j job.Job) error {
	cmd := exec.Command(j.Args[0], j.Args[1:]...)
	cmd.Dir = j.Dir
	cmd.Env = append([]string{"PATH=/bin:/sbin", "HOME=/tmp", "TMPDIR=/tmp"}, j.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setpgid:    true,
		Credential: &syscall.Credential{Uid: uint32(j.UID), Gid: uint32(j.UID)},
	}
	out, in, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = in, in
	if err := cmd.Start(); err != nil {
		return errors.Join(err, in.Close(), out.Close())
	}
	in.Close()
	passed := make(chan error, 1)
	go func() { passed <- pass(out) }()

	group := -cmd.Process.Pid
	late := time.AfterFunc(j.Limit, func() {
		// Go programs tell then where each goroutine is.
		_ = syscall.Kill(group, syscall.SIGQUIT)
		time.Sleep(5 * time.Second)
		_ = syscall.Kill(group, syscall.SIGKILL)
	})
	err = cmd.Wait()
	if !late.Stop() {
		err = fmt.Errorf("not over after %s: %w", j.Limit, err)
	}
	if !gone(group) {
		_ = syscall.Kill(group, syscall.SIGKILL)
		err = errors.Join(err, errors.New("it left processes behind"))
	}
	select {
	case perr := <-passed:
		err = errors.Join(err, perr)
	case <-time.After(10 * time.Second):
		err = errors.Join(err, errors.New("its output does not end"))
	}
	return err
}

// gone waits a while for all processes of a group to end. Those whose parent has
// ended are ours.
func gone(group int) bool {
	for range 50 {
		for {
			if pid, err := syscall.Wait4(group, nil, syscall.WNOHANG, nil); pid <= 0 || err != nil {
				break
			}
		}
		if syscall.Kill(group, 0) == syscall.ESRCH {
			return true
		}
		time.Sleep(100 * time.Millisecond)
	}
	return false
}

// pass passes the output of a job on, line by line.
func pass(out io.Reader) error {
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			fmt.Print(job.Indent(trimEnd(line)))
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func trimEnd(line string) string {
	if line[len(line)-1] == '\n' {
		return line[:len(line)-1]
	}
	return line
}
