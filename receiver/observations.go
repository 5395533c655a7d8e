// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"net/netip"
	"sync"

	"github.com/netpulse/tcpstatsreceiver/internal/detect"
	"github.com/netpulse/tcpstatsreceiver/internal/dns"
	"github.com/netpulse/tcpstatsreceiver/internal/knock"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
)

// maxObservations is how many DNS lookups, and how many attempts, wait for the next
// scrape at most: some 4 MB of names and addresses.
const maxObservations = 16384

// observations are what packets have shown since the last scrape. The goroutines that
// read packets fill it, and neither wait for the engine nor for detectors; a scrape
// empties it.
type observations struct {
	mu       sync.Mutex
	lookups  []lookup
	attempts []detect.Attempt
	lost     uint64
}

// lookup is a query, and the endpoint that it came from.
type lookup struct {
	detect.Query
	from netip.AddrPort
}

// looked is a dns.Observer.
func (o *observations) looked(l *dns.Lookup) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.lookups) >= maxObservations {
		o.lost++
		return
	}
	one := lookup{from: l.Client, Query: detect.Query{
		At: l.Time, Local: l.Client.Addr(), Resolver: l.Server, Name: string(l.Name), Answered: !l.TimedOut, Namespace: l.Namespace,
	}}
	for _, a := range l.Addresses {
		one.Answers = append(one.Answers, a.Addr)
	}
	o.lookups = append(o.lookups, one)
}

// knocked is a knock.Observer.
func (o *observations) knocked(a *knock.Attempt) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.attempts) >= maxObservations {
		o.lost++
		return
	}
	o.attempts = append(o.attempts, detect.Attempt{At: a.At, Local: a.Local, Peer: a.Peer, Namespace: a.Namespace})
}

// hand hands everything that waits to the detectors, and returns how much was lost.
// asker returns the process that a query came from; nil if it is not known.
func (o *observations) hand(to *detect.Detectors, asker func(namespace uint64, from netip.AddrPort) *process.Process) (lost uint64) {
	o.mu.Lock()
	lookups, attempts := o.lookups, o.attempts
	lost = o.lost
	o.lookups, o.attempts, o.lost = nil, nil, 0
	o.mu.Unlock()
	for i := range lookups {
		q := &lookups[i].Query
		q.Process = asker(q.Namespace, lookups[i].from)
		to.Queried(q)
	}
	for i := range attempts {
		to.Attempted(&attempts[i])
	}
	return lost
}
