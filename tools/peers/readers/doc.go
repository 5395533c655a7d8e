// SPDX-License-Identifier: Apache-2.0

// Package readers reads packets with other people's libraries, as engines of
// internal/capture, so that its benchmark can measure them beside ours: the same
// filter in the kernel before them, the same decoder behind them.
package readers
