package receiver

import (
	"fmt"
	"iter"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/netns"
	"github.com/netpulse/tcpstatsreceiver/internal/otlp"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/table"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// space is what is remembered of one network namespace.
type space struct {
	table  *table.Table
	states otlp.States // of the last dump
	whole  bool        // the last dump came to its end
	// counted: the kernel was not asked to leave sockets out of it.
	counted bool

	counters tcp.Counters // of this scrape, if they were due
	byState  *otlp.States // likewise, from a source that counts the sockets itself
	// base is how many connections the kernel had opened when the first dump had
	// been made.
	base  uint64
	based bool

	watch  *closeWatch                 // nil if the source is not told of closes, or nobody asks
	closes []tcp.Socket                // reused: the notices that were counted last
	owners map[uint16]*process.Process // who listens on each port, and so accepts there

	// What follows is nil and zero for the collector's own namespace, which the
	// selector's source reads.
	namespace *netns.Namespace
	source    source.Source // nil until it opens
	place     otlp.Place
	sandboxed bool // the place's container is the sandbox of a pod
	emptied   bool // it has no processes any more
}

// newSpace returns what there is to remember of a namespace in which, at the time
// since, there was nothing yet; zero if nobody knows.
func (s *scraper) newSpace(since time.Time) *space {
	sp := &space{owners: make(map[uint16]*process.Process)}
	sp.table = table.New(table.Options{
		Boot: s.boot, Since: since, Detailed: s.detailed,
		Closed: func(c *table.Connection, holder *tcp.Holder) { s.closed(sp, c, holder) },
	})
	return sp
}

// String names the namespace for the log.
func (sp *space) String() string {
	switch {
	case sp.namespace == nil:
		return "the collector's network namespace"
	case sp.place.Name != "":
		return fmt.Sprintf("network namespace %d (%s)", sp.place.Namespace, sp.place.Name)
	}
	return fmt.Sprintf("network namespace %d", sp.place.Namespace)
}

// known returns the number of sockets in each state, nil if not all were visited
// nor counted otherwise.
func (sp *space) known() *otlp.States {
	switch {
	case sp.byState != nil:
		return sp.byState
	case !sp.whole || !sp.counted:
		return nil
	}
	return &sp.states
}

// spaces iterates over the collector's own namespace, then the others.
func (s *scraper) spaces() iter.Seq[*space] {
	return func(yield func(*space) bool) {
		if !yield(s.own) {
			return
		}
		for _, sp := range s.others.spaces {
			if !yield(sp) {
				return
			}
		}
	}
}

// connections iterates over all that the last dumps had.
func (s *scraper) connections() iter.Seq[*table.Connection] {
	return func(yield func(*table.Connection) bool) {
		for sp := range s.spaces() {
			for c := range sp.table.All() {
				if !yield(c) {
					return
				}
			}
		}
	}
}
