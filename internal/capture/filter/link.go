// SPDX-License-Identifier: Apache-2.0

package filter

import (
	"fmt"

	"golang.org/x/net/bpf"

	"github.com/netpulse/tcpstatsreceiver/internal/capture/packet"
)

// ForLink turns a filter over packets from their IP header on into one over packets
// with a link's header in front, IPv4 and IPv6 alone.
func ForLink(link packet.Link, ip []bpf.Instruction) ([]bpf.Instruction, error) {
	switch link {
	case packet.Raw:
		return ip, nil
	case packet.Null:
		return behind(4, ip)
	}
	plain, err := behind(14, ip)
	if err != nil {
		return nil, err
	}
	tagged, err := behind(18, ip)
	if err != nil {
		return nil, err
	}
	var a assembler
	a.add(bpf.LoadAbsolute{Off: 12, Size: 2})
	a.jumpIf(bpf.JumpEqual, 0x0800, "plain")
	a.jumpIf(bpf.JumpEqual, 0x86dd, "plain")
	a.jumpIf(bpf.JumpEqual, 0x8100, "tag")
	a.jumpIf(bpf.JumpEqual, 0x88a8, "tag")
	a.add(bpf.RetConstant{Val: 0})
	a.label("plain")
	a.add(plain...)
	a.label("tag")
	a.add(bpf.LoadAbsolute{Off: 16, Size: 2})
	a.jumpIf(bpf.JumpEqual, 0x0800, "tagged")
	a.jumpIf(bpf.JumpEqual, 0x86dd, "tagged")
	a.add(bpf.RetConstant{Val: 0})
	a.label("tagged")
	a.add(tagged...)
	return a.assemble()
}

// behind returns a filter that looks at packets from a later byte on.
func behind(offset uint32, ip []bpf.Instruction) ([]bpf.Instruction, error) {
	moved := make([]bpf.Instruction, len(ip))
	for n, i := range ip {
		switch i := i.(type) {
		case bpf.LoadAbsolute:
			i.Off += offset
			moved[n] = i
		case bpf.LoadIndirect:
			i.Off += offset
			moved[n] = i
		case bpf.LoadMemShift:
			i.Off += offset
			moved[n] = i
		case bpf.LoadExtension:
			return nil, fmt.Errorf("filter uses %v, which only sockets of Linux have", i)
		default:
			moved[n] = i
		}
	}
	return moved, nil
}

// Linux's packet sockets, which take link headers off, see packets of all
// protocols.
const (
	pktOutgoing = 4 // PACKET_OUTGOING of <linux/if_packet.h>
	loopback    = 1 // the number of each network namespace's interface lo
)

// ForSocket turns a filter over packets from their IP header on into one for
// Linux's packet sockets of type SOCK_DGRAM. It takes IPv4 and IPv6 alone, and
// of the two times that a packet passes the loopback interface the first.
func ForSocket(ip []bpf.Instruction) ([]bpf.Instruction, error) {
	var a assembler
	a.add(bpf.LoadExtension{Num: bpf.ExtProto})
	a.jumpIf(bpf.JumpEqual, 0x0800, "ip")
	a.jumpIf(bpf.JumpEqual, 0x86dd, "ip")
	a.add(bpf.RetConstant{Val: 0})
	a.label("ip")
	a.add(bpf.LoadExtension{Num: bpf.ExtInterfaceIndex})
	a.jumpIf(bpf.JumpNotEqual, loopback, "filter")
	a.add(bpf.LoadExtension{Num: bpf.ExtType})
	a.jumpIf(bpf.JumpEqual, pktOutgoing, "filter")
	a.add(bpf.RetConstant{Val: 0})
	a.label("filter")
	a.add(ip...)
	return a.assemble()
}
