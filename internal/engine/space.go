// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/netns"
	"github.com/netpulse/tcpstatsreceiver/internal/peer"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/table"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// space is what is remembered of one network namespace.
type space struct {
	table  *table.Table
	states tcp.States // of the last dump
	// complete: the last dump came to its end. Some of it may not have been readable,
	// as a record that made no sense.
	complete bool
	// read: a dump was complete once. Until then nothing is missing.
	read bool
	// counted: the kernel was not asked to leave sockets out of the last dump.
	counted bool

	start    time.Time    // when the counters were 0
	counters tcp.Counters // of this scrape, if they were due
	byState  *tcp.States  // likewise, from a source that counts the sockets itself
	// base is how many connections the kernel had opened when the first dump had
	// been made.
	base  uint64
	based bool
	// failedBefore and refusedBefore are how many attempts had been seen to fail
	// then, and how many the kernel had counted.
	failedBefore, refusedBefore uint64

	watch  *closeWatch  // nil if the source has no notices of closes, or nobody asks
	broken brokenWatch  // its watches that broke
	taken  []tcp.Notice // reused: the notices that were counted last
	// unexplained are notices of connections of which only the next dump can say
	// which end this host had.
	unexplained []unexplained
	dumps       uint64    // complete ones
	reconciled  time.Time // when all sockets were last read; zero if they are to be
	way         string    // how its dumps are made, where the source has more ways than one
	ways        []string  // those that were logged
	lost        alarm     // notices were lost
	lostAt      time.Time

	capture      *nameCapture       // nil if names of peers are not looked for
	translations *peer.Translations // nil if they are not looked for, or cannot be had

	// What follows is nil and zero for the collector's own namespace, which the
	// selector's source reads.
	namespace *netns.Namespace
	source    source.Source // nil until it opens
	cookie    uint64        // distinguishes it from others with its inode; 0: not known
	place     netns.Place
	// spanned: it is a network stack that the selector's source reads with the
	// collector's own; stack is what was last known of it, nil if it was not listed yet.
	spanned   bool
	stack     *source.Stack
	sandboxed bool // the place's container is the sandbox of a pod
	emptied   bool // it has no processes any more
}

// newSpace returns what there is to remember of a namespace in which, at the time
// since, there was nothing yet; zero if that is not known.
func (e *Engine) newSpace(since time.Time) *space {
	sp := &space{}
	opts := table.Options{
		Boot: e.cfg.Boot, Since: since, Detailed: e.detailed,
		Slots: &e.slots, Events: e.listeners,
		Settle: func(c *table.Connection, holder *tcp.Holder) table.Verdict { return e.settle(sp, c, holder) },
	}
	e.peers.prepare(e, sp, &opts)
	sp.table = table.New(opts)
	return sp
}

// String names the namespace for the log.
func (sp *space) String() string {
	switch {
	case sp.place.Namespace == 0:
		return "the collector's network namespace"
	case sp.place.Name != "":
		return fmt.Sprintf("network namespace %d (%s)", sp.place.Namespace, sp.place.Name)
	}
	return fmt.Sprintf("network namespace %d", sp.place.Namespace)
}

// sourceName is the name of the source that reads the namespace.
func (sp *space) sourceName(e *Engine) string {
	src := sp.source
	if sp == e.own || sp.spanned {
		src = e.selector.Current()
	}
	if src == nil {
		return ""
	}
	return src.Name()
}

// known returns the number of sockets in each state, nil if not all were visited
// nor counted otherwise.
func (sp *space) known() *tcp.States {
	switch {
	case sp.byState != nil:
		return sp.byState
	case !sp.complete || !sp.counted:
		return nil
	}
	return &sp.states
}

// spaces iterates over the collector's own namespace, then the others.
func (e *Engine) spaces() iter.Seq[*space] {
	return func(yield func(*space) bool) {
		if !yield(e.own) {
			return
		}
		for _, sp := range e.others.spaces {
			if !yield(sp) {
				return
			}
		}
	}
}

// Len returns how many connections and listeners are remembered.
func (e *Engine) Len() (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for sp := range e.spaces() {
		n += sp.table.Len()
	}
	return n
}

// find returns a connection, nil if there is none.
func (e *Engine) find(id tcp.Identity) *table.Connection {
	for sp := range e.spaces() {
		if sp == e.own || sp.place.Namespace == id.Namespace {
			if c := sp.table.Find(id); c != nil {
				return c
			}
		}
	}
	return nil
}

// settle decides whose a connection is, before it is first reported: the process
// that holds it, or that was seen with it at its end, or that listens where it
// was accepted. One that may soon have an owner of its own waits.
func (e *Engine) settle(sp *space, c *table.Connection, holder *tcp.Holder) table.Verdict {
	verdict := table.Report
	if e.resolver != nil && e.cfg.Attribution {
		switch {
		case c.Owner.Process != nil:
			c.Process = c.Owner.Process
		case holder != nil:
			c.Process = e.resolver.Seen(time.Now(), holder)
		default:
			c.Process = sp.table.Acceptor(c)
			if e.cfg.AwaitProcesses && c.IsNew && mayHaveOwner(c) {
				verdict = table.Wait
			}
		}
	}
	if !e.wants(c.Process) {
		if verdict == table.Wait {
			return verdict
		}
		return table.Discard
	}
	if e.awaitsOther(sp, c) {
		return table.Wait
	}
	return verdict
}

// mayHaveOwner reports whether a connection without an owner may have one by the
// next scrape: a walk finds it, it is accepted, or it has ended and its notice has its
// process. A walk that finds nobody may have come while close(2) had given back the
// descriptor and not yet sent the FIN.
func mayHaveOwner(c *table.Connection) bool {
	return c.Reason == process.ReasonPending || (c.Inode == 0 || c.Reason == process.ReasonNoOwner) && c.State != tcp.TimeWait
}

// wanted reports whether a connection or listener of the tables is wanted.
func (e *Engine) wanted(c *table.Connection) bool {
	if e.cfg.Wanted == nil {
		return true
	}
	p := c.Owner.Process
	if p == nil {
		p = c.Process
	}
	return e.wants(p)
}

func (e *Engine) wants(p *process.Process) bool {
	switch {
	case e.cfg.Wanted == nil:
		return true
	case p == nil:
		return e.cfg.Wanted("")
	}
	return e.cfg.Wanted(p.Executable)
}

// others are the network namespaces besides the collector's own.
type others struct {
	followed bool // they are wanted and can be read
	own      uint64
	spaces   []*space // by inode, or id of the jail

	// spans: they are wanted, and only a source can read them. spanning is the source in
	// use if it does; confined says that it does not.
	spans    bool
	spanning source.Spanning
	confined alarm

	// found is when they were last looked for. What is found later was not there
	// then: its processes, which can be looked at now, could be then.
	found  time.Time
	denied alarm // some processes may not be looked at

	// opened are the connections that the kernel counted in namespaces that are
	// gone, seen those that their tables did.
	opened, seen uint64
	// left are namespaces that were given up, and that may come back.
	left map[uint64]leftSpace
}

// place returns where the sockets of a namespace are.
func (o *others) place(namespace uint64) netns.Place {
	i, ok := o.search(namespace)
	if !ok {
		return netns.Place{}
	}
	return o.spaces[i].place
}

func (o *others) search(namespace uint64) (int, bool) {
	return slices.BinarySearchFunc(o.spaces, namespace, func(sp *space, id uint64) int {
		switch {
		case sp.place.Namespace < id:
			return -1
		case sp.place.Namespace > id:
			return 1
		}
		return 0
	})
}
