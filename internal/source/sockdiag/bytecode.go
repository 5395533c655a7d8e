// SPDX-License-Identifier: Apache-2.0

package sockdiag

import (
	"encoding/binary"
	"net/netip"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
)

// The kernel's filter language: struct inet_diag_bc_op of <linux/inet_diag.h>,
// {code u8, yes u8, no u16}, where yes and no are how many bytes on the next
// operation is. A program that comes to its end exactly has matched, one that
// jumps beyond it has not (net/ipv4/inet_diag.c inet_diag_bc_run).
const (
	opLen = 4

	opJump       = 1 // INET_DIAG_BC_JMP, by no
	opLocalFrom  = 2 // INET_DIAG_BC_S_GE, a port in the next operation's no
	opLocalUpTo  = 3 // INET_DIAG_BC_S_LE
	opPeerFrom   = 4 // INET_DIAG_BC_D_GE
	opPeerUpTo   = 5 // INET_DIAG_BC_D_LE
	opPeerPrefix = 8 // INET_DIAG_BC_D_COND, followed by struct inet_diag_hostcond

	hostCondLen = 8 // {family u8, prefix_len u8, -, port s32}, the address follows
	anyPort     = -1

	// maxProgram keeps within the 16 bits of no, and of the attribute's length.
	maxProgram = 32 << 10
)

// compile makes a program of the filter's ports and networks, which the kernel
// runs over everything but listeners. nil: the filter has none, or too many for
// a program; who reads the dump filters anyway.
func compile(f *source.Filter) []byte {
	var p program
	p.anyRange(opLocalFrom, opLocalUpTo, f.LocalPorts)
	p.anyRange(opPeerFrom, opPeerUpTo, f.PeerPorts)
	for i, prefix := range f.PeerInclude {
		p.prefix(prefix)
		if i == len(f.PeerInclude)-1 {
			p.elseReject()
		} else {
			p.elseNext()
			p.jumpToEnd()
		}
	}
	p.endClause()
	for _, prefix := range f.PeerExclude {
		p.prefix(prefix)
		p.elseNext()
		p.jump()
		p.elseReject()
	}
	if len(p.code) == 0 || len(p.code) > maxProgram {
		return nil
	}
	for _, at := range p.rejects {
		p.setNo(at, len(p.code)+opLen)
	}
	return p.code
}

// program is one that is being made. Clauses follow each other; one that does
// not hold rejects.
type program struct {
	code    []byte
	tests   []int // operations of the last test
	ends    []int // jumps to the end of the clause
	rejects []int
}

// anyRange is a clause: the port is in one of the ranges.
func (p *program) anyRange(from, upTo byte, ranges []source.PortRange) {
	for i, r := range ranges {
		p.tests = p.tests[:0]
		p.port(from, r.First)
		p.port(upTo, r.Last)
		if i == len(ranges)-1 {
			p.elseReject()
		} else {
			p.elseNext()
			p.jumpToEnd()
		}
	}
	p.endClause()
}

func (p *program) port(op byte, port uint16) {
	p.test(op, 2*opLen)
	p.code = append(p.code, 0, 0, 0, 0)
	binary.NativeEndian.PutUint16(p.code[len(p.code)-2:], port)
}

// prefix is a test of the peer's network.
func (p *program) prefix(prefix netip.Prefix) {
	p.tests = p.tests[:0]
	address := prefix.Addr().AsSlice()
	family := byte(familyIPv6)
	if prefix.Addr().Is4() {
		family = familyIPv4 // of IPv4 in IPv6, too
	}
	p.test(opPeerPrefix, opLen+hostCondLen+len(address))
	p.code = append(p.code, family, byte(prefix.Bits()), 0, 0)
	port := anyPort
	p.code = binary.NativeEndian.AppendUint32(p.code, uint32(port))
	p.code = append(p.code, address...)
}

// test appends the operation of a test that goes on behind its length if it
// holds. What it does else is set later.
func (p *program) test(op byte, length int) {
	p.tests = append(p.tests, len(p.code))
	p.code = append(p.code, op, byte(length), 0, 0)
}

// elseNext makes the last test go, if it does not hold, behind the jump that
// comes after it.
func (p *program) elseNext() {
	for _, at := range p.tests {
		p.setNo(at, len(p.code)+opLen)
	}
}

// elseReject makes the last test, or jump, reject.
func (p *program) elseReject() { p.rejects = append(p.rejects, p.tests...) }

func (p *program) jump() {
	p.tests = append(p.tests[:0], len(p.code))
	p.code = append(p.code, opJump, opLen, 0, 0)
}

func (p *program) jumpToEnd() {
	p.jump()
	p.ends = append(p.ends, p.tests...)
}

func (p *program) endClause() {
	for _, at := range p.ends {
		p.setNo(at, len(p.code))
	}
	p.ends = p.ends[:0]
}

// setNo makes the operation at one place go to another.
func (p *program) setNo(at, to int) {
	binary.NativeEndian.PutUint16(p.code[at+2:], uint16(to-at))
}
