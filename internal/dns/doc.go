// SPDX-License-Identifier: Apache-2.0

// Package dns reads the DNS messages that a host exchanges: which names it asked
// for, which addresses it was given for them, and how long that took.
//
// A [Watcher] takes packets, puts TCP streams together, and matches answers with
// queries; [Names] remembers which name an address was given for. Nothing is asked
// over the network.
package dns
