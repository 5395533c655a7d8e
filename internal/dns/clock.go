// SPDX-License-Identifier: Apache-2.0

package dns

import "time"

// clock makes milliseconds of 32 bits of times: since an epoch that moves on with
// them. Times before the epoch are 0.
type clock struct {
	epoch int64 // ms since 1970
	set   bool
}

const (
	// ticksBefore is how long the epoch is before the first time: other clocks may be
	// a little behind.
	ticksBefore = uint32(time.Hour / time.Millisecond)
	// ticksWound is what a time is after the clock was wound: all that was within
	// maxLife stays apart. It is wound at maxTicks, which leaves room for the end of a
	// life.
	ticksWound = uint32(2 * maxLife / time.Millisecond)
	maxTicks   = 1<<32 - 1 - uint32(maxLife/time.Millisecond)
)

// at returns a time. back is by how much all the times before have to be set back, 0
// if not at all.
func (c *clock) at(t time.Time) (ticks, back uint32) {
	ms := t.UnixMilli()
	if !c.set {
		c.set, c.epoch = true, ms-int64(ticksBefore)
	}
	since := max(ms-c.epoch, 0)
	if since <= int64(maxTicks) {
		return uint32(since), 0
	}
	move := since - int64(ticksWound)
	c.epoch += move
	return ticksWound, uint32(min(move, 1<<32-1))
}
