// SPDX-License-Identifier: Apache-2.0

package beneath

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// errLayout is what an unknown layout of a structure of the kernel is.
var errLayout = errors.New("its layout is not known")

// newestKnown is the first osreldate of which no layout is known: FreeBSD 16.
const newestKnown = 1600000

// structure is a struct of FreeBSD that consists of 64-bit counters alone, such as
// struct udpstat. Its layout is recognised by its length, which no jail can be deceived
// about; 13.2 and 15.1 were seen.
type structure struct {
	variable string // of sysctl(3)
	name     string
	family   Family
	layouts  []layout
}

// layout is what numbers are made of, by the position of the counters.
type layout struct {
	counters int
	sums     []sum
}

// sum adds up counters, less others. Only UDPReceived has any to take off.
type sum struct {
	number Number
	of     []int
	less   []int
	high   highest // where there is something to take off
}

// span is n positions from the first on.
func span(first, n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = first + i
	}
	return all
}

// icmpLayout is that of struct icmpstat and icmp6stat, which have a histogram of the
// types of messages sent and received. shift is how many counters are between
// badlen and reflect.
func icmpLayout(counters, types, unreachable, shift int) layout {
	const outgoing = 3 // after error, oldshort and oldicmp, or canterror and toofreq
	badCode := outgoing + types
	tooShort, checksum, badLength := badCode+1, badCode+2, badCode+3
	incoming := badLength + shift + 2 // after reflect
	return layout{counters, []sum{
		// Those with a wrong checksum are not in the histogram.
		{number: ICMPReceived, of: append(span(incoming, types), checksum)},
		{number: ICMPSent, of: span(outgoing, types)},
		{number: ICMPReceiveErrors, of: []int{badCode, tooShort, checksum, badLength}},
		{number: ICMPUnreachablesReceived, of: []int{incoming + unreachable}},
		{number: ICMPUnreachablesSent, of: []int{outgoing + unreachable}},
	}}
}

// Positions in struct udpstat of <netinet/udp_var.h>.
const (
	udpReceived = 0 // udps_ipackets
	udpShort    = 1 // udps_hdrops
	udpChecksum = 2 // udps_badsum
	udpLength   = 4 // udps_badlen
	udpNoPort   = 5 // udps_noport
	udpFull     = 7 // udps_fullsock
	udpSent     = 10
)

// structures are those that are read. FreeBSD counts UDP for both versions of IP
// together. What is not among the sums it does not count, or not so.
func structures() []structure {
	return []structure{
		{"net.inet.udp.stats", "udpstat", BothIP, []layout{{14, []sum{
			{number: UDPReceived, of: []int{udpReceived}, less: []int{udpShort, udpChecksum, udpLength, udpNoPort, udpFull}},
			{number: UDPSent, of: []int{udpSent}},
			{number: UDPNoPort, of: []int{udpNoPort}},
			{number: UDPReceiveBuffer, of: []int{udpFull}},
			{number: UDPChecksum, of: []int{udpChecksum}},
		}}}},
		// <netinet/ip_var.h>
		{"net.inet.ip.stats", "ipstat", IPv4, []layout{{29, []sum{
			{number: IPReceived, of: []int{0}},               // ips_total
			{number: IPSent, of: []int{15, 24}},              // ips_localout, ips_rawout
			{number: IPSendDrops, of: []int{16}},             // ips_odropped
			{number: IPNoRoutes, of: []int{22}},              // ips_noroute
			{number: IPFragmentationFailures, of: []int{20}}, // ips_cantfrag
			{number: IPReassemblyFailures, of: []int{7, 8}},  // ips_fragdropped, ips_fragtimeout
		}}}},
		// <netinet6/ip6_var.h>
		{"net.inet6.ip6.stats", "ip6stat", IPv6, []layout{{415, []sum{
			{number: IPReceived, of: []int{0}},                 // ip6s_total
			{number: IPSent, of: []int{11}},                    // ip6s_localout
			{number: IPSendDrops, of: []int{12}},               // ip6s_odropped
			{number: IPNoRoutes, of: []int{19}},                // ip6s_noroute
			{number: IPFragmentationFailures, of: []int{17}},   // ip6s_cantfrag
			{number: IPReassemblyFailures, of: []int{4, 5, 6}}, // ip6s_fragdropped, ip6s_fragtimeout, ip6s_fragoverflow
		}}}},
		// <netinet/icmp_var.h>: ICMP_MAXTYPE is 40, ICMP_UNREACH 3
		{"net.inet.icmp.stats", "icmpstat", IPv4, []layout{icmpLayout(94, 41, 3, 0)}},
		// <netinet/icmp6.h>: ICMP6_DST_UNREACH is 1. 15 has icp6s_dropped after icp6s_badlen.
		{"net.inet6.icmp6.stats", "icmp6stat", IPv6, []layout{icmpLayout(578, 256, 1, 0), icmpLayout(579, 256, 1, 1)}},
	}
}

// parse sets the numbers that a structure has.
func (s *structure) parse(raw []byte, osreldate int, n *Numbers) error {
	at := slices.IndexFunc(s.layouts, func(l layout) bool { return 8*l.counters == len(raw) })
	if at < 0 || osreldate >= newestKnown {
		return fmt.Errorf("struct %s of %d bytes on a kernel of osreldate %d: %w", s.name, len(raw), osreldate, errLayout)
	}
	total := func(positions []int) (total uint64) {
		for _, i := range positions {
			total += binary.NativeEndian.Uint64(raw[8*i:])
		}
		return total
	}
	sums := s.layouts[at].sums
	for i := range sums {
		v := total(sums[i].of)
		if len(sums[i].less) > 0 {
			// A datagram for several sockets can be lost several times.
			v = sums[i].high.take(v, v-min(v, total(sums[i].less)))
		}
		n.Set(s.family, sums[i].number, v)
	}
	return nil
}

// highest keeps a difference of counters, which are not read at one moment, from
// falling.
type highest struct{ of, value uint64 }

// take returns the value, or the highest one so far. of is what it is the difference
// of, and falls only when an administrator sets the counters to 0.
func (h *highest) take(of, value uint64) uint64 {
	if of < h.of {
		*h = highest{}
	}
	h.of, h.value = of, max(h.value, value)
	return h.value
}
