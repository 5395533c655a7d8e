// SPDX-License-Identifier: Apache-2.0

// Package afpacket captures packets with a plain packet socket, many of them with
// one system call: packet(7), recvmmsg(2). It is there for where shared memory
// cannot be had.
package afpacket
