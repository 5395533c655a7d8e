// SPDX-License-Identifier: Apache-2.0

package capture

import "github.com/netpulse/tcpstatsreceiver/internal/choice"

// Capabilities is a set of needs that an engine meets.
type Capabilities uint8

// The needs, as users name them in `require`.
const (
	Direction    Capabilities = 1 << iota // which packets come in and which go out
	KernelFilter                          // packets that do not match stay in the kernel
	ZeroCopy                              // packets are looked at where the kernel put them
	Timestamps                            // when the kernel saw a packet, not when it was read
)

var capabilityNames = []string{"direction", "kernel_filter", "zero_copy", "timestamps"}

// String lists the set as users name it: "direction, timestamps".
func (c Capabilities) String() string { return choice.Text(c, capabilityNames) }

// Missing returns what of want the set does not have.
func (c Capabilities) Missing(want Capabilities) Capabilities { return want &^ c }

// ParseCapability turns a name as in `require` into a set of one.
func ParseCapability(name string) (Capabilities, error) {
	return choice.Parse[Capabilities](name, capabilityNames)
}
