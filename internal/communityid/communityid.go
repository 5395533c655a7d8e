// SPDX-License-Identifier: Apache-2.0

// Package communityid computes Community IDs, version 1: a hash of a flow's
// endpoints and protocol that is the same on both of its ends, and in the logs of
// Zeek, Suricata and others (github.com/corelight/community-id-spec).
package communityid

import (
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"net/netip"
)

// protoTCP is TCP's number among the protocols of IP.
const protoTCP = 6

// prefix is the version.
const prefix = "1:"

// seed is the specification's default. IDs of different seeds do not match.
const seed = 0

// AppendTCP appends the Community ID of a TCP connection between two endpoints, in
// either order. Both addresses are IPv4 or both are IPv6; zones do not count.
func AppendTCP(to []byte, a, b netip.AddrPort) []byte {
	if c := a.Addr().WithZone("").Compare(b.Addr().WithZone("")); c > 0 || c == 0 && a.Port() > b.Port() {
		a, b = b, a
	}
	// Each part is in network byte order. The byte after the protocol is padding.
	var room [2 + 16 + 16 + 2 + 2 + 2]byte
	input := binary.BigEndian.AppendUint16(room[:0], seed)
	input = appendAddr(input, a.Addr())
	input = appendAddr(input, b.Addr())
	input = append(input, protoTCP, 0)
	input = binary.BigEndian.AppendUint16(input, a.Port())
	input = binary.BigEndian.AppendUint16(input, b.Port())
	sum := sha1.Sum(input)
	return base64.StdEncoding.AppendEncode(append(to, prefix...), sum[:])
}

func appendAddr(b []byte, addr netip.Addr) []byte {
	if addr.Is4() {
		bytes := addr.As4()
		return append(b, bytes[:]...)
	}
	bytes := addr.As16()
	return append(b, bytes[:]...)
}
