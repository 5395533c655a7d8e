// SPDX-License-Identifier: Apache-2.0

// Package capture is where packets come from: the interface of the engines that
// see them, what each can do, and the choice among them at start and while running.
// Engines know nothing of what the packets carry.
//
// Decoding is separate from reading in every engine: parsers take bytes and build
// on any system, only the thin reader beside them is tied to one.
package capture
