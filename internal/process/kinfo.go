// SPDX-License-Identifier: Apache-2.0

package process

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// struct kinfo_proc of <sys/user.h>, as kern.proc.pid gives it. The kernel
// keeps its size and the places of its members.
const (
	kinfoLen      = 1088
	atKinfoPID    = 72
	atKinfoParent = 76
	atKinfoRUID   = 172
	atKinfoStart  = 336 // struct timeval of the wall clock
	atKinfoStat   = 388
	atKinfoComm   = 447
	commLen       = 20 // COMMLEN + 1
	atKinfoJail   = 592

	zombie = 5 // SZOMB of <sys/proc.h>
)

var errKinfo = errors.New("malformed kinfo_proc")

// kinfo is FreeBSD's stamp: what tells one process from another, and most
// programs from the one that the same process runs after exec(2).
type kinfo struct {
	start  int64  // µs after boot; exec keeps it
	parent int32  // changes when the parent ends
	uid    uint32 // real
	jail   int32
	comm   [commLen]byte // base name of the program's file, NUL-padded; exec changes it
}

// name is comm as a string.
func (k *kinfo) name() string {
	name, _, _ := bytes.Cut(k.comm[:], []byte{0})
	return tcp.Name(name, commLen-1)
}

// isOf reports whether the process is the one that a source saw, by comm, which is
// all that a source of FreeBSD sees of the name of a program.
func (k *kinfo) isOf(h *tcp.Holder, _ string) bool {
	return k.start == h.Started.Microseconds() && k.name() == h.Executable
}

// maxUptime keeps starting times inside time.Duration.
const maxUptime = int64(1<<63-1) / int64(time.Microsecond)

// created turns a starting time into a date.
func (k *kinfo) created(boot time.Time) time.Time {
	return boot.Add(time.Duration(max(0, min(k.start, maxUptime))) * time.Microsecond)
}

// parseKinfo parses one struct kinfo_proc. boot is kern.boottime in µs, which
// the kernel has added to the time at which the process started: it is no
// longer the same once the clock was set. hollow says that the process is a
// zombie, which holds no descriptors.
func parseKinfo(b []byte, boot int64) (pid int32, k kinfo, hollow bool, err error) {
	if len(b) != kinfoLen {
		return 0, kinfo{}, false, fmt.Errorf("%w: %d bytes, not %d", errKinfo, len(b), kinfoLen)
	}
	i32 := func(at int) int32 { return int32(binary.NativeEndian.Uint32(b[at:])) }
	if n := i32(0); n != kinfoLen {
		return 0, kinfo{}, false, fmt.Errorf("%w: it says that it has %d bytes, not %d: a layout that is not known", errKinfo, n, kinfoLen)
	}
	start, err := parseTimeval(b[atKinfoStart : atKinfoStart+timevalLen])
	if err != nil {
		return 0, kinfo{}, false, fmt.Errorf("%w: ki_start: %w", errKinfo, err)
	}
	k = kinfo{
		start:  start - boot,
		parent: i32(atKinfoParent),
		uid:    uint32(i32(atKinfoRUID)),
		jail:   i32(atKinfoJail),
		comm:   [commLen]byte(b[atKinfoComm:]),
	}
	return i32(atKinfoPID), k, b[atKinfoStat] == zombie, nil
}

// timevalLen is the size of struct timeval on hosts of 64 bits.
const timevalLen = 16

// parseTimeval returns a struct timeval in µs.
func parseTimeval(b []byte) (micros int64, err error) {
	const maxSeconds = 1 << 40
	if len(b) != timevalLen {
		return 0, fmt.Errorf("struct timeval of %d bytes, not %d", len(b), timevalLen)
	}
	seconds, micros := int64(binary.NativeEndian.Uint64(b)), int64(binary.NativeEndian.Uint64(b[8:]))
	if seconds < 0 || seconds > maxSeconds || micros < 0 || micros >= 1e6 {
		return 0, fmt.Errorf("struct timeval of %d s and %d µs", seconds, micros)
	}
	return seconds*1e6 + micros, nil
}
