// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"maps"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"github.com/netpulse/tcpstatsreceiver/internal/dns"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/source/procfs"
)

// askers are the processes that send DNS queries over UDP, of those whose socket is
// there when a scrape looks for it: queries that have no answer yet, and programs that
// keep one socket for all their queries. A query that is answered within milliseconds
// has no process.
type askers struct {
	byClient map[client]*asker
	failed   bool // the sockets cannot be listed, and that was logged
}

// client is the endpoint that a query came from, in a network namespace.
type client struct {
	namespace uint64
	netip.AddrPort
}

// asker is the socket that a client was, and who holds it.
type asker struct {
	inode  uint64
	owner  process.Owner
	reason process.Reason
	seen   time.Time
}

// maxAskers bounds the table. What is beyond has no process.
const maxAskers = 1024

// findAskers looks for the sockets that the latest queries came from.
func (e *Engine) findAskers(now time.Time) {
	a := &e.askers
	if !e.cfg.Peers.Askers || e.resolver == nil {
		return
	}
	if a.byClient == nil {
		a.byClient = make(map[client]*asker)
	}
	// A query is handed over at the scrape after its time was up.
	keep := 2*e.cfg.Interval + 2*dns.DefaultTimeout
	maps.DeleteFunc(a.byClient, func(_ client, one *asker) bool { return now.Sub(one.seen) > keep })
	for sp := range e.spaces() {
		if sp.capture == nil {
			continue
		}
		byPort := make(map[uint16][]netip.AddrPort)
		sp.capture.watcher.Clients(func(c netip.AddrPort) { byPort[c.Port()] = append(byPort[c.Port()], c) })
		if len(byPort) == 0 {
			continue
		}
		err := sp.in(func() error {
			return procfs.UDPSockets(procfs.DefaultDir, func(local netip.AddrPort, inode uint64) {
				for _, c := range byPort[local.Port()] {
					if local.Addr().IsUnspecified() || local.Addr() == c.Addr().WithZone("") {
						a.found(client{sp.place.Namespace, c}, inode, now)
					}
				}
			})
		})
		if err != nil && !a.failed {
			a.failed = true
			e.log.Info("the processes that send DNS queries are not known", zap.Stringer("in", sp), zap.Error(err))
		}
	}
}

func (a *askers) found(key client, inode uint64, now time.Time) {
	one := a.byClient[key]
	switch {
	case one != nil && one.inode == inode:
		one.seen = now
	case one != nil || len(a.byClient) < maxAskers:
		a.byClient[key] = &asker{inode: inode, seen: now}
	}
}

// claims adds the sockets whose process is looked for.
func (a *askers) claims(claims []process.Claim, stale map[*process.Process]bool) []process.Claim {
	for _, one := range a.byClient {
		if one.owner.Process != nil && stale[one.owner.Process] {
			one.owner = process.Owner{}
		}
		if one.owner.Process == nil {
			claims = append(claims, process.Claim{Inode: one.inode, Owner: &one.owner, Reason: &one.reason})
		}
	}
	return claims
}

// Asker returns the process that a DNS query came from, in a namespace as in
// tcp.Identity; nil if it is not known.
func (s *Scrape) Asker(namespace uint64, from netip.AddrPort) *process.Process {
	if one := s.engine.askers.byClient[client{namespace, from}]; one != nil {
		return one.owner.Process
	}
	return nil
}
