// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"encoding/binary"
	"fmt"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// struct life of program/life.h, which the programs keep with each connection, as far
// as it is read here.
const (
	lifeRole        = 30
	lifeCounted     = 31
	lifeRetransmits = 36
	lifeLen         = 56
)

// struct change of program/closes.bpf.c.
const (
	changeCookie      = 0
	changeRole        = 8
	changeCounted     = 9
	changeRetransmits = 12
	changeLen         = 32
)

// life is what the programs keep with a connection and dumps show.
type life struct {
	role        tcp.Role
	counted     bool // retransmits are known
	pass        uint32
	retransmits [tcp.NumRetransmitTypes]uint32
}

// show takes it into a sample: as fill_life of program/life.h does into a record of
// the iterator.
func (l *life) show(s *tcp.Socket) {
	if l.role != tcp.NoRole {
		s.Role = l.role
	}
	if !l.counted {
		return
	}
	for i, n := range l.retransmits {
		s.RetransmitsBy[i] = uint64(n)
	}
	s.Fields = s.Fields.With(tcp.FieldRetransmitsBy)
}

func decodeLife(role_, counted byte, retransmits []byte) (l life) {
	l.role, l.counted = role(0, role_), counted != 0
	for i := range l.retransmits {
		l.retransmits[i] = binary.LittleEndian.Uint32(retransmits[4*i:])
	}
	return l
}

// lives are what is known of the connections that sock_diag's dumps have, by cookie.
// Dumps that ask the kernel for all of it cost half as much again, so what changes from
// one to the next is followed instead.
type lives struct {
	of   map[uint64]*life
	pass uint32
}

// begin begins a dump.
func (ls *lives) begin() { ls.pass++ }

// kept takes what a dump shows as being kept with a connection.
func (ls *lives) kept(value []byte, s *tcp.Socket) {
	if len(value) < lifeLen {
		return
	}
	l := decodeLife(value[lifeRole], value[lifeCounted], value[lifeRetransmits:])
	ls.put(s.ID.Cookie, l)
}

func (ls *lives) put(cookie uint64, l life) {
	l.pass = ls.pass
	if has, ok := ls.of[cookie]; ok {
		*has = l
	} else {
		ls.of[cookie] = &l
	}
}

// changed takes a record of a change.
func (ls *lives) changed(b []byte) error {
	if len(b) < changeLen {
		return fmt.Errorf("record of a change of %d bytes, wants %d", len(b), changeLen)
	}
	l := decodeLife(b[changeRole], b[changeCounted], b[changeRetransmits:])
	ls.put(binary.LittleEndian.Uint64(b[changeCookie:]), l)
	return nil
}

// show shows what is known of a connection in a sample of it, and reports whether
// anything is.
func (ls *lives) show(s *tcp.Socket) bool {
	l, ok := ls.of[s.ID.Cookie]
	if !ok {
		return false
	}
	l.pass = ls.pass
	l.show(s)
	return true
}

// end ends a complete dump of so many sockets: it forgets connections that it did not
// have, once there are many, and reports whether it did.
func (ls *lives) end(sockets int) (forgot bool) {
	if len(ls.of) <= 2*sockets+256 {
		return false
	}
	for cookie, l := range ls.of {
		if l.pass != ls.pass {
			delete(ls.of, cookie)
			forgot = true
		}
	}
	return forgot
}
