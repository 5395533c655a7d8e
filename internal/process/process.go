// SPDX-License-Identifier: Apache-2.0

package process

import (
	"cmp"
	"fmt"
	"time"
)

// Process is what is known of one process. All its sockets share it. It never
// changes once it was handed out: a process that changed is a new value.
//
// Strings are valid UTF-8, whatever the process made of its names.
type Process struct {
	PID, ParentPID int32
	// Executable is the base name of the program's file, cut at [tcp.MaxName] bytes,
	// and where that cannot be read, comm. Comm comes second because it is cut at 15
	// bytes (FreeBSD: 19) and because threads and prctl(2) rename it: node's is
	// MainThread.
	Executable string
	// Command is argv[0] as it was when the process was first seen, and never
	// more of the command line, which may hold secrets.
	Command string
	// Owner is the user name of the real uid, or its number where the passwd
	// file has no name for it.
	Owner string
	// Created is when the process started. The same for the life of the process.
	// On Linux to 10 ms, counted from a boot time that the kernel gives in whole
	// seconds; on FreeBSD to the microsecond.
	Created time.Time
	// Cgroup is the path in the unified hierarchy (v2). Where that is absent or
	// the root, as on hosts that still use v1, it is the first of these that is
	// not the root: name=systemd, memory, the others in the kernel's order.
	Cgroup string
	// JailID is the FreeBSD jail that the process runs in; 0 outside of jails, and
	// for those in our own.
	JailID int32
	// ContainerID is the 64 hex digits that name the innermost container in the
	// cgroup's path; "" outside of containers.
	ContainerID string
}

// Owner says which descriptor of which process holds a socket. The zero Owner
// says that none is known.
type Owner struct {
	Process *Process
	FD      int32

	// sought: a walk has looked for the socket in vain. Such a socket is looked
	// for in every later walk but is no reason for one: else an unprivileged
	// user, who cannot find other users' sockets, would walk for ever.
	sought bool
	// lap is the first that looks for the socket from its beginning, 0 where it is
	// not known yet or no longer matters.
	lap uint16
}

// Reason says why a socket has no owner.
type Reason uint8

// The reasons.
const (
	// ReasonNone: it has one, or nobody has looked for it yet.
	ReasonNone Reason = iota
	// ReasonPending: no walk was due yet, or the walk was cut short.
	ReasonPending
	// ReasonNoPermission: no process whose descriptors we may read has it, and
	// there are others ([Stats.Why]). On Linux those of other users' processes take
	// both CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, and those outside of our PID
	// namespace cannot be seen at all.
	ReasonNoPermission
	// ReasonNoOwner: no process has it: not accepted yet, orphaned, TIME_WAIT,
	// the kernel's own.
	ReasonNoOwner

	// NumReasons is the number of reasons.
	NumReasons
)

var reasonNames = [...]string{"", "pending", "no_permission", "no_owner"}

// String returns the reason as a value of error.type.
func (r Reason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return fmt.Sprintf("reason(%d)", uint8(r))
}

// Claim asks for the owner of one socket. [Resolver.Resolve] writes the answer
// through the pointers.
//
// Owner also carries whether a walk has looked for the socket: keep it from
// one scrape to the next, and zero it to ask afresh.
type Claim struct {
	Inode  uint64 // 0: nobody can hold it
	Owner  *Owner
	Reason *Reason
}

// age orders processes: by creation, and in the same clock tick by pid.
type age struct {
	created time.Time
	pid     int32
}

func (p *Process) age() age { return age{p.Created, p.PID} }

// compare is negative where a is older than b.
func (a age) compare(b age) int {
	if c := a.created.Compare(b.created); c != 0 {
		return c
	}
	return cmp.Compare(a.pid, b.pid)
}
