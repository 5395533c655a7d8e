// SPDX-License-Identifier: Apache-2.0

// Package distribution has no code, only tests of built collectors: our own
// distribution with its examples, and other people's that take the receiver in.
// The binary of our own is named by OTELCOL_TCPSTATS.
package distribution
