// SPDX-License-Identifier: Apache-2.0

package tcp

// RetransmitType is what made a sender retransmit a segment.
type RetransmitType uint8

// The types.
const (
	FastRetransmit    RetransmitType = iota // the peer reported what came after it
	TimeoutRetransmit                       // nothing was acknowledged for the RTO, and what follows from that
	ProbeRetransmit                         // a tail loss probe, RFC 8985
	SYNRetransmit                           // a SYN or SYN-ACK

	// NumRetransmitTypes is the number of types.
	NumRetransmitTypes
)

var retransmitTypeNames = [NumRetransmitTypes]string{"fast", "timeout", "loss_probe", "syn"}

// String returns the type as a value of network.tcp.retransmit.type.
func (r RetransmitType) String() string {
	if r < NumRetransmitTypes {
		return retransmitTypeNames[r]
	}
	return "unknown"
}
