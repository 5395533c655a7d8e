// SPDX-License-Identifier: Apache-2.0

//go:build linux

package contestant

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
)

// ss is iproute2's program, run anew for each pass as any caller must.
type ss struct {
	other
	flags string
}

func newSS(flags string) (*ss, error) {
	if _, err := exec.LookPath("ss"); err != nil {
		return nil, fmt.Errorf("it takes iproute2 (apt install iproute2): %w", err)
	}
	return &ss{flags: flags}, nil
}

// first counts what ss prints, and its memory while it does.
func (s *ss) first() (int, error) {
	cmd := exec.Command("ss", s.flags)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	pid := strconv.Itoa(cmd.Process.Pid)
	printed := 0
	sockets, err := lines(bufio.NewReader(stdout), func() {
		if printed++; printed%256 != 1 {
			return
		}
		// Once it has written all it may have ended: with few sockets at once, and
		// its memory is not known.
		if peak, err := peakMemory(pid); err == nil {
			s.peak = peak
		}
	})
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return sockets, errors.Join(err, cmd.Wait())
}

func (s *ss) pass() (int, error) {
	cmd := exec.Command("ss", s.flags) // its output goes to /dev/null
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return 0, err
	}
	s.cpu += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return unknown, nil
}

func (s *ss) close() error { return nil }
