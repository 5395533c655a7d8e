// SPDX-License-Identifier: Apache-2.0

// Package traffic sends the packets that benchmarks of captures read, at a fixed rate
// and from processes of its own: their CPU time is not the reader's.
package traffic
