// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"bytes"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// bucketsFile says how many buckets the table of connections has, since Linux 6.1. The
// number is negative where network namespaces share one table, as they do by default.
const bucketsFile = "/proc/sys/net/ipv4/tcp_ehash_entries"

// buckets returns how many buckets the table of connections has, or probably has.
func buckets() int {
	if text, err := os.ReadFile(bucketsFile); err == nil {
		if n := parseBuckets(text); n > 0 {
			return n
		}
	}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return maxBuckets
	}
	return guessBuckets(uint64(info.Totalram) * uint64(info.Unit))
}

// parseBuckets returns 0 where there is no number.
func parseBuckets(text []byte) int {
	n, err := strconv.Atoi(string(bytes.TrimSpace(text)))
	if err != nil {
		return 0
	}
	return max(n, -n)
}

// The kernel makes a bucket for every 128 KiB of memory, and no more than 512 K of
// them, unless thash_entries= says otherwise (tcp_init of net/ipv4/tcp.c).
const (
	memoryPerBucket = 128 << 10
	maxBuckets      = 512 << 10
)

// guessBuckets returns how many buckets a host with so many bytes of memory has by
// default: a power of two.
func guessBuckets(memory uint64) int {
	n := 1
	for n < maxBuckets && uint64(n)*memoryPerBucket < memory {
		n *= 2
	}
	return n
}
