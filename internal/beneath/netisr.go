// SPDX-License-Identifier: Apache-2.0

package beneath

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// struct sysctl_netisr_proto and sysctl_netisr_work of <net/netisr.h>. The first
// member of each is the length of the struct, which is its version.
const (
	protoLen     = 80
	atProtoName  = 4
	protoNameLen = 32 // NETISR_NAMEMAXLEN
	atProto      = 36
	atProtoLimit = 40

	workLen       = 128
	atWorkProto   = 8
	atWorkQueue   = 12 // snw_len
	atWatermark   = 16
	atWorkDrops   = 48 // 64 bits, and so the next
	atWorkHandled = 64
)

// routingMessages is the protocol whose packets are messages for routing sockets
// (route(4)), and not from the network.
const routingMessages = "rtsock"

// records visits the structs of an array, of which each begins with its length.
func records(raw []byte, length int, name string, visit func(b []byte)) error {
	if len(raw)%length != 0 {
		return fmt.Errorf("%d bytes are no structs %s of %d: %w", len(raw), name, length, errLayout)
	}
	for at := 0; at < len(raw); at += length {
		if got := binary.NativeEndian.Uint32(raw[at:]); got != uint32(length) {
			return fmt.Errorf("struct %s of %d bytes, not %d: %w", name, got, length, errLayout)
		}
	}
	for at := 0; at < len(raw); at += length {
		visit(raw[at : at+length])
	}
	return nil
}

// netISR sets the protocols of net.isr.proto, with the numbers of net.isr.work.
func (n *Numbers) netISR(protocols, work []byte) error {
	var all []NetISR
	err := records(protocols, protoLen, "sysctl_netisr_proto", func(b []byte) {
		name, _, _ := bytes.Cut(b[atProtoName:atProtoName+protoNameLen], []byte{0})
		all = append(all, NetISR{
			Protocol: string(name), number: binary.NativeEndian.Uint32(b[atProto:]),
			Limit: uint64(binary.NativeEndian.Uint32(b[atProtoLimit:])),
		})
	})
	if err != nil {
		return err
	}
	err = records(work, workLen, "sysctl_netisr_work", func(b []byte) {
		for i := range all {
			p := &all[i]
			if p.number != binary.NativeEndian.Uint32(b[atWorkProto:]) {
				continue
			}
			p.Longest = max(p.Longest, uint64(binary.NativeEndian.Uint32(b[atWorkQueue:])))
			p.Watermark = max(p.Watermark, uint64(binary.NativeEndian.Uint32(b[atWatermark:])))
			p.Drops += binary.NativeEndian.Uint64(b[atWorkDrops:])
			p.Handled += binary.NativeEndian.Uint64(b[atWorkHandled:])
		}
	})
	if err != nil {
		return err
	}
	n.NetISR, n.Softnet = all, &Softnet{}
	for i := range all {
		if all[i].Protocol != routingMessages {
			n.Softnet.Drops += all[i].Drops
		}
	}
	return nil
}
