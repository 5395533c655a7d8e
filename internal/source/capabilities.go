// SPDX-License-Identifier: Apache-2.0

package source

import (
	"errors"

	"github.com/netpulse/tcpstatsreceiver/internal/choice"
	"github.com/netpulse/tcpstatsreceiver/internal/netns"
)

// Capabilities is a set of needs that a source meets.
type Capabilities uint8

// The needs, as users name them in `require`.
const (
	RTT        Capabilities = 1 << iota // round-trip times of each connection
	Bytes                               // bytes each way of each connection
	Closes                              // the last sample of each connection that closes
	Processes                           // what joins a socket with its process
	Namespaces                          // sockets of other network namespaces or vnets
)

var capabilityNames = []string{"rtt", "bytes", "closes", "processes", "namespaces"}

// String lists the set as users name it: "rtt, bytes".
func (c Capabilities) String() string { return choice.Text(c, capabilityNames) }

// Missing returns what of want the set does not have.
func (c Capabilities) Missing(want Capabilities) Capabilities { return want &^ c }

// refusal says what the host refuses to a source that cannot do here what its kind
// can at its best, "" if nothing is known: " (CAP_… is missing …)".
func (c Capabilities) refusal() string {
	if c&Namespaces == 0 {
		return ""
	}
	if err := netns.Supported(); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return " (" + err.Error() + ")"
	}
	return ""
}

// ParseCapability turns a name as in `require` into a set of one.
func ParseCapability(name string) (Capabilities, error) {
	return choice.Parse[Capabilities](name, capabilityNames)
}
