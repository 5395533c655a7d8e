// SPDX-License-Identifier: Apache-2.0

// Package tpacket captures packets with a packet socket that shares a ring of
// blocks with the kernel: TPACKET_V3 of packet(7) and
// Documentation/networking/packet_mmap.rst.
package tpacket
