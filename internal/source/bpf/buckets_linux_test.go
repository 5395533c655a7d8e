// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestBuckets(t *testing.T) {
	assert.Equal(t, 262144, parseBuckets([]byte("-262144\n")), "shared with other network namespaces")
	assert.Equal(t, 1024, parseBuckets([]byte("1024\n")))
	assert.Zero(t, parseBuckets(nil))
	assert.Zero(t, parseBuckets([]byte("many")))
	n := buckets()
	assert.Positive(t, n)
	assert.Zero(t, n&(n-1), "a power of two")
}

func TestBucketsByMemory(t *testing.T) {
	const gib = 1 << 30
	for memory, want := range map[uint64]int{1 * gib: 8192, 2 * gib: 16384, 24 * gib: 262144, 64 * gib: 524288, 512 * gib: 524288} {
		assert.Equal(t, want, guessBuckets(memory), memory/gib)
	}
}
