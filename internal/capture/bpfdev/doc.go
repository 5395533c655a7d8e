// SPDX-License-Identifier: Apache-2.0

// Package bpfdev captures packets with FreeBSD's packet filter, bpf(4): a descriptor
// of /dev/bpf for each interface, with the filter in the kernel.
package bpfdev
