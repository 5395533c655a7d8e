// SPDX-License-Identifier: Apache-2.0

package tcx

import (
	"fmt"

	"github.com/cilium/ebpf/asm"
	"golang.org/x/net/bpf"
)

// What the registers hold while the filter runs: those that survive calls.
const (
	regContext = asm.R6 // struct __sk_buff
	regA       = asm.R7 // the accumulator, 32 bits
	regX       = asm.R8 // the index, 32 bits
	regData    = asm.R9 // the packet's first byte, of as many as are known to be there
)

// struct __sk_buff of <linux/bpf.h>.
const (
	skbLen       = 0
	skbPktType   = 4
	skbProtocol  = 16
	skbInterface = 40
	skbData      = 76
	skbDataEnd   = 80
)

// The stack: one load's bytes, and below them the scratch memory.
const (
	stackLoad    = -8
	stackScratch = stackLoad - 4*16
)

// maxHead is how many bytes a packet may be asked to begin with: the headers of
// Ethernet, with a tag, and of IPv4, and the ports. Shorter packets are rare.
const maxHead = 18 + 20 + 4

// maxOffset is how far into a packet a filter may look: the verifier limits offsets
// of packet pointers.
const maxOffset = 0x7fff

// Labels that a translated filter goes to.
const (
	labelTake   = "take" // with how many bytes are wanted in regA
	labelRefuse = "refuse"
)

// translator turns a filter into eBPF.
type translator struct {
	code asm.Instructions
	// head is how many bytes of the packet are known to be at regData.
	head uint32
	// plain: no variable is added to a packet pointer, which the verifier permits with
	// CAP_PERFMON only.
	plain bool
	copy  string // of the filter: a prefix of labels
	at    int    // the instruction of the filter that is translated
	// labels numbers the labels within an instruction.
	labels int
	next   string // label of the next instruction
}

// translate turns a filter into instructions that go to labelTake or to
// labelRefuse. The filter is translated twice: for packets whose first bytes are in
// the linear part, and for the others. A plain translation is a little slower and
// needs fewer privileges.
func translate(filter []bpf.Instruction, plain bool) (asm.Instructions, error) {
	t := translator{plain: plain}
	t.emit(asm.Mov.Imm(regA, 0), asm.Mov.Imm(regX, 0))
	for _, i := range filter {
		if load, ok := i.(bpf.LoadScratch); ok {
			// The verifier refuses to read what was never written.
			t.emit(asm.StoreImm(asm.RFP, scratch(load.N), 0, asm.Word))
		}
	}
	if head := headOf(filter); head > 0 {
		t.emit(
			asm.LoadMem(regData, regContext, skbData, asm.Word),
			asm.LoadMem(asm.R3, regContext, skbDataEnd, asm.Word),
			asm.Mov.Reg(asm.R4, regData),
			asm.Add.Imm(asm.R4, int32(head)),
			asm.JGT.Reg(asm.R4, asm.R3, "short 0"),
		)
		t.head = head
		if err := t.all("whole", filter); err != nil {
			return nil, err
		}
	}
	t.head = 0
	if err := t.all("short", filter); err != nil {
		return nil, err
	}
	return t.code, nil
}

// headOf returns how many bytes a filter looks at that are always in the same
// place, among the first maxHead.
func headOf(filter []bpf.Instruction) (head uint32) {
	for _, i := range filter {
		end := uint32(0)
		switch i := i.(type) {
		case bpf.LoadAbsolute:
			end = min(i.Off, maxOffset) + uint32(i.Size)
		case bpf.LoadMemShift:
			end = min(i.Off, maxOffset) + 1
		}
		if end <= maxHead {
			head = max(head, end)
		}
	}
	return head
}

// all translates the filter once.
func (t *translator) all(copy string, filter []bpf.Instruction) error {
	t.copy = copy
	for i, instruction := range filter {
		t.at, t.next = i, t.place(i)
		if err := t.instruction(instruction); err != nil {
			return fmt.Errorf("instruction %d of the filter, %v: %w", i, instruction, err)
		}
	}
	return nil
}

// place is the label of an instruction of the filter.
func (t *translator) place(i int) string { return fmt.Sprintf("%s %d", t.copy, i) }

func scratch(n int) int16 { return int16(stackScratch + 4*n) }

