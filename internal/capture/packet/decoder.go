// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// Protocols of the transport layer (IANA, Assigned Internet Protocol Numbers).
const (
	TCP = 6
	UDP = 17
)

// Flags of a TCP segment (RFC 9293 §3.1).
const (
	FlagFIN = 0x01
	FlagSYN = 0x02
	FlagRST = 0x04
	FlagACK = 0x10
)

// Errors of [Decode].
var (
	// ErrOther says that the packet is neither UDP nor TCP over IP.
	ErrOther = errors.New("neither UDP nor TCP")
	// ErrFragment says that the packet is a fragment other than the first, so it has
	// no ports.
	ErrFragment = errors.New("a fragment other than the first")
	// ErrMalformed says that a header is cut short or contradicts itself.
	ErrMalformed = errors.New("malformed packet")
)

// Segment is a UDP datagram or a TCP segment.
type Segment struct {
	Source, Destination netip.AddrPort
	// Protocol is UDP or TCP.
	Protocol uint8
	// Flags and Sequence are of TCP.
	Flags    uint8
	Sequence uint32
	// Fragment says that the payload goes on in fragments that are not decoded.
	Fragment bool
	// Payload is part of the packet's Data.
	Payload []byte
	// Missing is how many bytes of the payload are not in the packet's Data.
	Missing int
}

// Types of Ethernet frames (IANA, IEEE 802 Numbers).
const (
	etherIPv4  = 0x0800
	etherIPv6  = 0x86dd
	etherVLAN  = 0x8100 // IEEE 802.1Q
	etherQinQ  = 0x88a8 // IEEE 802.1ad
	maxVLANs   = 2
	etherLen   = 14
	vlanTagLen = 4
)

// Decode decodes a packet into s. Its error is, or wraps, one of those above.
func Decode(p *Packet, s *Segment) error {
	*s = Segment{}
	data := p.Data
	switch p.Link {
	case Ethernet:
		var err error
		if data, err = etherPayload(data); err != nil {
			return err
		}
	case Null:
		if len(data) < 4 {
			return malformed("loopback header", len(data))
		}
		data = data[4:]
	}
	if len(data) == 0 {
		return malformed("IP header", 0)
	}
	switch data[0] >> 4 {
	case 4:
		return s.ipv4(data, p.Length-(len(p.Data)-len(data)))
	case 6:
		return s.ipv6(data, p.Length-(len(p.Data)-len(data)))
	}
	return ErrOther
}

func malformed(what string, length int) error {
	return fmt.Errorf("%w: %s with %d bytes left", ErrMalformed, what, length)
}

func etherPayload(data []byte) ([]byte, error) {
	if len(data) < etherLen {
		return nil, malformed("Ethernet header", len(data))
	}
	typ := binary.BigEndian.Uint16(data[12:])
	data = data[etherLen:]
	for range maxVLANs {
		if typ != etherVLAN && typ != etherQinQ {
			break
		}
		if len(data) < vlanTagLen {
			return nil, malformed("VLAN tag", len(data))
		}
		typ = binary.BigEndian.Uint16(data[2:])
		data = data[vlanTagLen:]
	}
	if typ != etherIPv4 && typ != etherIPv6 {
		return nil, ErrOther
	}
	return data, nil
}

// cut takes the padding off that links add to short packets. total is the length
// that the IP header states, onWire how long the packet was; it returns how many
// bytes of the packet are not in data. Large packets of a host's own, which the
// hardware is to split, may state 0.
func cut(data []byte, total, onWire int) (rest []byte, missing int) {
	if total == 0 {
		total = max(onWire, len(data))
	}
	if total < len(data) {
		return data[:total], 0
	}
	return data, total - len(data)
}

// ipv4 decodes a packet from its IP header on (RFC 791 §3.1).
func (s *Segment) ipv4(data []byte, onWire int) error {
	if len(data) < 20 {
		return malformed("IPv4 header", len(data))
	}
	headerLen := int(data[0]&0x0f) * 4
	total := int(binary.BigEndian.Uint16(data[2:]))
	if headerLen < 20 || headerLen > len(data) || total != 0 && total < headerLen {
		return malformed("IPv4 header", len(data))
	}
	data, missing := cut(data, total, onWire)
	fragment := binary.BigEndian.Uint16(data[6:])
	if fragment&0x1fff != 0 {
		return ErrFragment
	}
	s.Fragment = fragment&0x2000 != 0
	source, destination := netip.AddrFrom4([4]byte(data[12:16])), netip.AddrFrom4([4]byte(data[16:20]))
	return s.transport(data[9], data[headerLen:], missing, source, destination)
}

// Extension headers of IPv6 (RFC 8200 §4).
const (
	hopByHop           = 0
	routing            = 43
	fragmentHeader     = 44
	destinationOptions = 60
	maxExtensions      = 8
)

// ipv6 decodes a packet from its IP header on (RFC 8200 §3).
func (s *Segment) ipv6(data []byte, onWire int) error {
	if len(data) < 40 {
		return malformed("IPv6 header", len(data))
	}
	total := int(binary.BigEndian.Uint16(data[4:]))
	if total != 0 {
		total += 40
	}
	data, missing := cut(data, total, onWire)
	source, destination := netip.AddrFrom16([16]byte(data[8:24])), netip.AddrFrom16([16]byte(data[24:40]))
	next, data := data[6], data[40:]
	for range maxExtensions {
		switch next {
		case hopByHop, routing, destinationOptions:
			if len(data) < 8 {
				return malformed("IPv6 extension header", len(data))
			}
			length := (int(data[1]) + 1) * 8
			if length > len(data) {
				return malformed("IPv6 extension header", len(data))
			}
			next, data = data[0], data[length:]
		case fragmentHeader:
			if len(data) < 8 {
				return malformed("IPv6 fragment header", len(data))
			}
			offset := binary.BigEndian.Uint16(data[2:])
			if offset&^7 != 0 {
				return ErrFragment
			}
			s.Fragment = s.Fragment || offset&1 != 0
			next, data = data[0], data[8:]
		default:
			return s.transport(next, data, missing, source, destination)
		}
	}
	return malformed("too many IPv6 extension headers", len(data))
}

func (s *Segment) transport(protocol uint8, data []byte, missing int, source, destination netip.Addr) error {
	headerLen := 8
	switch protocol {
	case UDP:
		if len(data) < headerLen {
			return malformed("UDP header", len(data))
		}
	case TCP:
		if len(data) < 20 {
			return malformed("TCP header", len(data))
		}
		headerLen = int(data[12]>>4) * 4
		if headerLen < 20 || headerLen > len(data) {
			return malformed("TCP header", len(data))
		}
		s.Sequence, s.Flags = binary.BigEndian.Uint32(data[4:]), data[13]
	default:
		return ErrOther
	}
	s.Protocol = protocol
	s.Source = netip.AddrPortFrom(source, binary.BigEndian.Uint16(data))
	s.Destination = netip.AddrPortFrom(destination, binary.BigEndian.Uint16(data[2:]))
	s.Payload, s.Missing = data[headerLen:], missing
	if protocol == UDP && !s.Fragment && missing == 0 {
		// What comes after the datagram is no part of it (RFC 768); 0 stands for
		// whatever is longer than the field can say.
		if length := int(binary.BigEndian.Uint16(data[4:])); length >= headerLen && length < len(data) {
			s.Payload = data[headerLen:length]
		}
	}
	return nil
}
