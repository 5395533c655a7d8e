// Package beneath reads what the host counts below TCP, for the hours when TCP is
// not to blame: UDP, IP and ICMP, the queues between the network cards and the
// stack, connection tracking, and the interfaces.
package beneath

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

	// NumFamilies is the number of families.
	NumFamilies
)

// Numbers are what a host counts below TCP. A host that does not count something
// has no value for it.
type Numbers struct {
	values  [NumFamilies][NumNumbers]uint64
	present [NumFamilies]uint32

	// Softnet is nil where it is not known, and so is Conntrack where connections are
	// not tracked.
	Softnet    *Softnet
	Conntrack  *Conntrack
	Interfaces []Interface
}

// Softnet counts what befell packets on their way from the network cards into the
// stack, over all CPUs.
type Softnet struct {
	Drops    uint64 // packets for which the backlog had no room
	Squeezes uint64 // times that a CPU had to stop with packets left
}

// Conntrack is how many connections the kernel tracks, of whatever protocol, and how
// many it can: beyond them, packets of new ones are dropped.
type Conntrack struct{ Usage, Limit uint64 }

// Interface is a network interface. Received comes first, then sent.
type Interface struct {
	Name          string
	Errors, Drops [2]uint64
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
