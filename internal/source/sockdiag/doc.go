// SPDX-License-Identifier: Apache-2.0

// Package sockdiag reads Linux's TCP sockets through netlink's sock_diag: each
// with its full tcp_info, in one pass over both address families.
//
// The layouts are those of <linux/netlink.h>, <linux/inet_diag.h> and
// <linux/tcp.h>, in the machine's own byte order but for addresses and ports.
package sockdiag
