// SPDX-License-Identifier: Apache-2.0

//go:build linux || freebsd

package e2e

import (
	"net"
	"net/netip"
)

// linkLocal returns an IPv6 link-local address of this host, with its zone.
func linkLocal() (addr netip.Addr, ok bool) {
	interfaces, _ := net.Interfaces()
	for _, i := range interfaces {
		addrs, _ := i.Addrs()
		for _, a := range addrs {
			network, ok := a.(*net.IPNet)
			if !ok {
				continue
			}
			if addr, ok := netip.AddrFromSlice(network.IP); ok && addr.Is6() && addr.IsLinkLocalUnicast() {
				return addr.WithZone(i.Name), true
			}
		}
	}
	return netip.Addr{}, false
}

// hasIPv6 tells whether connections to ::1 can be made.
func hasIPv6() bool {
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		return false
	}
	return l.Close() == nil
}
