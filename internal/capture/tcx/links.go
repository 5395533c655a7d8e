// SPDX-License-Identifier: Apache-2.0

package tcx

import (
	"encoding/binary"
	"fmt"
	"syscall"

	"github.com/netpulse/tcpstatsreceiver/internal/capture/packet"
)

// Messages of rtnetlink(7): struct nlmsghdr, and behind it struct ifinfomsg.
const (
	messageHeader = 16
	messageError  = 2
	messageDone   = 3
	newLink       = 16
	delLink       = 17
	getLink       = 18

	infoType  = 2
	infoIndex = 4
	infoLen   = 16
)

// Kinds of links that have an Ethernet header, of <linux/if_arp.h>. To all others
// packets come with nothing in front of them.
const (
	arpEther    = 1
	arpLoopback = 772
)

// change is an interface that was there, came, changed, or went.
type change struct {
	index int
	link  packet.Link
	gone  bool
}

// changes visits what a datagram says of interfaces. It reports whether a list of
// all interfaces ended with it.
func changes(b []byte, visit func(change)) (done bool, err error) {
	for len(b) >= messageHeader {
		length := uint64(binary.NativeEndian.Uint32(b))
		if length < messageHeader || length > uint64(len(b)) {
			return done, fmt.Errorf("message about interfaces of length %d with %d bytes left", length, len(b))
		}
		typ, payload := binary.NativeEndian.Uint16(b[4:]), b[messageHeader:length]
		b = b[min((length+3)&^3, uint64(len(b))):]
		switch typ {
		case messageDone:
			done = true
		case messageError:
			if len(payload) < 4 {
				return done, fmt.Errorf("message about interfaces: error without a number")
			}
			if code := int32(binary.NativeEndian.Uint32(payload)); code < 0 {
				return done, fmt.Errorf("list interfaces: %w", syscall.Errno(-code))
			}
		case newLink, delLink:
			if len(payload) < infoLen {
				return done, fmt.Errorf("message about an interface of %d bytes, wants %d", len(payload), infoLen)
			}
			c := change{index: int(int32(binary.NativeEndian.Uint32(payload[infoIndex:]))), gone: typ == delLink}
			if kind := binary.NativeEndian.Uint16(payload[infoType:]); kind == arpEther || kind == arpLoopback {
				c.link = packet.Ethernet
			}
			// Messages of the family AF_BRIDGE are about ports of a bridge. A port that
			// leaves its bridge is not gone.
			if c.index > 0 && payload[0] == 0 {
				visit(c)
			}
		}
	}
	return done, nil
}
