// SPDX-License-Identifier: Apache-2.0

package procfs

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"net/netip"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// timerTimeWait is the timer of a connection that has shrunk to a struct
// inet_timewait_sock: one in TIME_WAIT, or one in FIN_WAIT2 that its process
// has closed. No other has this timer (net/ipv4/tcp_ipv4.c get_timewait4_sock).
const timerTimeWait = 3

// parseSocket decodes a line of tcp or tcp6, without its newline, into s. It
// sets every value that it ever sets but s.ID, and changes no others. Nothing
// after the inode is read. The line's form is that of net/ipv4/tcp_ipv4.c
// get_tcp4_sock, get_timewait4_sock and get_openreq4, and their sisters in
// net/ipv6/tcp_ipv6.c:
//
//	sl: local:port peer:port st tx_queue:rx_queue tr:when retrnsmt uid timeout inode …
func parseSocket(line []byte, order byteOrder, s *tcp.Socket) error {
	c := cursor{rest: line}
	c.spaces()
	c.decimal("slot", math.MaxUint64)
	c.expect("slot", ':')

	local, peer := c.endpoint("local address", order), c.endpoint("peer address", order)
	if local.Addr().BitLen() != peer.Addr().BitLen() {
		c.fail("peer address")
	}
	c.gap("state")
	number := c.hex("state", 2)
	c.gap("tx_queue")
	tx := c.hex("tx_queue", 8)
	c.expect("rx_queue", ':')
	rx := c.hex("rx_queue", 8)
	c.gap("timer")
	timer := c.hex("timer", 2)
	c.expect("timer", ':')
	c.hex("timer", 16)
	c.gap("retransmits")
	c.hex("retransmits", 8)
	c.gap("uid")
	uid := c.decimal("uid", math.MaxUint32)
	c.gap("timeout")
	c.word("timeout")
	c.gap("inode")
	inode := c.decimal("inode", math.MaxUint64)
	if len(c.rest) > 0 && c.rest[0] != ' ' {
		c.fail("inode")
	}
	if c.bad != "" {
		return fmt.Errorf("malformed %s", c.bad)
	}
	state, ok := tcp.LinuxState(number)
	if !ok {
		return fmt.Errorf("unknown state %d", number)
	}

	// Whoever had the one before may have added to it.
	*s = tcp.Socket{State: state, UID: uint32(uid), Inode: inode}
	s.Local, s.Peer = onTheWire(local, peer)
	switch {
	case s.State == tcp.Listen:
		s.Fields = s.Fields.With(tcp.FieldQueueLength)
		s.QueueLength = uint32(rx)
	case s.State != tcp.SynReceived && timer != timerTimeWait:
		// Request sockets and TIME_WAIT have zeros in place of the values.
		s.Fields = s.Fields.With(tcp.FieldSendBufferUsage).With(tcp.FieldReceiveBufferUsage)
		s.ReceiveBufferUsage, s.SendBufferUsage = tcp.LinuxQueues(s.State, uint32(rx), uint32(tx))
	}
	return nil
}

// onTheWire turns the endpoints of an IPv6 socket that speaks IPv4 into IPv4.
// A listener of ::ffff:192.0.2.1 has the peer ::, which then is 0.0.0.0; one of
// :: takes both and stays IPv6.
func onTheWire(local, peer netip.AddrPort) (netip.AddrPort, netip.AddrPort) {
	if !local.Addr().Is4In6() {
		return local, peer
	}
	addr := peer.Addr().Unmap()
	if addr == netip.IPv6Unspecified() {
		addr = netip.IPv4Unspecified()
	}
	return netip.AddrPortFrom(local.Addr().Unmap(), local.Port()), netip.AddrPortFrom(addr, peer.Port())
}

// byteOrder is that of the kernel's CPU. Addresses are in network byte order in
// memory, but the kernel prints each 32-bit word of them as its CPU's number.
type byteOrder bool

const (
	littleEndian byteOrder = false
	bigEndian    byteOrder = true
)

func hostOrder() byteOrder { return byteOrder(binary.NativeEndian.Uint16([]byte{0, 1}) == 1) }

