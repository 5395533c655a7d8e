// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/netpulse/tcpstatsreceiver/internal/capture"
	"github.com/netpulse/tcpstatsreceiver/internal/dns"
	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/knock"
	"github.com/netpulse/tcpstatsreceiver/internal/peer"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/table"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// PeersConfig says what is looked for when a connection opens, to know who its
// other end is. The zero value looks for nothing.
type PeersConfig struct {
	// Processes looks for the process that has the other end on this host, in any
	// namespace that is read.
	Processes bool
	// Services has names by address and port, Places countries and autonomous systems;
	// nil: none. The engine closes the latter.
	Services *peer.Services
	Places   *peer.Places
	// Translations asks connection tracking for addresses behind translated ones.
	Translations bool
	// Names watches DNS answers, by the chosen one of Engines.
	Names   bool
	Choice  capture.Choice
	Engines []capture.Factory
	// Observers hear of the DNS lookups of all namespaces that are read. They are not
	// called under the engine's lock, but may be while it is held.
	Observers []dns.Observer
	// Knocks hear of attempts to connect that nothing on this host answers, under the
	// same conditions. None: the packets that show those are not captured.
	Knocks []knock.Observer
	// Askers finds the processes that send DNS queries, for [Scrape.Asker].
	Askers bool
	// Blind says what else is not known without packets, for the log.
	Blind string
}

// peers is what the engine needs to find the other ends of connections.
type peers struct {
	finder  peer.Finder    // all but the translations, which belong to a namespace
	mirrors *table.Mirrors // nil if processes are not looked for
	holding *holding       // nil if names are not looked for
	wanted  bool           // anything is looked for

	// unnamed, untranslated: that a namespace lacks them was logged.
	unnamed, untranslated bool
}

func newPeers(cfg *PeersConfig) peers {
	p := peers{finder: peer.Finder{Services: cfg.Services, Places: cfg.Places}}
	if cfg.Processes {
		p.mirrors = table.NewMirrors()
	}
	if cfg.Names {
		p.finder.Names = dns.NewNames(dns.DefaultNames)
		p.holding = &holding{names: p.finder.Names}
	}
	p.wanted = cfg.Processes || cfg.Names || cfg.Translations || cfg.Services != nil || cfg.Places != nil
	return p
}

// prepare has the table of a namespace ask for the peers of its connections.
func (p *peers) prepare(e *Engine, sp *space, opts *table.Options) {
	if !p.wanted {
		return
	}
	opts.Mirrors = p.mirrors
	opts.Identify = func(c *table.Connection, n *tcp.Notice) { e.identify(sp, c, n) }
	if p.holding != nil {
		opts.Events = append(append(listeners{}, e.listeners...), p.holding)
	}
}

// openPeers opens what is needed of a namespace to find peers. What it lacks is
// logged for the first namespace alone.
func (e *Engine) openPeers(ctx context.Context, sp *space) {
	if e.cfg.Peers.Names {
		if err := e.captureNames(ctx, sp); err != nil && !e.peers.unnamed {
			e.peers.unnamed = true
			e.log.Warn("peers::dns: the names of peers are not known until packets can be captured", e.without(sp, err)...)
		}
	}
	if e.cfg.Peers.Translations {
		if err := sp.in(func() (err error) {
			sp.translations, err = peer.OpenTranslations()
			return err
		}); err != nil && !e.peers.untranslated {
			e.peers.untranslated = true
			e.log.Warn("peers::nat: the addresses behind translated ones are not known", zap.String("in", sp.String()), zap.Error(err))
		}
	}
}

// without are the fields of a warning that packets cannot be captured.
func (e *Engine) without(sp *space, err error) []zap.Field {
	fields := []zap.Field{zap.String("in", sp.String()), zap.Error(err)}
	if e.cfg.Peers.Blind != "" {
		fields = append(fields, zap.String("not_found", e.cfg.Peers.Blind))
	}
	return fields
}

// closePeers closes what openPeers has opened.
func (e *Engine) closePeers(sp *space) error {
	e.endCapture(sp)
	if sp.translations == nil {
		return nil
	}
	err := sp.translations.Close()
	sp.translations = nil
	return err
}

// in calls a function in the namespace and returns its error.
func (sp *space) in(f func() error) error {
	if sp.namespace == nil {
		return f()
	}
	return sp.namespace.Do(f)
}

