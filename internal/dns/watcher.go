// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"errors"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/netpulse/tcpstatsreceiver/internal/capture/packet"
)

// Port is where resolvers listen (RFC 1035 §4.2).
const Port = 53

// DefaultTimeout is how long an answer is waited for: the default of
// resolv.conf(5).
const DefaultTimeout = 5 * time.Second

// Options are what a [Watcher] is made of.
type Options struct {
	// Names stores the names of addresses. nil: names are not collected.
	Names *Names
	// Key identifies the process or namespace that asks, for [Names.Lookup]. nil: it is
	// not known.
	Key func(client netip.AddrPort) uint64
	// Local has the addresses of this host. It is used for packets without a direction,
	// since forwarded queries are captured as well. nil: all addresses count as local.
	Local *Local
	// Timeout is how long an answer is waited for. 0 stands for DefaultTimeout.
	Timeout time.Duration
	// Namespace is the network namespace of the packets, for [Lookup]: its inode, 0 for
	// the collector's own.
	Namespace uint64
	// Observers are called for each query that was answered or timed out.
	Observers []Observer
}

// Observer is called for each query of this host that was answered or timed out. It is
// called by whoever reads the packets, by several goroutines if several namespaces are
// read, and while packets wait: it must not block, take the engine's lock or call the
// watcher. The lookup is reused: an observer copies what it keeps.
type Observer func(*Lookup)

// Lookup is a query that this host sent, and its outcome.
type Lookup struct {
	// Client is who asked, Server the resolver that was asked. Namespace is as in
	// [Options].
	Client, Server netip.AddrPort
	Namespace      uint64
	// Protocol is packet.UDP or packet.TCP.
	Protocol uint8
	// Type is what was asked for, see TypeName.
	Type uint16
	// Name is the name that was asked for, as in [Message]; valid during the call.
	Name []byte
	// Time is when it was answered or given up, Duration how long that took.
	Time     time.Time
	Duration time.Duration
	// TimedOut: there was no answer in time. RCode and Truncated are of the answer.
	TimedOut  bool
	RCode     uint16
	Truncated bool
	// Addresses are those of the answer, as in [Message]; valid during the call.
	Addresses []Address
}

// Counts are counters of a [Watcher] since its start.
type Counts struct {
	// Queries and Answers are those of this host, each once. TimedOut is how many of
	// the queries had no answer in time.
	Queries, Answers, TimedOut uint64
	// Repeated is how many queries and answers were seen again: sent again, or on
	// another interface.
	Repeated uint64
	// Foreign is how many queries and answers over UDP belong to other hosts: this host
	// forwards them, or is their resolver.
	Foreign uint64
	// Unasked is how many answers matched no query of this host: late ones, and forged
	// ones.
	Unasked uint64
	// Malformed is how many packets or messages could not be decoded, Fragments how many
	// packets were fragments: only the first of a datagram has ports and is decoded.
	Malformed, Fragments uint64
	// Gaps is how many TCP streams were given up since bytes were missing.
	Gaps uint64
	// Overflowed is how many queries and TCP streams were dropped because there were
	// too many.
	Overflowed uint64
}

// Watcher processes the packets of one capture. All methods may be called by any
// goroutine.
type Watcher struct {
	options Options

	mu      sync.Mutex
	segment packet.Segment // reused, as the next three
	message Message
	lookup  Lookup
	visit   func(message []byte) bool
	current *packet.Packet // whose segment it is
	pending *pending
	streams *streams
	counts  Counts
}

// NewWatcher returns a watcher that has seen nothing.
func NewWatcher(options Options) *Watcher {
	if options.Timeout <= 0 {
		options.Timeout = DefaultTimeout
	}
	w := &Watcher{options: options, pending: newPending(), streams: newStreams()}
	w.visit = func(b []byte) bool { return w.one(b) }
	return w
}

// Packet processes a packet. It keeps no reference to it.
func (w *Watcher) Packet(p *packet.Packet) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.expire(p.Time)
	s := &w.segment
	switch err := packet.Decode(p, s); {
	case errors.Is(err, packet.ErrFragment):
		w.counts.Fragments++
		return
	case errors.Is(err, packet.ErrMalformed):
		w.counts.Malformed++
		return
	case err != nil:
		return
	}
	if s.Source.Port() != Port && s.Destination.Port() != Port {
		return
	}
	if s.Fragment {
		w.counts.Fragments++
	}
	w.current = p
	switch {
	case s.Protocol == packet.UDP:
		w.one(s.Payload)
	case w.follows():
		w.streams.segment(s, w.visit)
	}
	w.current = nil
}

