// SPDX-License-Identifier: Apache-2.0

package tcx

import (
	"github.com/cilium/ebpf/asm"
	"golang.org/x/net/bpf"

	"github.com/netpulse/tcpstatsreceiver/internal/capture/filter"
	"github.com/netpulse/tcpstatsreceiver/internal/capture/packet"
)

// goOn is TCX_NEXT of <linux/bpf.h>: the programs after this one decide about the
// packet.
const goOn = -1

// A record of the ring: a header, and the packet's bytes. Records are of some
// lengths that are fixed, since the verifier knows no others.
const (
	recordTime      = 0  // u64, ns of CLOCK_MONOTONIC
	recordCaptured  = 8  // u32, bytes of the packet that are here
	recordLength    = 12 // u32, bytes of the packet
	recordInterface = 16 // u32
	recordDirection = 20 // u8, packet.Direction
	recordLink      = 21 // u8, packet.Link
	recordHeader    = 24
)

// rooms are the sizes of records, without the header: most messages fit the first.
var rooms = [...]int32{512, 4096, filter.Snap}

// The numbers that the programs count, of 64 bits each.
const (
	countSeen = iota
	countDropped
	counters
)

// program makes the program for one direction and kind of link.
func program(ip []bpf.Instruction, direction packet.Direction, link packet.Link, ring, counts int, plain bool) (asm.Instructions, error) {
	linked, err := filter.ForLink(link, ip)
	if err != nil {
		return nil, err
	}
	code := asm.Instructions{asm.Mov.Reg(regContext, asm.R1)}
	translated, err := translate(linked, plain)
	if err != nil {
		return nil, err
	}
	code = append(code, translated...)
	code = append(code,
		asm.Mov.Imm(asm.R0, goOn).WithSymbol(labelRefuse),
		asm.Return(),
		// The packet may be shorter than what is wanted, or longer than the records.
		asm.LoadMem(asm.R1, regContext, skbLen, asm.Word).WithSymbol(labelTake),
		asm.JLE.Reg(regA, asm.R1, "shorter"),
		asm.Mov.Reg(regA, asm.R1),
		asm.JLE.Imm(regA, filter.Snap, "fits").WithSymbol("shorter"),
		asm.Mov.Imm(regA, filter.Snap),
		asm.JLT.Imm(regA, 1, labelRefuse).WithSymbol("fits"),
	)
	code = append(code, count(countSeen, counts)...)
	for i, room := range rooms {
		after := "too many"
		if i+1 < len(rooms) {
			after = roomLabel(i + 1)
		}
		code = append(code,
			asm.JGT.Imm(regA, room, after).WithSymbol(roomLabel(i)),
			asm.LoadMapPtr(asm.R1, ring),
			asm.Mov.Imm(asm.R2, recordHeader+room),
			asm.Mov.Imm(asm.R3, 0),
			asm.FnRingbufReserve.Call(),
			asm.JEq.Imm(asm.R0, 0, "lost"),
			asm.Mov.Reg(regX, asm.R0),
			asm.FnKtimeGetNs.Call(),
			asm.StoreMem(regX, recordTime, asm.R0, asm.DWord),
			asm.StoreMem(regX, recordCaptured, regA, asm.Word),
			asm.LoadMem(asm.R1, regContext, skbLen, asm.Word),
			asm.StoreMem(regX, recordLength, asm.R1, asm.Word),
			asm.LoadMem(asm.R1, regContext, skbInterface, asm.Word),
			asm.StoreMem(regX, recordInterface, asm.R1, asm.Word),
			asm.StoreImm(regX, recordDirection, int64(direction), asm.Byte),
			asm.StoreImm(regX, recordLink, int64(link), asm.Byte),
			asm.StoreImm(regX, recordLink+1, 0, asm.Half),
			asm.Mov.Reg(asm.R1, regContext),
			asm.Mov.Imm(asm.R2, 0),
			asm.Mov.Reg(asm.R3, regX),
			asm.Add.Imm(asm.R3, recordHeader),
			asm.Mov.Reg(asm.R4, regA),
			asm.FnSkbLoadBytes.Call(),
			asm.Mov.Reg(asm.R1, regX),
			asm.Mov.Imm(asm.R2, 0),
			asm.JNE.Imm(asm.R0, 0, roomLabel(i)+" unreadable"),
			asm.FnRingbufSubmit.Call(),
			asm.Ja.Label(labelRefuse),
			asm.FnRingbufDiscard.Call().WithSymbol(roomLabel(i)+" unreadable"),
			asm.Ja.Label("lost"),
		)
	}
	lost := count(countDropped, counts)
	lost[0] = lost[0].WithSymbol("lost")
	code = append(code, lost...)
	return append(code,
		asm.Mov.Imm(asm.R0, goOn).WithSymbol("too many"),
		asm.Return(),
	), nil
}

func roomLabel(i int) string { return [...]string{"first room", "second room", "third room"}[i] }

// count adds one to a counter.
func count(which int16, counts int) asm.Instructions {
	return asm.Instructions{
		asm.LoadMapValue(asm.R1, counts, uint32(8*which)),
		asm.Mov.Imm(asm.R2, 1),
		asm.StoreXAdd(asm.R1, asm.R2, asm.DWord),
	}
}
