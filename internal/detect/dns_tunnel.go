// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/publicsuffix"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

const (
	// The bounds of the tables: some 2 MB.
	maxDomains = 4096
	maxAnswers = 8192
	maxLengths = 8192
	// Names below a domain are random if so many letters follow digits or digits
	// letters, in names that are that long: encoded data has many such places, and
	// ip-10-0-0-1 or web01 has not.
	randomTurns  = 3
	randomLength = 10
	// dataShare is which share of the different names has to be long or random.
	dataShare = 0.5
)

// tunnels finds names that carry data: many different ones below one domain, long or
// random.
type tunnels struct {
	cfg     *DNSTunnelConfig
	report  *reporter
	domains lru[domain]
	answers lru[uint64] // the domain that an address is the answer for
	// lengths are how long the registered domains of the latest names are, by the
	// names' hashes: to look into the Public Suffix List takes long, and allocates.
	lengths [maxLengths]struct {
		name   uint64
		length uint8
	}
}

// domain is what was asked for below a registered domain.
type domain struct {
	names         many
	first         time.Time
	queries, data uint32 // data: of names that are long or random
	length        uint64 // of all names together
	connected     bool   // to an address that it was resolved to
	known         hush
	examples      [event.MaxExamples]string
	// The program that was last known to ask: not every query has one.
	process *process.Process
	who     who
}

func newTunnels(cfg *DNSTunnelConfig, report *reporter) *tunnels {
	return &tunnels{cfg: cfg, report: report, domains: newLRU[domain](maxDomains), answers: newLRU[uint64](maxAnswers)}
}

func (t *tunnels) evicted() uint64 { return t.domains.evicted + t.answers.evicted }

// ended notes that a name was resolved in order to connect.
func (t *tunnels) ended(e *end) {
	if e.Role == tcp.Server || len(t.answers.index) == 0 {
		return
	}
	if key := t.answers.find(t.answerKey(e.Peer.Addr())); key != nil {
		if d := t.domains.find(*key); d != nil {
			d.connected = true
		}
	}
}

func (t *tunnels) answerKey(a netip.Addr) uint64 { return t.report.hash.pair(pairKey{addr: a}) }

func (t *tunnels) queried(q *query) {
	name := strings.TrimSuffix(q.Name, ".")
	registered := t.registered(name)
	if registered == "" || len(registered) >= len(name) || isReverse(name) {
		return
	}
	below := name[:len(name)-len(registered)-1]
	key := t.report.hash.text(registered)
	d, isNew := t.domains.get(key)
	if isNew || q.At.Sub(d.first) > t.cfg.Window {
		known := d.known
		if isNew {
			known = hush{}
		}
		*d = domain{first: q.At, known: known}
	}
	for _, a := range q.Answers {
		if a.IsValid() && !a.IsUnspecified() {
			of, _ := t.answers.get(t.answerKey(a))
			*of = key
		}
	}
	if !d.names.add(t.report.hash.text(below)) {
		return // it was asked for before
	}
	d.queries++
	d.length += uint64(len(below))
	if len(below) >= t.cfg.Length || isRandom(below) {
		if d.data < event.MaxExamples {
			d.examples[d.data] = strings.Clone(name) // of long messages
		}
		d.data++
	}
	if q.Process != nil || d.process == nil {
		d.process, d.who = q.Process, q.who
	}
	n := d.names.count()
	threshold := float64(t.cfg.Subdomains)
	if !d.connected {
		threshold /= 2 // nobody wants its addresses
	}
	if n <= threshold || float64(d.data) < dataShare*float64(d.queries) || d.known.quiet(t.report.cfg, q.At, 0) {
		return
	}
	length := float64(d.length) / float64(d.queries)
	f := event.Finding{
		Rule: "dns_tunnel", Category: event.Exfiltration, Process: d.process,
		Subject: d.who.String() + " by " + registered,
		Body: fmt.Sprintf("%s asked for %.0f different names below %s since %s, %.0f bytes long on average: as software that sends data in names",
			describe(d.who, d.process), n, registered, clock(d.first), length),
		Client: netip.AddrPortFrom(q.Local, 0), Server: q.Resolver, Namespace: q.Namespace,
		Evidence: []event.Evidence{
			against("subdomains", n, threshold), number("length", round(length)),
			against("data_share", round(float64(d.data)/float64(d.queries)), dataShare), number("connected", one(d.connected)),
		},
		At: q.At, First: d.first, Last: q.At,
	}
	for _, example := range d.examples {
		if example != "" {
			f.Peers = append(f.Peers, example)
		}
	}
	d.known = t.report.find(&f)
}

// registered is registeredDomain, remembered.
func (t *tunnels) registered(name string) string {
	hash := t.report.hash.text(name)
	at := &t.lengths[hash%maxLengths]
	if at.name == hash && int(at.length) <= len(name) {
		return name[len(name)-int(at.length):]
	}
	domain := registeredDomain(name)
	at.name, at.length = hash, uint8(len(domain)) // a name has 253 bytes at most
	return domain
}

// registeredDomain is the public suffix of a name and one label more; "" if the name
// has no more than one label.
func registeredDomain(name string) string {
	if !strings.Contains(name, ".") {
		return ""
	}
	suffix, _ := publicsuffix.PublicSuffix(name)
	at := len(name) - len(suffix) - 1
	if at <= 0 {
		return ""
	}
	return name[strings.LastIndexByte(name[:at], '.')+1:]
}

// isReverse reports whether a name asks for the name of an address, or a service of
// the local network.
func isReverse(name string) bool {
	return strings.HasSuffix(name, ".arpa") || strings.HasSuffix(name, ".local")
}

// isRandom reports whether a name looks like encoded data.
func isRandom(name string) bool {
	if len(name) < randomLength {
		return false
	}
	turns := 0
	for i := 1; i < len(name); i++ {
		if isDigit(name[i]) && isLetter(name[i-1]) || isLetter(name[i]) && isDigit(name[i-1]) {
			turns++
		}
	}
	return turns >= randomTurns
}

func isDigit(c byte) bool  { return c >= '0' && c <= '9' }
func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
