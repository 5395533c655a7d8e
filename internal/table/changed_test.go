// SPDX-License-Identifier: Apache-2.0

package table

import (
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// Whatever a dump shows to be different counts, and only that; how much time has passed
// does not.
func TestChanged(t *testing.T) {
	passing := []string{"Age", "SinceDataSent", "SinceDataReceived", "SinceACKReceived"}
	s := socket(1)
	for f := range tcp.NumFields {
		s.Fields = s.Fields.With(f)
	}
	w := newWatched(detailed)
	w.scrape(0, s)
	c := w.Find(s.ID)
	last := c.Changed()
	assert.NotZero(t, last)
	next := func() (changed bool) {
		w.scrape(0, s)
		now := c.Changed()
		changed, last = now != last, now
		return changed
	}
	assert.False(t, next())
	fields := reflect.ValueOf(s).Elem()
	for i := range fields.NumField() {
		name := fields.Type().Field(i).Name
		field := fields.Field(i)
		want := true
		switch {
		case name == "ID" || name == "Local" || name == "Peer" || name == "Inode":
			continue // they make another connection
		case name == "State":
			s.State = tcp.CloseWait
		case name == "Fields":
			s.Fields &^= 1 << tcp.FieldUnsent
		case name == "Low32":
			s.Low32 = s.Low32.With(tcp.FieldSegmentsSent)
		case field.Kind() == reflect.Bool:
			field.SetBool(true)
		case field.Kind() == reflect.String:
			field.SetString("cubic")
		case field.Kind() == reflect.Array:
			field.Index(0).SetUint(5)
		case field.CanInt():
			field.SetInt(int64(time.Hour))
			for _, one := range passing {
				want = want && name != one
			}
		default:
			field.SetUint(field.Uint() + 7)
		}
		assert.Equal(t, want, next(), name)
		assert.False(t, next(), "%s, once", name)
	}
}

// A connection that a dump leaves out has not changed. One that is at the slot of
// another, or is there again, has.
func TestChangedIsOfOneConnection(t *testing.T) {
	w := newWatched(detailed)
	w.scrape(0, socket(1), socket(2))
	first := w.Find(socket(1).ID)
	was, slot := first.Changed(), first.Slot
	w.BeginMoved(at(10))
	w.End(Complete)
	assert.Equal(t, was, first.Changed())

	w.notice(11, final(1, 0, 0, 1, client))
	w.scrape(20, socket(2))
	w.scrape(30, socket(2), socket(3))
	third := w.Find(socket(3).ID)
	assert.Equal(t, slot, third.Slot)
	assert.Greater(t, third.Changed(), was)

	was = third.Changed()
	for seconds := 40; w.Find(socket(3).ID) != nil; seconds += 10 {
		w.scrape(seconds, socket(2)) // a notice may still come
	}
	w.scrape(100, socket(2), socket(3))
	assert.Greater(t, w.Find(socket(3).ID).Changed(), was, "it is there again")

	// The tables of two namespaces share their slots, and have dumps at different times.
	other := New(Options{Boot: boot, Detailed: true, Events: &w.recorder, Slots: &w.slots})
	dump(other, at(0), socket(9))
	was, slot = other.Find(socket(9).ID).Changed(), other.Find(socket(9).ID).Slot
	dump(other, at(1))
	other.Reset()
	w.scrape(110, socket(2), socket(3), socket(4))
	assert.Equal(t, slot, w.Find(socket(4).ID).Slot)
	assert.NotEqual(t, was, w.Find(socket(4).ID).Changed())
}

// Without Details, what only they have is not known; it counts from when they are kept.
func TestChangedWithoutDetails(t *testing.T) {
	w := newWatched()
	w.scrape(0, socket(1))
	c := w.Find(socket(1).ID)
	was := c.Changed()
	w.scrape(10, socket(1, sent(5)))
	assert.Equal(t, was, c.Changed())
	w.KeepDetails(true)
	w.scrape(20, socket(1, sent(5)))
	assert.Greater(t, c.Changed(), was)
}

// Those that nobody wants are not brought up to a dump that left them out.
func TestThose(t *testing.T) {
	w := newWatched(detailed)
	w.scrape(0, socket(1), socket(2))
	w.BeginMoved(at(10))
	w.End(Complete)
	for c := range w.Those(func(c *Connection) bool { return c.ID.Cookie == 2 }) {
		assert.Equal(t, uint64(2), c.ID.Cookie)
	}
	assert.Equal(t, at(0), w.Find(socket(1).ID).At)
	assert.Equal(t, at(10), w.Find(socket(2).ID).At)
}
