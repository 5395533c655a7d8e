// SPDX-License-Identifier: Apache-2.0

// Package filter makes the filters that capture engines run in the kernel, in the
// language of BPF's first version (golang.org/x/net/bpf).
package filter

import (
	"golang.org/x/net/bpf"

	"github.com/netpulse/tcpstatsreceiver/internal/capture/packet"
)

// Snap is how many bytes of a packet filters take: all that a packet of IP may
// have, for TCP comes here in pieces that the hardware is to split.
const Snap = 1<<16 - 1

// maxExtensions is how many extension headers of IPv6 are passed over. The
// language has no loops.
const maxExtensions = 3

// tcpFlags is where a TCP header has its flags (RFC 9293 §3.1).
const tcpFlags = 13

// Port returns a filter that takes UDP and TCP from and to a port, over IPv4 and
// IPv6. It looks at packets from their IP header on. Fragments other than the first
// have no ports.
func Port(port uint16) ([]bpf.Instruction, error) { return build(port, false) }

// PortOrSYN returns a filter that takes what [Port] takes, and every TCP segment with
// the flag SYN: the first one of a connection, and the answer to it.
func PortOrSYN(port uint16) ([]bpf.Instruction, error) { return build(port, true) }

func build(port uint16, syn bool) ([]bpf.Instruction, error) {
	var a assembler
	segment := "ports" // where TCP goes
	if syn {
		segment = "flags"
	}
	// Nearly all packets are IPv4 without options: the ports of these are always in the
	// same place, and what is not wanted costs the least there.
	a.add(bpf.LoadAbsolute{Off: 0, Size: 1})
	a.jumpIf(bpf.JumpNotEqual, 0x45, "versions")
	a.add(bpf.LoadAbsolute{Off: 20, Size: 2})
	a.jumpIf(bpf.JumpEqual, uint32(port), "plain ports")
	a.add(bpf.LoadAbsolute{Off: 22, Size: 2})
	if syn {
		a.jumpIf(bpf.JumpEqual, uint32(port), "plain ports")
		a.add(bpf.LoadAbsolute{Off: 20 + tcpFlags, Size: 1})
		a.jumpIf(bpf.JumpBitsSet, packet.FlagSYN, "plain segment")
		a.jump("plain refuse")
		a.label("plain segment")
		a.add(bpf.LoadAbsolute{Off: 9, Size: 1})
		a.jumpIf(bpf.JumpNotEqual, packet.TCP, "plain refuse")
	} else {
		a.jumpIf(bpf.JumpNotEqual, uint32(port), "plain refuse")
	}
	a.label("plain ports")
	a.add(bpf.LoadAbsolute{Off: 6, Size: 2})
	a.jumpIf(bpf.JumpBitsSet, 0x1fff, "plain refuse")
	a.add(bpf.LoadAbsolute{Off: 9, Size: 1})
	a.jumpIf(bpf.JumpEqual, packet.TCP, "plain take")
	a.jumpIf(bpf.JumpEqual, packet.UDP, "plain take")
	a.label("plain refuse")
	a.add(bpf.RetConstant{Val: 0})
	a.label("plain take")
	a.add(bpf.RetConstant{Val: Snap})

	a.label("versions")
	a.add(bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 4})
	a.jumpIf(bpf.JumpEqual, 6, "ipv6")
	a.jumpIf(bpf.JumpNotEqual, 4, "refuse")

	a.add(bpf.LoadAbsolute{Off: 9, Size: 1})
	a.jumpIf(bpf.JumpEqual, packet.TCP, "ipv4 ports")
	a.jumpIf(bpf.JumpNotEqual, packet.UDP, "refuse")
	a.label("ipv4 ports")
	a.add(bpf.LoadAbsolute{Off: 6, Size: 2})
	a.jumpIf(bpf.JumpBitsSet, 0x1fff, "refuse")
	a.add(bpf.LoadMemShift{Off: 0})
	if syn {
		a.add(bpf.LoadAbsolute{Off: 9, Size: 1})
		a.jumpIf(bpf.JumpEqual, packet.TCP, segment)
	}
	a.jump("ports")

	// X is where the next header is.
	a.label("ipv6")
	a.add(bpf.LoadConstant{Dst: bpf.RegX, Val: 40}, bpf.LoadAbsolute{Off: 6, Size: 1})
	for i := range maxExtensions + 1 {
		a.jumpIf(bpf.JumpEqual, packet.TCP, segment)
		a.jumpIf(bpf.JumpEqual, packet.UDP, "ports")
		if i == maxExtensions {
			break
		}
		step := string(rune('0' + i))
		a.jumpIf(bpf.JumpEqual, 44, "fragment"+step)
		a.jumpIf(bpf.JumpEqual, 0, "options"+step)
		a.jumpIf(bpf.JumpEqual, 43, "options"+step)
		a.jumpIf(bpf.JumpNotEqual, 60, "refuse")

		a.label("options" + step)
		// M[0] is the next header's kind, while X moves over this one.
		a.add(bpf.LoadIndirect{Off: 0, Size: 1}, bpf.StoreScratch{Src: bpf.RegA, N: 0},
			bpf.LoadIndirect{Off: 1, Size: 1}, bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: 1}, bpf.ALUOpConstant{Op: bpf.ALUOpShiftLeft, Val: 3})
		a.jump("move" + step)

		a.label("fragment" + step)
		a.add(bpf.LoadIndirect{Off: 2, Size: 2})
		a.jumpIf(bpf.JumpBitsSet, 0xfff8, "refuse")
		a.add(bpf.LoadIndirect{Off: 0, Size: 1}, bpf.StoreScratch{Src: bpf.RegA, N: 0}, bpf.LoadConstant{Dst: bpf.RegA, Val: 8})

		a.label("move" + step)
		a.add(bpf.ALUOpX{Op: bpf.ALUOpAdd}, bpf.TAX{}, bpf.LoadScratch{Dst: bpf.RegA, N: 0})
	}
	a.jump("refuse")

	if syn {
		a.label("flags")
		a.add(bpf.LoadIndirect{Off: tcpFlags, Size: 1})
		a.jumpIf(bpf.JumpBitsSet, packet.FlagSYN, "take")
	}
	a.label("ports")
	a.add(bpf.LoadIndirect{Off: 0, Size: 2})
	a.jumpIf(bpf.JumpEqual, uint32(port), "take")
	a.add(bpf.LoadIndirect{Off: 2, Size: 2})
	a.jumpIf(bpf.JumpEqual, uint32(port), "take")
	a.label("refuse")
	a.add(bpf.RetConstant{Val: 0})
	a.label("take")
	a.add(bpf.RetConstant{Val: Snap})
	return a.assemble()
}
