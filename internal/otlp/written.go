// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"net/netip"
	"slices"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/table"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// ending is what is remembered of the series of a connection, to end them. There is
// one for each connection that is written, so it has nothing that the connection's
// identity or another field gives. What is looked at in every scrape comes first, in a
// cache line of its own.
type ending struct {
	id         tcp.Identity
	process    *process.Process
	peerInfo   *event.Peer
	start      int64      // nanoseconds since 1970
	fields     tcp.Fields // of which there was a point
	turn       uint32     // of [written], when it was last written or rested; 0: there is nothing
	changed    uint32     // of the connection, as it was written; 0: it is to be written again
	period     uint32     // of [written], when it was written
	state      tcp.State
	stateOnly  bool // only the series with the state end
	fieldsOnly bool // only those of the fields end: others have another connection now

	local, peer netip.AddrPort
}

// maxOver is how many series that have not been ended yet are remembered beside those
// of slots, while no scrape is complete or the pipeline does not take them: 2 MB.
const maxOver = 16384

func (e *ending) holder() holder { return holder{e.process, e.id.Namespace} }

// written are the series of connections that were written.
//
// They are kept by the connection's slot. Every connection is looked up here in every
// scrape, and most have not changed: then a number is all that is written.
type written struct {
	pieces [][]ending // by slot; nil where none of the piece is there
	turn   uint32     // the number of the scrape under way, less one
	peers  attributes // that series have

	// every is in how many periods a connection with which nothing happens is written
	// once; 0 or 1: it does not rest. period is the one under way. Periods are counted by
	// the clock: one that was missed counts.
	every  uint64
	period uint32

	again  []again  // not taken by the pipeline yet, and nothing changed but the numbers
	batch  []change // not taken by the pipeline yet
	over   []ending // those that end though their connection, or their slot, is written
	before int      // how many of them were there before the batch
	fresh  []uint32 // slots that have another connection, or other series, since this scrape
}

// change is what becomes of a slot once the pipeline has taken the batch.
type change struct {
	slot uint32
	to   ending
}

// again is that the series of a slot have been written once more.
type again struct{ slot, changed uint32 }

// endingsAtOnce is how many slots a piece has: few, because a limit on the number of
// connections leaves most slots empty.
const endingsAtOnce = 32

// at returns what is remembered at a slot, nil if nothing is.
func (w *written) at(slot uint32) *ending {
	if piece := int(slot / endingsAtOnce); piece < len(w.pieces) && w.pieces[piece] != nil {
		return &w.pieces[piece][slot%endingsAtOnce]
	}
	return nil
}

// set remembers an ending at a slot.
func (w *written) set(slot uint32, e ending) {
	piece := int(slot / endingsAtOnce)
	for piece >= len(w.pieces) {
		w.pieces = append(w.pieces, nil)
	}
	if w.pieces[piece] == nil {
		w.pieces[piece] = make([]ending, endingsAtOnce)
	}
	w.pieces[piece][slot%endingsAtOnce] = e
}

// add notes that a connection is in a batch.
func (w *written) add(c *table.Connection) {
	now := ending{
		id: c.ID, process: c.Owner.Process, local: c.Local, peer: c.Peer, peerInfo: c.PeerInfo, start: c.Start.UnixNano(),
		fields: c.Fields, state: c.State, turn: w.turn + 1, changed: c.Changed(), period: w.period,
	}
	before := w.at(c.Slot)
	switch {
	case before == nil || before.turn == 0:
	case before.id != now.id || !w.continues(before, &now):
		w.over = append(w.over, *before)
	case now.fields == 0 && before.fields != 0:
		// What is left of it in TIME_WAIT has its identity, and no numbers.
		w.over = append(w.over, surplus(*before, &now)...)
	default:
		now.fields |= before.fields
		if before.state != now.state {
			only := *before
			only.stateOnly = true
			w.over = append(w.over, only)
		} else if before.fields == now.fields && before.start == now.start {
			// Nothing but the turn changes, and if the pipeline refuses the batch, what
			// was written before it stands: that is the same.
			before.turn = now.turn
			if w.mayRest() {
				w.again = append(w.again, again{c.Slot, now.changed})
			}
			return
		}
	}
	w.batch = append(w.batch, change{c.Slot, now})
}

// mayRest reports whether connections with which nothing happens are not written each
// time.
func (w *written) mayRest() bool { return w.every > 1 }

// rests reports whether all that there is to say of a connection has been written, and
// its turn to be written all the same has not come. Its series then live on.
//
// It looks at no more of the connection than it must: one with the same [Changed] as
// before is the same connection, with the same numbers.
func (w *written) rests(c *table.Connection) bool {
	if !w.mayRest() {
		return false
	}
	before := w.at(c.Slot)
	if before == nil || before.turn == 0 || before.changed != c.Changed() || before.state != c.State || before.process != c.Owner.Process ||
		before.peerInfo != c.PeerInfo && w.peers.of(before.peerInfo) != w.peers.of(c.PeerInfo) || w.isDue(c.Slot, before.period) {
		return false
	}
	before.turn = w.turn + 1
	return true
}

