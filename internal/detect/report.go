// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"fmt"
	"hash/fnv"
	"net/netip"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
)

// maxRemembered bounds the findings that are remembered, to keep quiet about them.
const maxRemembered = 4096

// reporter hands findings on, each once in Config.Suppress.
type reporter struct {
	cfg        *Config
	ignored    patterns
	sink       func(*event.Finding)
	hash       hasher
	crew       crew
	reported   lru[reported]
	suppressed uint64
	// isHome reports whether an address is of the same house: private ones are, unless
	// somebody knows better.
	isHome func(netip.Addr) bool
}

func isPrivate(a netip.Addr) bool { return a.IsPrivate() || a.IsLinkLocalUnicast() }

// reported is a finding that was handed on.
type reported struct {
	at time.Time
	// on is set while a state is found and not over; told if that was handed on.
	on, told bool
}

// remind is after what time something that has never ceased is reported again.
const remind = 24 * time.Hour

// find reports something that happened, and returns since when it is known.
func (r *reporter) find(f *event.Finding) hush {
	entry := r.remember(f)
	if r.tell(entry, f) {
		r.sink(f)
	}
	return hush{known: entry.at, last: f.At}
}

// hush keeps quiet about something that is known: until Config.Suppress after it was
// last seen, so that what goes on is one finding, and remind at most.
type hush struct{ known, last time.Time }

// quiet reports whether nothing need be reported of what is seen now. idle is how long
// it may be not seen and still go on.
func (h *hush) quiet(cfg *Config, at time.Time, idle time.Duration) bool {
	if h.known.IsZero() || at.Sub(h.known) >= max(remind, cfg.Suppress) || at.Sub(h.last) >= max(idle, cfg.Suppress) {
		return false
	}
	if at.After(h.last) {
		h.last = at
	}
	return true
}

// raise reports that a state began; over that it is over.
func (r *reporter) raise(f *event.Finding) {
	entry := r.remember(f)
	if entry.on && f.At.Sub(entry.at) < r.cfg.Suppress {
		return // whoever raises it has forgotten that it did
	}
	entry.on = true
	if entry.told = r.tell(entry, f); entry.told {
		r.sink(f)
	}
}

// over reports that a state is over, if its beginning was handed on.
func (r *reporter) over(f *event.Finding) {
	entry := r.remember(f)
	told := entry.told
	entry.on, entry.told = false, false
	if told {
		f.Ended = true
		r.sink(f)
	}
}

func (r *reporter) remember(f *event.Finding) *reported {
	f.ID = findingID(f.Rule, f.Subject)
	entry, isNew := r.reported.get(r.hash.text(f.ID))
	if isNew {
		*entry = reported{}
	}
	return entry
}

// who is the hash of who has a connection.
func (r *reporter) who(c *event.Connection) uint64 { return r.crew.hash(r.hash, whoOf(c), c.Process) }

// tell decides whether a finding is handed on.
func (r *reporter) tell(entry *reported, f *event.Finding) bool {
	if f.Process != nil && r.ignored.match(f.Process.Executable) {
		r.suppressed++
		return false
	}
	if !entry.at.IsZero() && f.At.Sub(entry.at) < r.cfg.Suppress {
		r.suppressed++
		return false
	}
	entry.at = f.At
	return true
}

// findingID is a stable name of what was found about whom.
func findingID(rule, subject string) string {
	h := fnv.New64a()
	h.Write([]byte(rule))
	h.Write([]byte{0})
	h.Write([]byte(subject))
	return fmt.Sprintf("%016x", h.Sum64())
}

// examples are up to event.MaxExamples endpoints, each once, without allocating.
type examples struct {
	n   uint8
	all [event.MaxExamples]netip.AddrPort
}

func (e *examples) add(a netip.AddrPort) {
	for i := range e.n {
		if e.all[i] == a {
			return
		}
	}
	if int(e.n) < len(e.all) {
		e.all[e.n] = a
		e.n++
	}
}

func (e *examples) strings() []string {
	texts := make([]string, e.n)
	for i := range texts {
		texts[i] = endpoint(e.all[i])
	}
	return texts
}

// endpoint is an address with its port, if it has one.
func endpoint(a netip.AddrPort) string {
	if a.Port() == 0 {
		return a.Addr().String()
	}
	return a.String()
}

func number(name string, value float64) event.Evidence {
	return event.Evidence{Name: name, Value: value}
}

func against(name string, value, threshold float64) event.Evidence {
	return event.Evidence{Name: name, Value: value, Threshold: threshold, HasThreshold: true}
}
