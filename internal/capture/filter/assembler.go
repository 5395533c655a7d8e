// SPDX-License-Identifier: Apache-2.0

package filter

import (
	"fmt"

	"golang.org/x/net/bpf"
)

// assembler is a program with names for the places that it jumps to. Programs
// only jump forward.
type assembler struct {
	program []bpf.Instruction
	jumps   []jump
	labels  map[string]int
}

// jump is an instruction that goes to a label if its condition holds, and else to
// the next one.
type jump struct {
	at    int
	label string
}

func (a *assembler) add(more ...bpf.Instruction) { a.program = append(a.program, more...) }

// label names the next instruction.
func (a *assembler) label(name string) {
	if a.labels == nil {
		a.labels = make(map[string]int)
	}
	a.labels[name] = len(a.program)
}

// jumpIf goes to a label if the accumulator compares like that.
func (a *assembler) jumpIf(test bpf.JumpTest, value uint32, label string) {
	a.jumps = append(a.jumps, jump{len(a.program), label})
	a.add(bpf.JumpIf{Cond: test, Val: value})
}

func (a *assembler) jump(label string) {
	a.jumps = append(a.jumps, jump{len(a.program), label})
	a.add(bpf.Jump{})
}

// assemble fills the jumps in.
func (a *assembler) assemble() ([]bpf.Instruction, error) {
	for _, j := range a.jumps {
		to, ok := a.labels[j.label]
		skip := to - j.at - 1
		if !ok || skip < 0 {
			return nil, fmt.Errorf("filter jumps back, or to nowhere: %q", j.label)
		}
		switch i := a.program[j.at].(type) {
		case bpf.Jump:
			i.Skip = uint32(skip)
			a.program[j.at] = i
		case bpf.JumpIf:
			if skip > 255 {
				return nil, fmt.Errorf("filter jumps too far: %d instructions to %q", skip, j.label)
			}
			i.SkipTrue = uint8(skip)
			a.program[j.at] = i
		}
	}
	return a.program, nil
}
