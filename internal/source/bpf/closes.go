// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// struct ending of program/closes.bpf.c: a connection, its holder, and how it
// ended.
const (
	holderStart      = connectionLen
	holderPID        = connectionLen + 8
	holderUID        = connectionLen + 12
	holderExecutable = connectionLen + 16
	holderIsComm     = connectionLen + 79

	endingEstablished = connectionLen + 80
	endingHandshake   = connectionLen + 88
	endingEnded       = connectionLen + 96
	endingError       = connectionLen + 104
	endingFacts       = connectionLen + 108
	endingLen         = connectionLen + 112
)

// maxComm is how long the kernel lets the name of a thread be, TASK_COMM_LEN of
// <linux/sched.h> without its NUL.
const maxComm = 15

// maxHolders is how many processes are remembered, so that all their connections
// share one value.
const maxHolders = 4096

// endings turns records of connections that end into notices.
type endings struct {
	decoder
	clock   clock
	notice  tcp.Notice // reused for every record
	holders map[holderKey]seenHolder
	// pids: the kernel's process numbers are those of our PID namespace.
	pids bool
}

// seenHolder is a process with its name as the kernel has it.
type seenHolder struct {
	*tcp.Holder
	raw string
}

type holderKey struct {
	start uint64
	pid   uint32
}

// ending decodes a record into e.notice.
func (e *endings) ending(b []byte) error {
	if len(b) < endingLen {
		return fmt.Errorf("record of an ending of %d bytes, wants %d", len(b), endingLen)
	}
	if b[headKind] != kindConnection {
		return fmt.Errorf("record of an ending of kind %d", b[headKind])
	}
	if _, err := e.record(b); err != nil {
		return err
	}
	e.notice = tcp.Notice{Socket: e.socket, Left: e.socket.State, WithoutFINs: true}
	s := &e.notice
	was := end{
		left:        s.Left,
		errno:       binary.LittleEndian.Uint32(b[endingError:]),
		facts:       b[endingFacts],
		finReceived: b[headFlags]&flagFINReceived != 0,
		allAcked:    binary.LittleEndian.Uint32(b[connectionSendQueue:]) == 0,
	}
	switch s.Left {
	case tcp.FinWait1, tcp.Closing, tcp.LastAck:
		// Only what the record itself says tells whether the peer has
		// acknowledged our FIN: all that was sent is acknowledged then.
		if was.allAcked && s.BytesAcked > 0 {
			s.BytesAcked--
		}
	case tcp.SynSent, tcp.SynReceived:
		// No connection came of it.
		s.Failure = tcp.LinuxFailure(was.errno)
		s.NeverEstablished = true
	}
	s.Cause = was.cause()
	s.Handshake = nanoseconds(b[endingHandshake:])
	established, ended := nanoseconds(b[endingEstablished:]), nanoseconds(b[endingEnded:])
	s.Ended = e.clock.at(ended)
	if established > 0 {
		s.Established = e.clock.at(established)
		s.Age = max(ended-established, 0)
		s.Fields = s.Fields.With(tcp.FieldAge)
	}
	s.State, s.Inode = tcp.Closed, 0
	s.Holder = e.holder(b)
	return nil
}

func nanoseconds(b []byte) time.Duration {
	return time.Duration(min(binary.LittleEndian.Uint64(b), 1<<63-1))
}

// clock is one moment by two clocks.
type clock struct {
	wall time.Time
	boot time.Duration // since boot, time asleep included
}

// at returns the wall-clock time of a moment.
func (c clock) at(boot time.Duration) time.Time { return c.wall.Add(boot - c.boot) }

// holder returns the process of a record, nil if there is none.
func (e *endings) holder(b []byte) *tcp.Holder {
	key := holderKey{start: binary.LittleEndian.Uint64(b[holderStart:]), pid: binary.LittleEndian.Uint32(b[holderPID:])}
	if key.pid == 0 {
		return nil
	}
	raw, _, _ := bytes.Cut(b[holderExecutable:holderIsComm], []byte{0})
	isComm := b[holderIsComm] != 0
	// A process that is about to end has no file any more, but may have had one
	// in an earlier record.
	if h, ok := e.holders[key]; ok && (isComm || h.raw == string(raw)) {
		return h.Holder
	}
	name := tcp.FileName(raw)
	if isComm {
		name = tcp.Name(raw, maxComm)
	}
	if len(e.holders) >= maxHolders {
		clear(e.holders)
	}
	h := &tcp.Holder{
		UID:        binary.LittleEndian.Uint32(b[holderUID:]),
		Started:    time.Duration(min(key.start, 1<<63-1)),
		Executable: name,
		IsComm:     isComm,
	}
	if e.pids {
		h.PID = int32(key.pid)
	}
	e.holders[key] = seenHolder{h, string(raw)}
	return h
}
