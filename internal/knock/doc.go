// SPDX-License-Identifier: Apache-2.0

// Package knock finds attempts to connect to ports of this host that nothing answers:
// closed ports, and those that a packet filter hides. They meet no socket, so only an
// engine that captures packets sees them.
package knock
