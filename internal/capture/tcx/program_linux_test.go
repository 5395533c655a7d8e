// SPDX-License-Identifier: Apache-2.0

package tcx

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/capture/filter"
	"github.com/netpulse/tcpstatsreceiver/internal/capture/packet"
)

// loaded loads a program and returns it with its counters.
func loaded(t testing.TB, ip []bpf.Instruction, link packet.Link, plain bool) (*ebpf.Program, *ebpf.Map) {
	t.Helper()
	ring, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: ringLen})
	if errors.Is(err, unix.EPERM) {
		t.Skip("BPF programs are loaded with CAP_BPF alone")
	}
	require.NoError(t, err)
	counts, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8 * counters, MaxEntries: 1})
	require.NoError(t, err)
	p, err := loadAs(ip, hook{packet.Outbound, link}, ring.FD(), counts.FD(), plain)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, errors.Join(p.Close(), ring.Close(), counts.Close())) })
	return p, counts
}

// takes runs a program over a packet in the kernel.
func takes(t testing.TB, p *ebpf.Program, counts *ebpf.Map, data []byte) bool {
	t.Helper()
	var before, after [counters]uint64
	require.NoError(t, counts.Lookup(uint32(0), &before))
	code, err := p.Run(&ebpf.RunOptions{Data: data})
	require.NoError(t, err)
	require.Equal(t, int32(goOn), int32(code))
	require.NoError(t, counts.Lookup(uint32(0), &after))
	return after[countSeen] > before[countSeen]
}

// The translated filter takes what the original takes.
func TestTranslatedPort(t *testing.T) {
	ip, err := filter.Port(53)
	require.NoError(t, err)
	linked, err := filter.ForLink(packet.Ethernet, ip)
	require.NoError(t, err)
	vm, err := bpf.NewVM(linked)
	require.NoError(t, err)
	p, counts := loaded(t, ip, packet.Ethernet, false)
	plain, plainCounts := loaded(t, ip, packet.Ethernet, true)
	random := rand.New(rand.NewPCG(7, 8))
	took := 0
	for range 3000 {
		data := make([]byte, 14+40+random.IntN(80))
		pick := func(at int, values ...byte) {
			if at < len(data) {
				data[at] = values[random.IntN(len(values))]
			}
		}
		for range 10 {
			data[random.IntN(len(data))] = byte(random.Uint32())
		}
		pick(12, 0x08, 0x86, 0x81)
		pick(13, 0x00, 0xdd)
		base := 14
		if data[12] == 0x81 && data[13] == 0 {
			pick(16, 0x08, 0x86)
			pick(17, 0x00, 0xdd)
			base = 18
		}
		pick(base, 0x45, 0x46, 0x60)
		pick(base+6, 0, 0, 0x20, 6, 17, 44, 60)
		pick(base+9, 6, 17)
		for _, at := range []int{base + 20, base + 24, base + 40, base + 48, base + 56} {
			pick(at, 0, 17)
			pick(at+1, 53, 0)
			pick(at+2, 0)
			pick(at+3, 53, 0)
		}
		want, err := vm.Run(data)
		require.NoError(t, err)
		require.Equal(t, want > 0, takes(t, p, counts, data), "%x", data)
		require.Equal(t, want > 0, takes(t, plain, plainCounts, data), "%x", data)
		if want > 0 {
			took++
		}
	}
	t.Logf("%d taken", took)
	assert.Greater(t, took, 100)
}

