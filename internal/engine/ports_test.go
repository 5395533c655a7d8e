// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestPorts(t *testing.T) {
	var p ports
	for _, port := range []uint16{0, 63, 64, 32767, 32768, 40000, 40000, 60999, 61000, 65535} {
		p.add(port)
	}
	assert.Equal(t, uint64(3), p.count(32768, 28232))
	assert.Equal(t, uint64(9), p.count(0, 65536))
	assert.Equal(t, uint64(1), p.count(65535, 1))
	assert.Zero(t, p.count(1, 0))
}
