// SPDX-License-Identifier: Apache-2.0

// Package sysctl reads FreeBSD's TCP through sysctl(3): the sockets in
// net.inet.tcp.pcblist, how many are in each state in net.inet.tcp.states, and
// the system-wide counters in net.inet.tcp.stats.
//
// It wants no privilege and no kernel module, so it is the source to fall back
// on. It knows endpoints, state, windows, buffers, congestion control and
// retransmits of a socket, but no round-trip time and no bytes: struct xtcpcb
// has none.
//
// What was seen on running kernels, amd64, is 13.2 (osreldate 1302001) and
// 15.1 (1501000); the structs of arm64 are the same. What is said of 14 is
// from its headers alone.
//
// Parsers take bytes and build on any system; only the reader is FreeBSD's.
package sysctl
