// SPDX-License-Identifier: Apache-2.0

// Package packet is what capture engines yield, and the decoder of its headers:
// link, IP and transport.
package packet

import "time"

// Packet is a packet as an engine saw it. Engines reuse it and its bytes.
type Packet struct {
	// Time is when the kernel saw the packet or, of engines without the capability
	// timestamps, when it was read.
	Time time.Time
	// Interface is the number of the network interface, in the namespace that the
	// engine was opened in.
	Interface uint32
	Direction Direction
	// Link is what Data begins with.
	Link Link
	// Length is how long the packet was, in bytes. Data may be shorter.
	Length int
	Data   []byte
}

// Direction is the way that a packet takes through its interface.
type Direction uint8

// The directions. A packet on the loopback interface is seen once, as Outbound.
const (
	UnknownDirection Direction = iota
	Inbound
	Outbound
)

// Link is the kind of a link-layer header.
type Link uint8

// The kinds of links.
const (
	// Raw is none: the packet begins with its IP header.
	Raw Link = iota
	// Ethernet has 14 bytes, and VLAN tags where the hardware does not take them off.
	Ethernet
	// Null is the loopback interface of BSD systems: 4 bytes, the address family in
	// the host's byte order.
	Null
)
