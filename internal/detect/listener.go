// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// maxListeners bounds the table: some 0.3 MB.
const maxListeners = 4096

// newListeners finds listening sockets that were not there before, and by whom.
type newListeners struct {
	cfg    *ListenerConfig
	report *reporter
	first  time.Time
	seen   lru[listening]
}

// listening is a listener that is or was there.
type listening struct {
	last time.Time
	// awaits is since when it is new and its program not known; zero if it is not
	// awaited any more.
	awaits time.Time
}

// patience is how long a socket without a program is not reported: the next walk over
// the processes may find it. Walks come every process::refresh_interval.
const patience = 30 * time.Second

func newNewListeners(cfg *ListenerConfig, report *reporter) *newListeners {
	return &newListeners{cfg: cfg, report: report, seen: newLRU[listening](maxListeners)}
}

func (l *newListeners) evicted() uint64 { return l.seen.evicted }

func (l *newListeners) scraped(s *Scrape) {
	if s.Connections == nil {
		return
	}
	if l.first.IsZero() {
		l.first = s.At
	}
	for c := range s.Connections {
		if c.State == tcp.Listen {
			l.see(s, c)
		}
	}
}

func (l *newListeners) see(s *Scrape, c *event.Connection) {
	w := whoOf(c)
	w.addr = netip.Addr{}
	port := c.Local.Port()
	// FTP servers, debuggers and remote procedures listen on ephemeral ports, another
	// one every time: they are one listener, and that of a new program is a new one.
	if s.isEphemeral(c.ID.Namespace, port) && w.executable != "" {
		port = 0
	}
	nobody := who{addr: c.Local.Addr(), namespace: c.ID.Namespace}
	unnamed := l.report.hash.pair(pairKey{who: l.report.hash.who(nobody), addr: c.Local.Addr(), port: c.Local.Port()})
	key := unnamed
	if w.executable != "" {
		key = l.report.hash.pair(pairKey{who: l.report.hash.who(w), addr: c.Local.Addr(), port: port})
	}
	last, isNew := l.seen.get(key)
	if isNew {
		*last = listening{}
	}
	known := !last.last.IsZero() && s.At.Sub(last.last) <= l.cfg.Memory && last.awaits.IsZero()
	learning := s.At.Sub(l.first) < l.cfg.Learn
	if !known && !learning && w.executable == "" {
		if last.awaits.IsZero() {
			last.awaits = s.At
		}
		if s.At.Sub(last.awaits) < patience {
			last.last = s.At
			return
		}
	}
	*last = listening{last: s.At}
	if !known && key != unnamed {
		// It may have been reported, or learned, without a name.
		if before := l.seen.find(unnamed); before != nil && before.awaits.IsZero() && s.At.Sub(before.last) <= l.cfg.Memory {
			known = true
		}
	}
	if known || learning {
		return
	}
	name := "a program that is not known"
	if c.Process != nil {
		name = describe(whoOf(c), c.Process)
	}
	subject := fmt.Sprintf("%s on %s", whoOf(c), c.Local)
	if port == 0 {
		subject = fmt.Sprintf("%s on %s, ephemeral ports", whoOf(c), c.Local.Addr())
	}
	f := event.Finding{
		Rule: "listener", Category: event.Persistence, Process: c.Process, Subject: subject,
		Body:   fmt.Sprintf("%s listens on %s, where nothing of it has listened since %s", name, c.Local, s.At.Add(-min(l.cfg.Memory, s.At.Sub(l.first))).UTC().Format(time.RFC3339)),
		Server: c.Local, Namespace: c.ID.Namespace,
		Evidence: []event.Evidence{against("learned", round(s.At.Sub(l.first).Seconds()), l.cfg.Learn.Seconds())},
		At:       s.At, First: s.At, Last: s.At,
	}
	l.report.find(&f)
}

// isEphemeral reports whether the kernel gives a port to whoever asks for none.
func (s *Scrape) isEphemeral(namespace uint64, port uint16) bool {
	sp := s.space(namespace)
	return sp != nil && sp.LastPort != 0 && port >= sp.FirstPort && port <= sp.LastPort
}