// Each instruction does in the kernel what it does elsewhere.
func TestTranslate(t *testing.T) {
	data := make([]byte, 60)
	for i := range data {
		data[i] = byte(i*7 + 1)
	}
	check := func(value uint32) []bpf.Instruction {
		return []bpf.Instruction{bpf.JumpIf{Cond: bpf.JumpEqual, Val: value, SkipFalse: 1}, bpf.RetConstant{Val: 40}, bpf.RetConstant{Val: 0}}
	}
	programs := map[string][]bpf.Instruction{
		"word":     append([]bpf.Instruction{bpf.LoadAbsolute{Off: 3, Size: 4}}, check(0x161d242b)...),
		"half":     append([]bpf.Instruction{bpf.LoadAbsolute{Off: 3, Size: 2}}, check(0x161d)...),
		"byte":     append([]bpf.Instruction{bpf.LoadAbsolute{Off: 3, Size: 1}}, check(0x16)...),
		"indirect": append([]bpf.Instruction{bpf.LoadConstant{Dst: bpf.RegX, Val: 2}, bpf.LoadIndirect{Off: 1, Size: 2}}, check(0x161d)...),
		"outside":  append([]bpf.Instruction{bpf.LoadAbsolute{Off: 59, Size: 2}}, check(0)...),
		"far":      append([]bpf.Instruction{bpf.LoadConstant{Dst: bpf.RegX, Val: 1 << 31}, bpf.LoadIndirect{Off: 1, Size: 2}}, check(0)...),
		"shift":    append([]bpf.Instruction{bpf.LoadMemShift{Off: 3}, bpf.TXA{}}, check(24)...),
		"scratch":  append([]bpf.Instruction{bpf.LoadConstant{Dst: bpf.RegA, Val: 77}, bpf.StoreScratch{Src: bpf.RegA, N: 15}, bpf.LoadConstant{Dst: bpf.RegA, Val: 1}, bpf.LoadScratch{Dst: bpf.RegA, N: 15}}, check(77)...),
		"zeroes":   append([]bpf.Instruction{bpf.LoadScratch{Dst: bpf.RegX, N: 3}, bpf.TXA{}}, check(0)...),
		"by zero":  append([]bpf.Instruction{bpf.LoadConstant{Dst: bpf.RegA, Val: 1}, bpf.ALUOpX{Op: bpf.ALUOpDiv}}, check(0)...),
		"return":   {bpf.LoadConstant{Dst: bpf.RegA, Val: 60}, bpf.RetA{}},
		"nothing":  {bpf.LoadConstant{Dst: bpf.RegA, Val: 0}, bpf.RetA{}},
		"jump":     {bpf.LoadExtension{Num: bpf.ExtLen}, bpf.Jump{Skip: 0}, bpf.RetConstant{Val: 9}},
	}
	for op, want := range map[bpf.ALUOp]uint32{
		bpf.ALUOpAdd: 103, bpf.ALUOpSub: 97, bpf.ALUOpMul: 300, bpf.ALUOpDiv: 33, bpf.ALUOpMod: 1,
		bpf.ALUOpAnd: 0, bpf.ALUOpOr: 103, bpf.ALUOpXor: 103, bpf.ALUOpShiftLeft: 800, bpf.ALUOpShiftRight: 12,
	} {
		for _, value := range []uint32{want, want + 1} {
			name := string(rune('A'+op>>4)) + map[bool]string{true: " right", false: " wrong"}[value == want]
			programs["constant "+name] = append([]bpf.Instruction{bpf.LoadConstant{Dst: bpf.RegA, Val: 100}, bpf.ALUOpConstant{Op: op, Val: 3}}, check(value)...)
			programs["X "+name] = append([]bpf.Instruction{bpf.LoadConstant{Dst: bpf.RegA, Val: 100}, bpf.LoadConstant{Dst: bpf.RegX, Val: 3}, bpf.ALUOpX{Op: op}}, check(value)...)
		}
	}
	for test := bpf.JumpEqual; test <= bpf.JumpBitsNotSet; test++ {
		for _, a := range []uint32{5, 6, 7, 8, 1<<32 - 1} {
			name := string(rune('a'+test)) + string(rune('0'+a%10))
			programs["jump "+name] = []bpf.Instruction{bpf.LoadConstant{Dst: bpf.RegA, Val: a}, bpf.JumpIf{Cond: test, Val: 6, SkipTrue: 1, SkipFalse: 0}, bpf.RetConstant{Val: 0}, bpf.RetConstant{Val: 1}}
			programs["jump X "+name] = []bpf.Instruction{bpf.LoadConstant{Dst: bpf.RegA, Val: a}, bpf.LoadConstant{Dst: bpf.RegX, Val: 6}, bpf.JumpIfX{Cond: test, SkipTrue: 0, SkipFalse: 1}, bpf.RetConstant{Val: 2}, bpf.RetConstant{Val: 0}}
		}
	}
	for name, ip := range programs {
		t.Run(name, func(t *testing.T) {
			vm, err := bpf.NewVM(ip)
			if err != nil {
				// It refuses to divide by a constant zero, and the like.
				t.Skip(err)
			}
			want, err := vm.Run(data)
			require.NoError(t, err)
			for _, plain := range []bool{false, true} {
				p, counts := loaded(t, ip, packet.Raw, plain)
				assert.Equal(t, want > 0, takes(t, p, counts, data), "plain: %t", plain)
			}
		})
	}
	// The user-space machine does not have this one.
	p, counts := loaded(t, append([]bpf.Instruction{bpf.LoadConstant{Dst: bpf.RegA, Val: 1}, bpf.NegateA{}}, check(1<<32-1)...), packet.Raw, false)
	assert.True(t, takes(t, p, counts, data))
	for _, refused := range [][]bpf.Instruction{
		{bpf.LoadExtension{Num: bpf.ExtRand}, bpf.RetA{}},
		{bpf.LoadAbsolute{Off: 1 << 16, Size: 2}, bpf.RetA{}},
		{bpf.LoadAbsolute{Off: 0, Size: 3}, bpf.RetA{}},
		{bpf.RawInstruction{}},
	} {
		_, err := translate(refused, false)
		require.Error(t, err)
	}
}

// What a packet costs in the kernel: a program that does nothing is what the
// measurement itself takes.
func BenchmarkProgram(b *testing.B) {
	ip, err := filter.Port(53)
	require.NoError(b, err)
	nothing := []bpf.Instruction{bpf.LoadConstant{Dst: bpf.RegA, Val: 0}, bpf.RetA{}}
	for name, test := range map[string]struct {
		ip             []bpf.Instruction
		link           packet.Link
		plain          bool
		protocol, port byte
	}{
		"nothing":               {nothing, packet.Raw, false, 6, 80},
		"TCP to port 80":        {ip, packet.Ethernet, false, 6, 80},
		"TCP to port 80, plain": {ip, packet.Ethernet, true, 6, 80},
		"ICMP":                  {ip, packet.Ethernet, false, 1, 0},
		"UDP to port 53":        {ip, packet.Ethernet, false, 17, 53},
	} {
		b.Run(name, func(b *testing.B) {
			p, _ := loaded(b, test.ip, test.link, test.plain)
			data := make([]byte, 80)
			data[12], data[14], data[23], data[37] = 8, 0x45, test.protocol, test.port
			const repeat = 1_000_000
			for b.Loop() {
				_, each, err := p.Benchmark(data, repeat, nil)
				require.NoError(b, err)
				b.ReportMetric(float64(each.Nanoseconds()), "ns/packet")
			}
		})
	}
}
