// SPDX-License-Identifier: Apache-2.0

package source

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// Filter says which sockets are wanted. The zero Filter wants all.
type Filter struct {
	States                   []tcp.State
	LocalPorts, PeerPorts    []PortRange
	PeerInclude, PeerExclude []netip.Prefix
}

// Any tells whether the filter has any condition.
func (f *Filter) Any() bool {
	return len(f.States)+len(f.LocalPorts)+len(f.PeerPorts)+len(f.PeerInclude)+len(f.PeerExclude) > 0
}

// Match tells whether the socket passes every condition. Listeners have no
// peer: conditions on peers do not apply to them.
func (f *Filter) Match(s *tcp.Socket) bool {
	if len(f.States) > 0 && !containsState(f.States, s.State) {
		return false
	}
	if len(f.LocalPorts) > 0 && !containsPort(f.LocalPorts, s.Local.Port()) {
		return false
	}
	if s.State == tcp.Listen {
		return true
	}
	if len(f.PeerPorts) > 0 && !containsPort(f.PeerPorts, s.Peer.Port()) {
		return false
	}
	if len(f.PeerInclude) == 0 && len(f.PeerExclude) == 0 {
		return true
	}
	// A prefix never contains an address with a zone, but 169.254/16's sister
	// fe80::/10 is meant for exactly those.
	peer := s.Peer.Addr().WithZone("")
	return (len(f.PeerInclude) == 0 || containsAddr(f.PeerInclude, peer)) && !containsAddr(f.PeerExclude, peer)
}

func containsState(states []tcp.State, s tcp.State) bool {
	for _, have := range states {
		if have == s {
			return true
		}
	}
	return false
}

func containsPort(ranges []PortRange, port uint16) bool {
	for _, r := range ranges {
		if r.First <= port && port <= r.Last {
			return true
		}
	}
	return false
}

func containsAddr(prefixes []netip.Prefix, addr netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// PortRange is a range of ports, both ends included.
type PortRange struct{ First, Last uint16 }

// ParsePortRange reads "443" or "8000-8999".
func ParsePortRange(text string) (PortRange, error) {
	first, last, isRange := strings.Cut(text, "-")
	if !isRange {
		last = first
	}
	lo, errLo := strconv.ParseUint(strings.TrimSpace(first), 10, 16)
	hi, errHi := strconv.ParseUint(strings.TrimSpace(last), 10, 16)
	if errLo != nil || errHi != nil || lo == 0 || hi < lo {
		return PortRange{}, fmt.Errorf("got %q, takes a port from 1 to 65535 or a range such as 8000-8999", text)
	}
	return PortRange{uint16(lo), uint16(hi)}, nil
}

// ParsePrefix reads a network such as "10.0.0.0/8" or "2001:db8::/32"; a
// single address is a network of one. IPv4 networks written as IPv6 become
// IPv4, since connections have the addresses that are on the wire.
func ParsePrefix(text string) (netip.Prefix, error) {
	bad := func() (netip.Prefix, error) {
		return netip.Prefix{}, fmt.Errorf("got %q, takes a network such as 10.0.0.0/8 or 2001:db8::/32, or an address", text)
	}
	if !strings.Contains(text, "/") {
		addr, err := netip.ParseAddr(text)
		if err != nil || addr.Zone() != "" {
			return bad()
		}
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return bad()
	}
	if p.Addr().Is4In6() {
		if p.Bits() < 96 {
			return bad()
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), nil
}
