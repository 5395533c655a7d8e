// SPDX-License-Identifier: Apache-2.0

// Package beneath reads what the host counts below TCP, for the hours when TCP is
// not to blame: UDP, IP and ICMP, the queues between the network cards and the
// stack, connection tracking, the interfaces, and on FreeBSD network memory, routes
// and bpf(4) devices.
package beneath

// Parts are parts of the numbers. Only those that are wanted are read.
type Parts uint8

// The parts.
const (
	Protocols  Parts = 1 << iota // UDP, IP and ICMP
	Queues                       // between the network cards and the stack
	Tracking                     // of connections
	Interfaces                   // errors and drops
	Memory                       // of the network: mbuf(9)
	Routing                      // how many routes there are
	Captures                     // bpf(4)

	// AllParts are all of them.
	AllParts = 1<<iota - 1
)

// Number is something that is counted for each version of IP.
type Number uint8

// The numbers, all of which only grow.
const (
	UDPReceived      Number = iota // datagrams
	UDPSent                        // datagrams
	UDPNoPort                      // datagrams to a port that nobody had
	UDPReceiveBuffer               // datagrams for which a receive buffer had no room
	UDPSendBuffer                  // datagrams for which a send buffer had no room
	UDPChecksum                    // datagrams whose checksum was wrong
	IPReceived                     // packets
	IPSent                         // packets, without those that were forwarded
	IPReceiveDrops                 // packets that were dropped for want of memory and the like
	IPSendDrops                    // likewise
	IPNoRoutes                     // packets to which no route led
	IPFragmentationFailures
	IPReassemblyFailures
	ICMPReceived // messages
	ICMPSent     // messages
	ICMPReceiveErrors
	ICMPSendErrors
	ICMPUnreachablesReceived // messages that something was unreachable
	ICMPUnreachablesSent

	// NumNumbers is the number of numbers.
	NumNumbers
)

// Family is a version of IP.
type Family uint8

// The families.
const (
	IPv4 Family = iota
	IPv6
	// BothIP is for what the host counts for both versions together.
	BothIP

	// NumFamilies is the number of families.
	NumFamilies
)

// Numbers are what a host counts below TCP. A host that does not count something
// has no value for it.
type Numbers struct {
	values  [NumFamilies][NumNumbers]uint64
	present [NumFamilies]uint32

	// Softnet is nil where it is not known, and so is Conntrack where connections are
	// not tracked, and Routes where they are not counted.
	Softnet    *Softnet
	Conntrack  *Conntrack
	Routes     *Routes
	Interfaces []Interface
	NetISR     []NetISR
	Mbufs      []MbufZone
	Devices    []Device
}

// Softnet counts what befell packets on their way from the network cards into the
// stack, over all CPUs.
type Softnet struct {
	Drops       uint64 // packets for which the backlog had no room
	Squeezes    uint64 // times that a CPU had to stop with packets left
	HasSqueezes bool   // only Linux has them
}

// Conntrack is how many connections the kernel tracks, of whatever protocol, and how
// many it can: beyond them, packets of new ones are dropped.
type Conntrack struct{ Usage, Limit uint64 }

// Routes is how many routes there are in all routing tables of all network stacks of
// the host, and how many different next hops they have.
type Routes struct{ Routes, Nexthops uint64 }

// Interface is a network interface. Received comes first, then sent.
type Interface struct {
	Name          string
	Errors, Drops [2]uint64
}

// NetISR is what FreeBSD's netisr(9) did for a protocol. Each CPU has a queue for it.
type NetISR struct {
	Protocol  string
	Handled   uint64 // packets, queued before or not
	Drops     uint64 // packets for which a queue had no room
	Longest   uint64 // packets in the longest of the queues now
	Watermark uint64 // most packets that were ever in one of the queues
	Limit     uint64 // packets that fit into each queue

	number uint32
}

// MbufZone is a zone of FreeBSD's network memory (mbuf(9)).
type MbufZone struct {
	Name    string
	Usage   uint64 // items in use; cached ones are free
	Limit   uint64 // items; 0: none
	Denied  uint64 // requests that got nothing
	Delayed uint64 // requests that had to wait
}

// Device counts what a process captures of an interface through bpf(4).
type Device struct {
	Interface string
	PID       int32
	Received  uint64 // packets that its filter was asked about
	Dropped   uint64 // packets that it wanted and for which its buffer had no room
}

// Get returns a number and whether the host has it.
func (n *Numbers) Get(family Family, number Number) (v uint64, ok bool) {
	return n.values[family][number], n.present[family]&(1<<number) != 0
}

// Set makes a number present.
func (n *Numbers) Set(family Family, number Number, v uint64) {
	n.values[family][number] = v
	n.present[family] |= 1 << number
}
