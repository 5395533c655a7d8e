// SPDX-License-Identifier: Apache-2.0

package page

import (
	"cmp"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/engine"
	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/table"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// row is a connection or a listener as it was at a scrape.
type row struct {
	event.Connection
	details event.Details
	process *process.Process // nil: not known, and reason says why
	reason  process.Reason
	out, in float64 // bytes per second since the scrape before
}

// snapshot is a copy of one scrape. It never changes.
type snapshot struct {
	time      time.Time
	complete  bool
	rows      []row // connections
	listeners []row
	left      int // connections beyond maxRows
	point     *point
	status    status

	encoded sync.Map // of format → func() []byte, each made once
}

// status is what the banner says.
type status struct {
	Host     string `json:"host"`
	Version  string `json:"version"`
	Source   string `json:"source"`
	Complete bool   `json:"complete"`
	// Lacks are the capabilities that the source does not have.
	Lacks []string `json:"lacks"`
	// TookMilliseconds is how long the scrape took.
	TookMilliseconds float64 `json:"took_ms"`
	// Unattributed are connections without a process that have one: what is left of
	// a connection in TIME_WAIT has none. NoPermission are those among them whose
	// process may not be read.
	Unattributed int `json:"unattributed"`
	NoPermission int `json:"no_permission"`
	// Lost are notices of closes that were lost.
	Lost uint64 `json:"lost"`
	// Left are connections beyond the page's limit.
	Left     int     `json:"left"`
	Interval float64 `json:"interval"` // seconds
	History  float64 `json:"history"`  // seconds
}

// take copies what a scrape saw. The engine's lock is held.
func take(s *engine.Scrape, elapsed float64) *snapshot {
	n := &snapshot{time: s.Now, complete: s.Complete}
	for c := range s.Connections() {
		if c.Details == nil {
			continue
		}
		if c.State != tcp.Listen && len(n.rows) == maxRows {
			n.left++
			continue
		}
		r := row{Connection: c.Connection, details: *c.Details, process: processOf(c), reason: c.Reason}
		r.Details = nil
		if c.State == tcp.Listen {
			if len(n.listeners) < maxRows {
				n.listeners = append(n.listeners, r)
			}
			continue
		}
		r.out = float64(r.details.Delta.BytesSent) / elapsed
		r.in = float64(r.details.Delta.BytesReceived) / elapsed
		n.rows = append(n.rows, r)
	}
	slices.SortFunc(n.listeners, func(a, b row) int {
		return cmp.Or(cmp.Compare(nameOf(a.process), nameOf(b.process)), a.Local.Compare(b.Local), cmp.Compare(a.ID.Cookie, b.ID.Cookie))
	})
	return n
}

// processOf is the process that a socket is shown with: who has the connection
// for good, else who holds the socket now.
func processOf(c *table.Connection) *process.Process {
	return cmp.Or(c.Process, c.Owner.Process)
}

func nameOf(p *process.Process) string {
	if p == nil {
		return ""
	}
	return p.Executable
}

// banner fills in the status.
func (n *snapshot) banner(p *Page, s *engine.Scrape) {
	n.status = status{
		Host: p.hostname, Version: p.cfg.Version, Source: s.Source, Complete: s.Complete, Lacks: []string{},
		TookMilliseconds: float64(s.Now.Sub(s.Began).Microseconds()) / 1e3,
		Lost:             s.Lost, Left: n.left,
		Interval: p.cfg.Interval.Seconds(), History: p.cfg.History.Seconds(),
	}
	for _, one := range []source.Capabilities{source.RTT, source.Bytes, source.Closes, source.Processes} {
		if s.Capabilities.Missing(one) != 0 {
			n.status.Lacks = append(n.status.Lacks, one.String())
		}
	}
	for i := range n.rows {
		r := &n.rows[i]
		if r.process != nil || r.reason == process.ReasonNoOwner || r.State == tcp.TimeWait {
			continue
		}
		n.status.Unattributed++
		if r.reason == process.ReasonNoPermission {
			n.status.NoPermission++
		}
	}
}

// encode returns the snapshot in a format. It is made once, whoever asks for it.
func (n *snapshot) encode(format string, how func(*snapshot) []byte) []byte {
	once, ok := n.encoded.Load(format)
	if !ok {
		once, _ = n.encoded.LoadOrStore(format, sync.OnceValue(func() []byte { return how(n) }))
	}
	return once.(func() []byte)()
}

// idOf names a connection: the kernel's number of the socket and, outside of the
// collector's own network namespace, that of the namespace.
func idOf(id tcp.Identity) string {
	if id.Namespace == 0 {
		return strconv.FormatUint(id.Cookie, 16)
	}
	return strconv.FormatUint(id.Cookie, 16) + "@" + strconv.FormatUint(id.Namespace, 10)
}
