// SPDX-License-Identifier: Apache-2.0

//go:build linux

package contestant

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"runtime/metrics"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// usage is what a contestant has taken since it started.
type usage interface {
	// cpuTime is user and system time, of all threads.
	cpuTime() time.Duration
	// allocations is the number of heap objects; ok is false where there are none
	// to count.
	allocations() (n uint64, ok bool)
	// peakRSS is the largest resident set, in bytes.
	peakRSS() (int64, error)
}

// own is the usage of this process: whatever its runtime does at the side, the
// garbage collector above all, is in it.
type own struct {
	samples [2]metrics.Sample
}

func newOwn() *own {
	o := &own{}
	// Together they are runtime.MemStats.Mallocs, without stopping the world.
	o.samples[0].Name = "/gc/heap/allocs:objects"
	o.samples[1].Name = "/gc/heap/tiny/allocs:objects"
	return o
}

func (o *own) cpuTime() time.Duration { return cpuTime(unix.CLOCK_PROCESS_CPUTIME_ID) }

// cpuTime reads a clock of CPU time. Those of getrusage lag by a tick.
func cpuTime(clock int32) time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(clock, &t); err != nil {
		panic(err) // it fails on a bad argument only
	}
	return time.Duration(t.Nano())
}

func (o *own) allocations() (uint64, bool) {
	metrics.Read(o.samples[:])
	return o.samples[0].Value.Uint64() + o.samples[1].Value.Uint64(), true
}

func (o *own) peakRSS() (int64, error) { return peakMemory("self") }

// other is the usage of a program that is not in Go, as its reader gathers it.
type other struct {
	cpu  time.Duration
	peak int64
}

func (o *other) cpuTime() time.Duration      { return o.cpu }
func (o *other) allocations() (uint64, bool) { return 0, false }
func (o *other) peakRSS() (int64, error)     { return o.peak, nil }

// peakMemory is VmHWM of a process. Rusage.Maxrss does not do: a process that
// Go starts inherits its parent's.
func peakMemory(pid string) (int64, error) {
	path := "/proc/" + pid + "/status"
	status, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(status) {
		if value, ok := bytes.CutPrefix(line, []byte("VmHWM:")); ok {
			kib, err := strconv.ParseInt(string(bytes.TrimSuffix(bytes.TrimSpace(value), []byte(" kB"))), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("%s: VmHWM: %w", path, err)
			}
			return kib << 10, nil
		}
	}
	return 0, fmt.Errorf("%s has no VmHWM: has the process ended?", path)
}

// lines counts the lines of a text that do not go on from the one before.
func lines(r *bufio.Reader, each func()) (n int, err error) {
	for {
		line, err := r.ReadSlice('\n')
		if len(line) > 0 && line[0] != ' ' && line[0] != '\t' {
			n++
		}
		each()
		if err != nil {
			return n, err
		}
	}
}