// identify finds the peer of a connection that is about to be reported for the
// first time. n is the notice of its end; nil if it lives.
func (e *Engine) identify(sp *space, c *table.Connection, n *tcp.Notice) {
	finder := e.peers.finder
	finder.Translations = sp.translations
	found := finder.Lookup(&peer.Connection{
		Local: c.Local, Peer: c.Peer, Opened: opening(sp, c, n, time.Now()), Key: sp.key(), Accepted: c.Role == tcp.Server,
	})
	who := event.Peer{
		Name: found.Name, Service: found.Service, Process: e.otherProcess(sp, c), Translated: found.Translated,
		Country: found.Country, ASN: found.ASN, ASOrg: found.ASOrg,
	}
	if who.Process == nil && who.Translated.IsValid() {
		who.Process = processOf(e.peers.mirrors.Find(sp.table, c.Local, who.Translated))
	}
	if who != (event.Peer{}) {
		kept := who // so that nothing is allocated for those that nothing is known of
		c.PeerInfo = &kept
	}
	if e.peers.holding != nil && c.Role != tcp.Server {
		e.peers.holding.hold(c)
	}
}

// opening returns when a connection opened, or a time soon after it where that is
// not known. It is long ago for those that were there before anything was captured.
func opening(sp *space, c *table.Connection, n *tcp.Notice, now time.Time) time.Time {
	switch {
	case n != nil && !n.Established.IsZero():
		return n.Established
	case n != nil && !n.Ended.IsZero() && n.Has(tcp.FieldAge):
		return n.Ended.Add(-n.Age)
	case n == nil && c.Details != nil && c.Has(tcp.FieldAge):
		return now.Add(-c.Sample.Age)
	case !c.IsNew && sp.dumps <= 1:
		return time.Unix(0, 0)
	case c.IsNew:
		if seen, ok := sp.table.FirstSeen(c); ok && seen.Before(now) {
			return seen
		}
	}
	return now
}

// key tells the connections and queries of a namespace from those of others.
func (sp *space) key() uint64 {
	if sp.place.Namespace == 0 {
		return ownKey
	}
	return sp.place.Namespace
}

// ownKey is the key of the collector's own namespace: no namespace has this inode.
const ownKey = 1

// otherProcess returns the process that has the other end of a connection on this
// host, nil if there is none.
func (e *Engine) otherProcess(sp *space, c *table.Connection) *process.Process {
	if e.peers.mirrors == nil {
		return nil
	}
	other, in := e.peers.mirrors.Find(sp.table, c.Local, c.Peer)
	if other != nil {
		return processOf(other, in)
	}
	// No dump had the other end, as of a connection that is over by now. Within one
	// namespace the listener was there.
	if c.Role == tcp.Client && (c.Peer.Addr().IsLoopback() || c.Peer.Addr() == c.Local.Addr()) {
		return sp.table.OwnerAt(c.Peer)
	}
	return nil
}

// processOf returns the process of a connection that may not have been reported
// yet: the one that holds it, or else the one that listens where it was accepted.
func processOf(c *table.Connection, in *table.Table) *process.Process {
	switch {
	case c == nil:
		return nil
	case c.Owner.Process != nil:
		return c.Owner.Process
	case c.Process != nil:
		return c.Process
	case c.Role == tcp.Client:
		return nil
	}
	return in.OwnerAt(c.Local)
}

// awaitsOther reports whether the process at the other end of a new connection may
// be known by the next scrape.
func (e *Engine) awaitsOther(sp *space, c *table.Connection) bool {
	if e.peers.mirrors == nil || e.resolver == nil || !e.cfg.Attribution || !c.IsNew {
		return false
	}
	other, in := e.peers.mirrors.Find(sp.table, c.Local, c.Peer)
	return other != nil && processOf(other, in) == nil && mayHaveOwner(other)
}

// holding keeps the names of addresses for as long as connections use these.
type holding struct {
	names *dns.Names
	held  []bool // by slot
}

func (h *holding) hold(c *table.Connection) {
	for int(c.Slot) >= len(h.held) {
		h.held = append(h.held, false)
	}
	h.held[c.Slot] = h.names.Hold(c.Peer.Addr())
}

// Progress implements event.Listener.
func (h *holding) Progress(p *event.Progress) {
	if p.Gone && int(p.Slot) < len(h.held) && h.held[p.Slot] {
		h.held[p.Slot] = false
		h.names.Release(p.Peer.Addr())
	}
}

// Opened implements event.Listener.
func (*holding) Opened(*event.Opened) {}

// Ended implements event.Listener.
func (*holding) Ended(*event.Ended) {}
