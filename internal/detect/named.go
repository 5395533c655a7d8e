// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"net"
	"strconv"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
)

// nameOf is the name that this host asked for to get a peer's address, "" if it is not
// known.
func nameOf(c *event.Connection) string {
	if c.PeerInfo == nil {
		return ""
	}
	return c.PeerInfo.Name
}

// named is the peer of a connection, with its name if that is known: "c2.example:443
// (198.51.100.7)".
func named(c *event.Connection) string {
	name := nameOf(c)
	if name == "" {
		return endpoint(c.Peer)
	}
	return net.JoinHostPort(name, strconv.Itoa(int(c.Peer.Port()))) + " (" + c.Peer.Addr().String() + ")"
}
