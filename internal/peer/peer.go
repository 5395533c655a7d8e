// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"net/netip"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/dns"
)

// Peer is who the other end of a connection is. What is not known is empty.
type Peer struct {
	// Name is the name that was asked for, in lower case.
	Name string
	// Service is the name that the list of services has.
	Service string
	Place
	// Translated is the address and port behind a translated one. It is not valid if
	// there is none.
	Translated netip.AddrPort
}

// Connection is a connection that has opened.
type Connection struct {
	Local, Peer netip.AddrPort
	// Opened is when.
	Opened time.Time
	// Key identifies the process or namespace that has it, as in [dns.Names.Lookup]. 0:
	// it is not known.
	Key uint64
	// Accepted: the other end opened the connection. Names and translations are not
	// looked up for those.
	Accepted bool
}

// Finder finds peers. What is nil is not looked for.
type Finder struct {
	Names        *dns.Names
	Services     *Services
	Places       *Places
	Translations *Translations
}

// Lookup finds what is known of a peer at the opening of its connection. It is to
// be called once for each: what it finds stays, whatever names and files say later.
func (f *Finder) Lookup(c *Connection) (p Peer) {
	if f.Services != nil {
		p.Service = f.Services.Lookup(c.Peer)
	}
	if f.Places != nil {
		p.Place = f.Places.Lookup(c.Peer.Addr(), time.Now())
	}
	if c.Accepted {
		return p
	}
	if f.Names != nil {
		p.Name = f.Names.Lookup(c.Peer.Addr(), c.Opened, c.Key)
	}
	if f.Translations != nil {
		p.Translated = f.Translations.Lookup(c.Local, c.Peer, time.Now())
	}
	return p
}
