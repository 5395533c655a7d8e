// SPDX-License-Identifier: Apache-2.0

package event

import (
	"net/netip"

	"github.com/netpulse/tcpstatsreceiver/internal/process"
)

// Peer is what is known of the other end of a connection beside its address. What
// is not known is empty.
type Peer struct {
	// Name is the name that this host asked for to get the peer's address.
	Name string
	// Service is the name that the configured list of services has.
	Service string
	// Process is the process of this host that has the other end; nil if that is on
	// another host, or not known.
	Process *process.Process
	// Translated is the address and port behind a translated one. It is not valid if
	// there is none.
	Translated netip.AddrPort
	// Country is where the peer's address is: a code of two letters (ISO 3166-1).
	Country string
	// ASN is the number of its autonomous system, 0 if it is not known, ASOrg whom
	// that belongs to.
	ASN   uint32
	ASOrg string
}
