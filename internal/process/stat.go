// SPDX-License-Identifier: Apache-2.0

package process

import (
	"bytes"
	"errors"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// tick is the unit of time in /proc/pid/stat: USER_HZ is 100 on every
// architecture that Go runs on, whatever the kernel's own HZ.
const tick = 10 * time.Millisecond

// PF_EXITING and PF_KTHREAD in include/linux/sched.h.
const (
	exiting      = 0x4
	kernelThread = 0x200000
)

var (
	errStat     = errors.New("malformed stat")
	errBootTime = errors.New("no btime line")
)

// procStamp is Linux's stamp: what tells one process from another, and a
// program from the one that the same process runs after exec(2).
type procStamp struct {
	start  uint64   // ticks after boot; exec keeps it
	parent int32    // changes when the parent ends
	comm   [16]byte // TASK_COMM_LEN, NUL-padded; exec and prctl change it
	// Where the program's code and its stack begin. Random in each exec, unless
	// kernel.randomize_va_space is 0; shown only to those who may read the
	// process's descriptors, too.
	code, stack uint64
	// headless: the first thread has ended and others go on.
	headless bool
	// kernel: it is a thread of the kernel.
	kernel bool
}

// name is comm as a string.
func (s *procStamp) name() string {
	name, _, _ := bytes.Cut(s.comm[:], []byte{0})
	return tcp.Name(name, len(s.comm)-1)
}

// parseStat parses /proc/pid/stat (do_task_stat in fs/proc/array.c). Comm is in
// it unescaped and may hold anything: it ends at the last parenthesis.
//
// hollow says that the process is a zombie or about to be one, or a kernel
// thread: it holds no descriptors, or not for long.
func parseStat(stat []byte) (s procStamp, hollow bool, err error) {
	open, end := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
	if open < 0 || end < open {
		return procStamp{}, false, errStat
	}
	copy(s.comm[:], stat[open+1:end])

	var flags, threads uint64
	rest := bytes.TrimSuffix(stat[end+1:], []byte{'\n'})
	// Fields as numbered in proc_pid_stat(5).
	for number := 3; number <= 28; number++ {
		if len(rest) == 0 || rest[0] != ' ' {
			return procStamp{}, false, errStat
		}
		field := rest[1:]
		if i := bytes.IndexByte(field, ' '); i >= 0 {
			field = field[:i]
		}
		rest = rest[1+len(field):]

		ok := true
		switch number {
		case 4:
			var parent uint64
			parent, ok = parseUint(field)
			ok = ok && parent <= 1<<31-1
			s.parent = int32(parent)
		case 9:
			flags, ok = parseUint(field)
		case 20:
			threads, ok = parseUint(field)
		case 22:
			s.start, ok = parseUint(field)
		case 26:
			s.code, ok = parseUint(field)
		case 28:
			s.stack, ok = parseUint(field)
		}
		if !ok {
			return procStamp{}, false, errStat
		}
	}
	s.kernel = flags&kernelThread != 0
	s.headless = flags&exiting != 0 && threads > 1 && !s.kernel
	return s, s.kernel || flags&exiting != 0 && !s.headless, nil
}

// maxTicks keeps starting times inside time.Duration.
const maxTicks = 1<<63/uint64(tick) - 1

// created turns a starting time into a date.
func (s *procStamp) created(boot time.Time) time.Time {
	return boot.Add(time.Duration(min(s.start, maxTicks)) * tick)
}

// parseBootTime returns the btime line of /proc/stat, in whole seconds of the
// wall clock.
func parseBootTime(stat []byte) (time.Time, error) {
	for len(stat) > 0 {
		var line []byte
		line, stat, _ = bytes.Cut(stat, []byte{'\n'})
		if value, ok := bytes.CutPrefix(line, []byte("btime ")); ok {
			seconds, ok := parseUint(value)
			if !ok || seconds > 1<<40 {
				return time.Time{}, errBootTime
			}
			return time.Unix(int64(seconds), 0).UTC(), nil
		}
	}
	return time.Time{}, errBootTime
}

// isOf reports whether the process is the one that a source saw. executable is the
// name of its program's file.
func (s *procStamp) isOf(h *tcp.Holder, executable string) bool {
	return s.start == uint64(max(h.Started, 0)/tick) && (h.IsComm || executable == h.Executable)
}