// follows reports whether a TCP segment belongs to a stream of interest: one with
// queries of this host, or the one in the other direction. Other hosts cannot make
// the watcher keep streams.
func (w *Watcher) follows() bool {
	s := &w.segment
	if s.Destination.Port() == Port && w.own(packet.Outbound, s.Source.Addr()) {
		return true
	}
	return w.streams.has(ends{s.Source, s.Destination}) || w.streams.has(ends{s.Destination, s.Source})
}

// one processes a message. It reports whether the bytes are a DNS message.
func (w *Watcher) one(b []byte) bool {
	m, s := &w.message, &w.segment
	rest, err := m.question(b)
	if err != nil {
		w.counts.Malformed++
		return false
	}
	switch {
	case !m.Response && s.Destination.Port() == Port:
		w.query()
	case m.Response && s.Source.Port() == Port:
		w.answer(rest)
	default:
		w.counts.Malformed++
		return false
	}
	return true
}

// own reports whether a packet belongs to an exchange of this host: it has the given
// direction or, if directions are not known, the given address is local.
func (w *Watcher) own(direction packet.Direction, local netip.Addr) bool {
	if w.current.Direction == packet.UnknownDirection {
		return w.options.Local == nil || w.options.Local.Has(local, w.current.Time)
	}
	return w.current.Direction == direction
}

func (w *Watcher) query() {
	m, s, now := &w.message, &w.segment, w.current.Time
	if !w.own(packet.Outbound, s.Source.Addr()) {
		w.counts.Foreign++
		return
	}
	x := exchange{client: s.Source, server: s.Destination, id: m.ID, protocol: s.Protocol}
	if q := w.pending.find(x); q != nil {
		if !q.answered && q.is(m.Name, m.Type) {
			w.counts.Repeated++
			return
		}
		// The ID is reused for another query.
		if !q.answered {
			w.timedOut(q, now)
		}
		w.pending.remove(q)
	}
	if len(w.pending.index) >= maxPending {
		if first := w.pending.first(); !first.answered {
			w.counts.Overflowed++
		}
		w.pending.remove(w.pending.first())
	}
	var key uint64
	if w.options.Key != nil {
		key = w.options.Key(s.Source)
	}
	w.pending.add(x, m.Name, m.Type, key, now)
	w.counts.Queries++
}

func (w *Watcher) answer(rest dnsmessage.Parser) {
	m, s, now := &w.message, &w.segment, w.current.Time
	q := w.pending.find(exchange{client: s.Destination, server: s.Source, id: m.ID, protocol: s.Protocol})
	switch {
	case q == nil && !w.own(packet.Inbound, s.Destination.Addr()):
		w.counts.Foreign++
		return
	case q == nil || !m.Bare && !q.is(m.Name, m.Type):
		w.counts.Unasked++
		return
	case q.answered:
		w.counts.Repeated++
		return
	}
	q.answered = true
	m.answer(rest)
	w.counts.Answers++
	if w.options.Names != nil && m.RCode == 0 && len(m.Addresses) > 0 {
		w.options.Names.Add(m.Name, m.Addresses, q.key, now)
	}
	w.report(q, now, func(l *Lookup) { l.RCode, l.Truncated, l.Addresses = m.RCode, m.Truncated, m.Addresses })
}

// report calls the observers with the outcome of a query.
func (w *Watcher) report(q *query, at time.Time, outcome func(*Lookup)) {
	if len(w.options.Observers) == 0 {
		return
	}
	l := &w.lookup
	*l = Lookup{
		Client: q.client, Server: q.server, Namespace: w.options.Namespace, Protocol: q.protocol, Type: q.typ, Name: q.name,
		Time: at, Duration: max(at.Sub(q.asked), 0),
	}
	outcome(l)
	for _, o := range w.options.Observers {
		o(l)
	}
}

// Expire reports the queries that had no answer in time. Packet does so as well, so
// this is only needed while no packets arrive.
func (w *Watcher) Expire(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.expire(now)
}

func (w *Watcher) expire(now time.Time) {
	for q := w.pending.first(); q != nil && now.Sub(q.asked) >= w.options.Timeout; q = w.pending.first() {
		if !q.answered {
			w.timedOut(q, q.asked.Add(w.options.Timeout))
		}
		w.pending.remove(q)
	}
}

func (w *Watcher) timedOut(q *query, at time.Time) {
	w.counts.TimedOut++
	w.report(q, at, func(l *Lookup) { l.TimedOut = true })
}

// Clients visits the endpoints that the queries of the last few seconds over UDP came
// from. visit must not call the watcher.
func (w *Watcher) Clients(visit func(netip.AddrPort)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pending.each(func(q *query) {
		if q.protocol == packet.UDP {
			visit(q.client)
		}
	})
}

// Counts returns the counters.
func (w *Watcher) Counts() Counts {
	w.mu.Lock()
	defer w.mu.Unlock()
	counts := w.counts
	counts.Gaps = w.streams.gaps
	counts.Overflowed += w.streams.evicted
	return counts
}
