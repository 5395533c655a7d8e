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

// DefaultTimeout is how long an answer is waited for: what resolv.conf(5) has
// unless told otherwise.
const DefaultTimeout = 5 * time.Second

// Options are what a [Watcher] is made of.
type Options struct {
	// Names takes the names of addresses. nil: they are not wanted.
	Names *Names
	// Key says who asks, for [Names.Lookup]. nil: nobody knows.
	Key func(client netip.AddrPort) uint64
	// Local reports whether an address is of this host. It is asked where the
	// direction of packets is not known: queries of others pass, too. nil: all are.
	Local func(netip.Addr) bool
	// Timeout is how long an answer is waited for. 0 stands for DefaultTimeout.
	Timeout time.Duration
	// OnLookup is called for each query that was answered or timed out, nil if nobody
	// wants to know. It must not call the watcher.
	OnLookup func(*Lookup)
}

// Lookup is a query that this host asked, and what came of it.
type Lookup struct {
	// Server is the resolver that was asked.
	Server netip.AddrPort
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
}

// Counts are counters of a [Watcher] since its start.
type Counts struct {
	// Queries and Answers are those of this host, each once. TimedOut is how many of
	// the queries had no answer in time.
	Queries, Answers, TimedOut uint64
	// Repeated is how many queries and answers were seen again: sent again, or on
	// another interface.
	Repeated uint64
	// Foreign is how many queries and answers were of others: this host forwards
	// them, or is the resolver.
	Foreign uint64
	// Unasked is how many answers came that this host had not asked for, or not like
	// that: late ones, and forged ones.
	Unasked uint64
	// Malformed is how many packets or messages could not be read, Fragments how many
	// went on in fragments that have no ports and are not looked at.
	Malformed, Fragments uint64
	// Gaps is how many TCP streams were given up since bytes were missing.
	Gaps uint64
	// Overflowed is how many queries and TCP streams were given up because there were
	// too many.
	Overflowed uint64
}

// Watcher takes the packets of one capture. All methods may be called by any
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

// Packet takes a packet, of which it keeps nothing.
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
	if s.Protocol == packet.TCP {
		w.streams.segment(s, w.visit)
	} else {
		w.one(s.Payload)
	}
	w.current = nil
}

// one takes a message. It reports whether it is one.
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

// own reports whether the packet is of this host, given its direction if it were
// and the address that would be local.
func (w *Watcher) own(direction packet.Direction, local netip.Addr) bool {
	if w.current.Direction == packet.UnknownDirection {
		return w.options.Local == nil || w.options.Local(local)
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
		// The number serves for another query.
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
	if w.options.OnLookup != nil {
		w.lookup = Lookup{
			Server: q.server, Protocol: q.protocol, Type: q.typ, Name: q.name, Time: now, Duration: max(now.Sub(q.asked), 0),
			RCode: m.RCode, Truncated: m.Truncated,
		}
		w.options.OnLookup(&w.lookup)
	}
}

// Expire gives up the queries that had no answer in time. Packets do so as well:
// it is for when there are none.
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
	if w.options.OnLookup == nil {
		return
	}
	w.lookup = Lookup{Server: q.server, Protocol: q.protocol, Type: q.typ, Name: q.name, Time: at, Duration: max(at.Sub(q.asked), 0), TimedOut: true}
	w.options.OnLookup(&w.lookup)
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
