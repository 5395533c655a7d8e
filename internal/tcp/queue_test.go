// SPDX-License-Identifier: Apache-2.0

package tcp

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestQueueLimits(t *testing.T) {
	for _, tt := range []struct{ n, linux, freebsd uint32 }{
		{0, 1, 1},
		{1, 2, 2},
		{5, 6, 8},
		{128, 129, 193},
		{math.MaxUint32, math.MaxUint32, math.MaxUint32},
	} {
		assert.Equal(t, tt.linux, LinuxQueueLimit(tt.n), tt.n)
		assert.Equal(t, tt.freebsd, FreeBSDQueueLimit(tt.n), tt.n)
	}
}