// cursor reads a line from left to right. After the first thing that is not as
// expected, bad has its name, and all that follows is 0.
type cursor struct {
	rest []byte
	bad  string
}

func (c *cursor) fail(what string) {
	if c.bad == "" {
		c.bad = what
	}
	c.rest = nil
}

func (c *cursor) spaces() {
	n := 0
	for n < len(c.rest) && c.rest[n] == ' ' {
		n++
	}
	c.rest = c.rest[n:]
}

// gap skips one space or more before what.
func (c *cursor) gap(what string) {
	c.expect(what, ' ')
	c.spaces()
}

func (c *cursor) expect(what string, b byte) {
	if len(c.rest) == 0 || c.rest[0] != b {
		c.fail(what)
		return
	}
	c.rest = c.rest[1:]
}

// word skips what is not space.
func (c *cursor) word(what string) {
	n := 0
	for n < len(c.rest) && c.rest[n] != ' ' {
		n++
	}
	if n == 0 {
		c.fail(what)
		return
	}
	c.rest = c.rest[n:]
}

// hex reads as many digits as there are, at least one and at most digits.
func (c *cursor) hex(what string, digits int) uint64 {
	v, n := uint64(0), 0
	for n < len(c.rest) && hexDigit[c.rest[n]] != 0 {
		v = v<<4 | uint64(hexDigit[c.rest[n]]-1)
		n++
	}
	if n == 0 || n > digits {
		c.fail(what)
		return 0
	}
	c.rest = c.rest[n:]
	return v
}

// decimal reads as many digits as there are, at least one, up to the value limit.
func (c *cursor) decimal(what string, limit uint64) uint64 {
	n := 0
	for n < len(c.rest) && c.rest[n]-'0' <= 9 {
		n++
	}
	v, ok := parseDecimal(c.rest[:n])
	if !ok || v > limit {
		c.fail(what)
		return 0
	}
	c.rest = c.rest[n:]
	return v
}

// endpoint reads a gap, an address of one 32-bit word or four, and a port.
func (c *cursor) endpoint(what string, order byteOrder) netip.AddrPort {
	c.gap(what)
	var addr [16]byte
	words := 0
	for ; words < 4 && len(c.rest) >= 8 && c.rest[0] != ':'; words++ {
		binary.BigEndian.PutUint32(addr[4*words:], c.addressWord(what, order))
	}
	c.expect(what, ':')
	port := uint16(c.hex(what, 4))
	switch words {
	case 1:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(addr[:4])), port)
	case 4:
		return netip.AddrPortFrom(netip.AddrFrom16(addr), port)
	}
	c.fail(what)
	return netip.AddrPort{}
}

// addressWord reads eight digits; the caller has seen that there are so many
// bytes. The result is the word as on the wire.
func (c *cursor) addressWord(what string, order byteOrder) uint32 {
	v := uint32(0)
	for _, b := range c.rest[:8] {
		d := hexDigit[b]
		if d == 0 {
			c.fail(what)
			return 0
		}
		v = v<<4 | uint32(d-1)
	}
	c.rest = c.rest[8:]
	if order == littleEndian {
		v = bits.ReverseBytes32(v)
	}
	return v
}

// parseDecimal is strconv.ParseUint for bytes, without allocation.
func parseDecimal(digits []byte) (v uint64, ok bool) {
	for _, b := range digits {
		d := uint64(b - '0')
		if b < '0' || d > 9 || v > (math.MaxUint64-d)/10 {
			return 0, false
		}
		v = v*10 + d
	}
	return v, len(digits) > 0
}

// hexDigit is a digit's value plus one, 0 for what is no digit.
var hexDigit = [256]uint8{
	'0': 1, '1': 2, '2': 3, '3': 4, '4': 5, '5': 6, '6': 7, '7': 8, '8': 9, '9': 10,
	'A': 11, 'B': 12, 'C': 13, 'D': 14, 'E': 15, 'F': 16,
	'a': 11, 'b': 12, 'c': 13, 'd': 14, 'e': 15, 'f': 16,
}
