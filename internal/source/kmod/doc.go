// SPDX-License-Identifier: Apache-2.0

// Package kmod reads FreeBSD's TCP connections through the kernel module of
// this repository: /dev/tcpstats gives all that the kernel knows of each, RTT,
// sequence numbers and byte counts included, in one consistent walk.
//
// The interface is kmod/tcpstats.h, the manual tcpstats(4). Offsets here are
// checked against that header by a C program in the tests. All but the counters
// works on any system, so that it can be tested on any: a device is a file.
package kmod