// isDue reports whether the series of a slot that were last written in a period are due
// though nothing has happened. Slots take turns: those that were all written at once, as
// all are in the first scrape, are not all due at once for ever.
func (w *written) isDue(slot, last uint32) bool {
	offset := uint64(slot) % w.every
	return (uint64(w.period)+offset)/w.every != (uint64(last)+offset)/w.every
}

// continues reports whether a connection has the series that it had.
func (w *written) continues(before, now *ending) bool {
	return before.process == now.process && before.local == now.local && before.peer == now.peer &&
		(before.peerInfo == now.peerInfo || w.peers.of(before.peerInfo) == w.peers.of(now.peerInfo))
}

// commit notes that the pipeline took the batch.
func (w *written) commit() {
	for i := range w.batch {
		w.set(w.batch[i].slot, w.batch[i].to)
		w.fresh = append(w.fresh, w.batch[i].slot)
	}
	for _, a := range w.again {
		e := w.at(a.slot)
		if e.changed == 0 {
			w.fresh = append(w.fresh, a.slot) // its end may not have been taken yet
		}
		e.changed, e.period = a.changed, w.period
	}
	w.endBatch()
}

// rollback notes that the pipeline refused the batch: what was written before it
// stands, and what made the connections of the batch be written still does.
func (w *written) rollback() {
	for i := range w.batch {
		if before := w.at(w.batch[i].slot); before != nil && before.turn != 0 && before.id == w.batch[i].to.id {
			before.turn = w.turn + 1
		}
	}
	w.over = w.over[:w.before]
	w.endBatch()
}

func (w *written) endBatch() {
	clear(w.batch)
	w.again, w.batch, w.before = w.again[:0], w.batch[:0], len(w.over)
}

// end ends a scrape, and returns the series that were written before it and not in
// it.
func (w *written) end() (gone []ending) {
	w.turn++
	gone = w.over
	for i, piece := range w.pieces {
		empty := true
		for j := range piece {
			switch e := &piece[j]; e.turn {
			case 0:
			case w.turn:
				empty = false
			default:
				gone = append(gone, *e)
				*e = ending{}
			}
		}
		if empty {
			w.pieces[i] = nil
		}
	}
	gone = w.withoutMoved(gone)
	w.over, w.before, w.fresh = nil, 0, w.fresh[:0]
	return gone
}

// tuple is what tells the series of one connection from those of another.
type tuple struct {
	namespace   uint64
	local, peer netip.AddrPort
}

func (e *ending) tuple() tuple { return tuple{e.id.Namespace, e.local, e.peer} }

// withoutMoved returns the endings without those whose series another connection has
// now, or the same one: it was forgotten and seen anew, by another source perhaps, or
// the endpoints are in use again.
func (w *written) withoutMoved(gone []ending) []ending {
	if len(gone) == 0 || len(w.fresh) == 0 {
		return gone
	}
	fresh := make(map[tuple]*ending, len(w.fresh))
	for _, slot := range w.fresh {
		if e := w.at(slot); e != nil && e.turn == w.turn {
			fresh[e.tuple()] = e
		}
	}
	kept := gone[:0]
	var more []ending
	for _, e := range gone {
		if now := fresh[e.tuple()]; now != nil && w.continues(&e, now) {
			more = append(more, surplus(e, now)...)
			continue
		} else if now != nil {
			// Where nothing that is written distinguishes two processes, the end is that of
			// a living series, which the next scrape goes on with.
			now.changed = 0
		}
		kept = append(kept, e)
	}
	return append(kept, more...)
}

// surplus are the endings of the series that a connection does not have which has the
// others now.
func surplus(e ending, now *ending) (all []ending) {
	if rest := e.fields &^ now.fields; rest != 0 && !e.stateOnly {
		fields := e
		fields.fields, fields.fieldsOnly = rest, true
		all = append(all, fields)
	}
	if e.state != now.state && !e.fieldsOnly {
		e.stateOnly = true
		all = append(all, e)
	}
	return all
}

// keep ends a scrape that does not show what is gone.
func (w *written) keep() {
	w.turn++
	w.remember(nil)
	slices.Sort(w.fresh)
	w.fresh = slices.Compact(w.fresh)
}

// remember has series end with those of the next scrape. Of too many, the oldest are
// forgotten: they end when their backend has not heard of them for a while.
func (w *written) remember(endings []ending) {
	w.over = append(w.over, endings...)
	w.over = slices.Delete(w.over, 0, max(0, len(w.over)-maxOver))
	w.before = len(w.over)
}

// startOf is when the counters of the series were 0.
func (e *ending) startOf() time.Time { return time.Unix(0, e.start) }
