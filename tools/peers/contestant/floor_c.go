// SPDX-License-Identifier: Apache-2.0

//go:build linux

package contestant

import (
	"bufio"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

//go:embed native/floor.c
var floorSource []byte

// floorC is the floor in C, compiled when it is wanted.
type floorC struct {
	other
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *bufio.Reader
}

func newFloorC() (*floorC, error) {
	cc := os.Getenv("CC")
	if cc == "" {
		cc = "cc"
	}
	if _, err := exec.LookPath(cc); err != nil {
		return nil, fmt.Errorf("it takes a C compiler (apt install gcc libc6-dev linux-libc-dev): %w", err)
	}
	dir, err := os.MkdirTemp("", "tcpstats-peers-")
	if err != nil {
		return nil, err
	}
	f, err := startFloorC(cc, dir)
	// What runs needs its file no more.
	return f, errors.Join(err, os.RemoveAll(dir))
}

func startFloorC(cc, dir string) (*floorC, error) {
	source, binary := filepath.Join(dir, "floor.c"), filepath.Join(dir, "floor")
	if err := os.WriteFile(source, floorSource, 0o600); err != nil {
		return nil, err
	}
	if said, err := exec.Command(cc, "-O2", "-o", binary, source).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compile floor.c: %w: %s", err, said)
	}
	f := &floorC{cmd: exec.Command(binary)}
	f.cmd.Stderr = os.Stderr
	var err error
	if f.stdin, err = f.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := f.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	f.stdout = bufio.NewReader(stdout)
	if err := f.cmd.Start(); err != nil {
		return nil, err
	}
	return f, nil
}

func (f *floorC) first() (int, error) { return f.pass() }

func (f *floorC) pass() (int, error) {
	if _, err := f.stdin.Write([]byte{'.'}); err != nil {
		return 0, err
	}
	line, err := f.stdout.ReadString('\n')
	if err != nil {
		return 0, err
	}
	ns, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
	if err != nil {
		return 0, err
	}
	f.cpu += time.Duration(ns)
	f.peak, err = peakMemory(strconv.Itoa(f.cmd.Process.Pid))
	return unknown, err
}

func (f *floorC) close() error {
	return errors.Join(f.stdin.Close(), f.cmd.Wait())
}