func (t *translator) emit(more ...asm.Instruction) {
	for _, i := range more {
		if t.next != "" {
			i = i.WithSymbol(t.next)
			t.next = ""
		}
		t.code = append(t.code, i)
	}
}

// label makes a label of its own.
func (t *translator) label() string {
	t.labels++
	return fmt.Sprintf("label %d", t.labels)
}

func (t *translator) instruction(i bpf.Instruction) error {
	switch i := i.(type) {
	case bpf.LoadConstant:
		t.emit(asm.Mov.Imm32(register(i.Dst), int32(i.Val)))
	case bpf.LoadScratch:
		t.emit(asm.LoadMem(register(i.Dst), asm.RFP, scratch(i.N), asm.Word))
	case bpf.StoreScratch:
		t.emit(asm.StoreMem(asm.RFP, scratch(i.N), register(i.Src), asm.Word))
	case bpf.LoadAbsolute:
		return t.load(regA, i.Off, i.Size, false)
	case bpf.LoadIndirect:
		return t.load(regA, i.Off, i.Size, true)
	case bpf.LoadMemShift:
		if err := t.load(regX, i.Off, 1, false); err != nil {
			return err
		}
		t.emit(asm.And.Imm32(regX, 0x0f), asm.LSh.Imm32(regX, 2))
	case bpf.LoadExtension:
		return t.extension(i.Num)
	case bpf.ALUOpConstant:
		return t.arithmetic(i.Op, func(op asm.ALUOp) asm.Instruction { return op.Imm32(regA, int32(i.Val)) })
	case bpf.ALUOpX:
		if i.Op == bpf.ALUOpDiv || i.Op == bpf.ALUOpMod {
			t.emit(asm.JEq.Imm(regX, 0, labelRefuse))
		}
		return t.arithmetic(i.Op, func(op asm.ALUOp) asm.Instruction { return op.Reg32(regA, regX) })
	case bpf.NegateA:
		t.emit(asm.Neg.Imm32(regA, 0))
	case bpf.TAX:
		t.emit(asm.Mov.Reg32(regX, regA))
	case bpf.TXA:
		t.emit(asm.Mov.Reg32(regA, regX))
	case bpf.Jump:
		t.emit(asm.Ja.Label(t.place(t.at + 1 + int(i.Skip))))
	case bpf.JumpIf:
		return t.jump(i.Cond, i.SkipTrue, i.SkipFalse, func(op asm.JumpOp, to string) asm.Instruction { return op.Imm32(regA, int32(i.Val), to) })
	case bpf.JumpIfX:
		return t.jump(i.Cond, i.SkipTrue, i.SkipFalse, func(op asm.JumpOp, to string) asm.Instruction { return op.Reg32(regA, regX, to) })
	case bpf.RetA:
		t.emit(asm.Ja.Label(labelTake))
	case bpf.RetConstant:
		if i.Val == 0 {
			t.emit(asm.Ja.Label(labelRefuse))
		} else {
			t.emit(asm.Mov.Imm32(regA, int32(i.Val)), asm.Ja.Label(labelTake))
		}
	default:
		return fmt.Errorf("unknown instruction")
	}
	return nil
}

func register(r bpf.Register) asm.Register {
	if r == bpf.RegX {
		return regX
	}
	return regA
}

// load reads bytes of the packet, in network order. Bytes in the linear part of the
// packet are read directly, others with a helper call. A packet that is too short is
// refused.
func (t *translator) load(to asm.Register, offset uint32, size int, indexed bool) error {
	width, ok := map[int]asm.Size{1: asm.Byte, 2: asm.Half, 4: asm.Word}[size]
	if !ok || offset > maxOffset-4 {
		return fmt.Errorf("loads %d bytes at %d", size, offset)
	}
	if !indexed && offset+uint32(size) <= t.head {
		t.emit(asm.LoadMem(to, regData, int16(offset), width))
		t.order(to, size, width)
		return nil
	}
	done := t.label()
	if indexed {
		t.emit(asm.JGT.Imm(regX, int32(maxOffset-4-offset), labelRefuse))
	}
	if !indexed || !t.plain {
		t.direct(to, offset, size, width, indexed, done)
	}
	t.emit(asm.Mov.Reg(asm.R1, regContext), asm.Mov.Imm(asm.R2, int32(offset)))
	if indexed {
		t.emit(asm.Add.Reg(asm.R2, regX))
	}
	t.emit(
		asm.Mov.Reg(asm.R3, asm.RFP),
		asm.Add.Imm(asm.R3, stackLoad),
		asm.Mov.Imm(asm.R4, int32(size)),
		asm.FnSkbLoadBytes.Call(),
		asm.JNE.Imm(asm.R0, 0, labelRefuse),
		asm.LoadMem(to, asm.RFP, stackLoad, width),
	)
	t.next = done
	if size == 1 {
		t.emit(asm.Mov.Reg32(to, to)) // for the label
	}
	t.order(to, size, width)
	return nil
}

