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
	last    time.Time
	unnamed uint8 // scrapes that have not found its program
}

// patience is how many scrapes a listener without a program is not reported: the
// program may be found by the next.
const patience = 2

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
	last, isNew := l.seen.get(l.report.hash.pair(pairKey{who: l.report.hash.who(w), addr: c.Local.Addr(), port: port}))
	if isNew {
		*last = listening{last: s.At}
	}
	known := !isNew && s.At.Sub(last.last) <= l.cfg.Memory && last.unnamed == 0
	learning := s.At.Sub(l.first) < l.cfg.Learn
	if !known && !learning && c.Process == nil && last.unnamed < patience {
		last.last = s.At
		last.unnamed++
		return
	}
	*last = listening{last: s.At}
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
