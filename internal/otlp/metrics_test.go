// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/netpulse/tcpstatsreceiver/internal/engine"
)

func TestTiers(t *testing.T) {
	var got []int64
	every := tier{every: 6}
	for tick := range int64(20) {
		due := every.isDue(tick)
		if tick == 6 || tick == 7 { // missed: the pipeline blocked
			continue
		}
		every.done(tick, due)
		if due {
			got = append(got, tick)
		}
	}
	assert.Equal(t, []int64{0, 8, 12, 18}, got)

	assert.True(t, every.isDue(engine.FinalTick), "whatever was written last")
	assert.False(t, (&tier{}).isDue(engine.FinalTick))

	always := tier{every: 1}
	never := tier{}
	for tick := range int64(5) {
		assert.True(t, always.isDue(tick))
		always.done(tick, true)
		assert.False(t, never.isDue(tick))
	}
}