// direct reads bytes in the linear part of the packet and jumps to done. For bytes
// elsewhere it falls through to the next instruction.
func (t *translator) direct(to asm.Register, offset uint32, size int, width asm.Size, indexed bool, done string) {
	slow := t.label()
	t.emit(
		asm.LoadMem(asm.R2, regContext, skbData, asm.Word),
		asm.LoadMem(asm.R3, regContext, skbDataEnd, asm.Word),
	)
	if indexed {
		t.emit(asm.Add.Reg(asm.R2, regX))
	}
	t.emit(
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, int32(offset)+int32(size)),
		asm.JGT.Reg(asm.R4, asm.R3, slow),
		asm.LoadMem(to, asm.R2, int16(offset), width),
		asm.Ja.Label(done),
	)
	t.next = slow
}

// order turns a number from network order into the host's.
func (t *translator) order(to asm.Register, size int, width asm.Size) {
	if size > 1 {
		t.emit(asm.HostTo(asm.BE, to, width))
	}
}

func (t *translator) extension(e bpf.Extension) error {
	switch e {
	case bpf.ExtLen:
		t.emit(asm.LoadMem(regA, regContext, skbLen, asm.Word))
	case bpf.ExtProto:
		t.emit(asm.LoadMem(regA, regContext, skbProtocol, asm.Word), asm.HostTo(asm.BE, regA, asm.Half))
	case bpf.ExtType:
		t.emit(asm.LoadMem(regA, regContext, skbPktType, asm.Word))
	case bpf.ExtInterfaceIndex:
		t.emit(asm.LoadMem(regA, regContext, skbInterface, asm.Word))
	default:
		return fmt.Errorf("extension %d is not supported", e)
	}
	return nil
}

func (t *translator) arithmetic(op bpf.ALUOp, make func(asm.ALUOp) asm.Instruction) error {
	ops := map[bpf.ALUOp]asm.ALUOp{
		bpf.ALUOpAdd: asm.Add, bpf.ALUOpSub: asm.Sub, bpf.ALUOpMul: asm.Mul, bpf.ALUOpDiv: asm.Div, bpf.ALUOpMod: asm.Mod,
		bpf.ALUOpAnd: asm.And, bpf.ALUOpOr: asm.Or, bpf.ALUOpXor: asm.Xor, bpf.ALUOpShiftLeft: asm.LSh, bpf.ALUOpShiftRight: asm.RSh,
	}
	to, ok := ops[op]
	if !ok {
		return fmt.Errorf("operation %d is not supported", op)
	}
	t.emit(make(to))
	return nil
}

func (t *translator) jump(test bpf.JumpTest, skipTrue, skipFalse uint8, make func(asm.JumpOp, string) asm.Instruction) error {
	ops := map[bpf.JumpTest]asm.JumpOp{
		bpf.JumpEqual: asm.JEq, bpf.JumpNotEqual: asm.JNE, bpf.JumpGreaterThan: asm.JGT, bpf.JumpLessThan: asm.JLT,
		bpf.JumpGreaterOrEqual: asm.JGE, bpf.JumpLessOrEqual: asm.JLE, bpf.JumpBitsSet: asm.JSet,
	}
	if test == bpf.JumpBitsNotSet {
		test, skipTrue, skipFalse = bpf.JumpBitsSet, skipFalse, skipTrue
	}
	op, ok := ops[test]
	if !ok {
		return fmt.Errorf("test %d is not supported", test)
	}
	t.emit(make(op, t.place(t.at+1+int(skipTrue))))
	if skipFalse != 0 {
		t.emit(asm.Ja.Label(t.place(t.at + 1 + int(skipFalse))))
	}
	return nil
}
