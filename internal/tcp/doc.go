// SPDX-License-Identifier: Apache-2.0

// Package tcp is the vocabulary that all the other packages speak: sockets,
// states, identities and system-wide counters as plain values. It does no
// input or output and knows no operating system.
//
// Names are the kernel's and RFC 9293's. A value that a source does not know
// is absent, never zero: ask [Socket.Has] or [Counters.Get] first.
package tcp
