// SPDX-License-Identifier: Apache-2.0

package knock

import (
	"net/netip"
	"sync"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/capture/packet"
	"github.com/netpulse/tcpstatsreceiver/internal/lru"
)

const (
	// Patience is how long a SYN may be without an answer until it is an attempt that
	// nothing answered. The kernel answers those to open ports at once.
	Patience = 3 * time.Second
	// maxPending is how many SYNs are waited for at once: some 0.5 MB.
	maxPending = 4096
)

// Attempt is a SYN of another host to this one that had no answer.
type Attempt struct {
	// At is when the SYN came.
	At          time.Time
	Local, Peer netip.AddrPort
	// Namespace is as in [Options].
	Namespace uint64
}

// Observer is called for each attempt, by whoever reads the packets and while packets
// wait: it must not block, take the engine's lock or call the watcher. The attempt is
// reused.
type Observer func(*Attempt)

// Options are what a [Watcher] is made of.
type Options struct {
	// Namespace is the network namespace of the packets: its inode, 0 for the
	// collector's own.
	Namespace uint64
	// IsLocal reports whether an address belongs to this host: what it forwards is
	// captured as well.
	IsLocal func(addr netip.Addr, now time.Time) bool
	// Observers are called for each attempt.
	Observers []Observer
}

// Counts are counters of a [Watcher] since its start.
type Counts struct {
	// Attempts is how many SYNs had no answer, Answered how many had one.
	Attempts, Answered uint64
	// Overflowed is how many SYNs were given up before their time, because too many
	// were waiting.
	Overflowed uint64
}

// Watcher processes the packets of one capture. All methods may be called by any
// goroutine.
type Watcher struct {
	options Options

	mu      sync.Mutex
	segment packet.Segment // reused, as the next
	attempt Attempt
	index   map[ends]int32
	all     []syn
	order   lru.Order // of all, by when they came
	counts  Counts
}

// ends are those of a connection.
type ends struct{ local, peer netip.AddrPort }

// syn is the first segment of a connection, while it has no answer.
type syn struct {
	ends
	at time.Time
}

// NewWatcher returns a watcher that has seen nothing.
func NewWatcher(options Options) *Watcher {
	return &Watcher{options: options, index: make(map[ends]int32), order: lru.NewOrder()}
}

// Packet processes a packet. It keeps no reference to it.
func (w *Watcher) Packet(p *packet.Packet) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.expire(p.Time)
	s := &w.segment
	if packet.Decode(p, s) != nil || s.Protocol != packet.TCP || s.Flags&(packet.FlagSYN|packet.FlagRST) != packet.FlagSYN {
		return
	}
	if s.Flags&packet.FlagACK != 0 {
		if p.Direction != packet.Inbound {
			w.answered(ends{s.Source, s.Destination})
		}
		return
	}
	to, from := s.Destination.Addr(), s.Source.Addr()
	// What goes out belongs to this host's own connections: scan.outbound sees those.
	if p.Direction == packet.Outbound || from == to || from.IsLoopback() || !w.options.IsLocal(to, p.Time) || w.options.IsLocal(from, p.Time) {
		return
	}
	w.came(ends{s.Destination, s.Source}, p.Time)
}

func (w *Watcher) came(e ends, at time.Time) {
	if _, ok := w.index[e]; ok {
		return // sent again, or seen on another interface
	}
	if len(w.index) >= maxPending {
		w.counts.Overflowed++
		w.forget(w.order.Oldest())
	}
	i := w.order.Add()
	if int(i) == len(w.all) {
		w.all = append(w.all, syn{})
	}
	w.all[i] = syn{e, at}
	w.index[e] = i
}

func (w *Watcher) answered(e ends) {
	if i, ok := w.index[e]; ok {
		w.counts.Answered++
		w.forget(i)
	}
}

func (w *Watcher) forget(i int32) {
	delete(w.index, w.all[i].ends)
	w.order.Drop(i)
}

// Expire reports the SYNs that had no answer in time. Packet does so as well, so this
// is only needed while no packets arrive.
func (w *Watcher) Expire(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.expire(now)
}

func (w *Watcher) expire(now time.Time) {
	for i := w.order.Oldest(); i != lru.None && now.Sub(w.all[i].at) >= Patience; i = w.order.Oldest() {
		w.counts.Attempts++
		s := &w.all[i]
		w.attempt = Attempt{At: s.at, Local: s.local, Peer: s.peer, Namespace: w.options.Namespace}
		w.forget(i)
		for _, o := range w.options.Observers {
			o(&w.attempt)
		}
	}
}

// Counts returns the counters.
func (w *Watcher) Counts() Counts {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.counts
}
