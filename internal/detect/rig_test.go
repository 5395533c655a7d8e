// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// rig is detectors and what they found.
type rig struct {
	*Detectors
	found []event.Finding
}

var (
	epoch   = time.Date(2026, 3, 1, 9, 10, 0, 0, time.UTC)
	here    = netip.MustParseAddr("192.0.2.10")
	home    = netip.MustParseAddrPort("198.51.100.7:443")
	implant = &process.Process{PID: 4711, Executable: "implant"}
)

// newRig enables detectors, and lets change the configuration.
func newRig(t testing.TB, change func(*Config), enabled ...string) *rig {
	t.Helper()
	cfg := Default()
	cfg.Enabled = enabled
	if change != nil {
		change(&cfg)
	}
	r := &rig{}
	d, err := New(cfg, func(f *event.Finding) { r.found = append(r.found, *f) })
	require.NoError(t, err)
	r.Detectors = d
	return r
}

// rules are the rules that were found, those of ends with a minus sign.
func (r *rig) rules() (all []string) {
	for _, f := range r.found {
		if f.Ended {
			all = append(all, "-"+f.Rule)
		} else {
			all = append(all, f.Rule)
		}
	}
	return all
}

// link is a connection that has ended.
type link struct {
	at       time.Time // of its start
	lasts    time.Duration
	process  *process.Process
	local    netip.AddrPort
	peer     netip.AddrPort
	role     tcp.Role
	sent     uint64
	received uint64
	failure  tcp.Failure
	name     string // of the peer
}

func (l link) connection() *event.Connection {
	if !l.local.IsValid() {
		l.local = netip.AddrPortFrom(here, 40000)
	}
	if l.role == tcp.NoRole {
		l.role = tcp.Client
	}
	var info *event.Peer
	if l.name != "" {
		info = &event.Peer{Name: l.name}
	}
	return &event.Connection{
		PeerInfo: info,
		Local:    l.local, Peer: l.peer, Role: l.role, Process: l.process, IsNew: true, Traits: &event.Traits{},
		State: tcp.Established, BytesSent: l.sent, BytesReceived: l.received,
		Fields: tcp.Fields(0).With(tcp.FieldBytesSent).With(tcp.FieldBytesReceived),
	}
}

// end plays a whole connection.
func (r *rig) end(l link) {
	c := l.connection()
	at := l.at.Add(l.lasts)
	r.Reach(at)
	r.Progress(&event.Progress{Connection: c, Delta: event.Delta{BytesSent: l.sent, BytesReceived: l.received}, Was: event.NoState, Is: tcp.Established, First: true})
	e := &event.Ended{Connection: c, Established: l.failure == tcp.NoFailure, Failure: l.failure, At: at, Start: l.at}
	if !e.Established {
		e.Start = time.Time{}
	}
	r.Ended(e)
	r.Progress(&event.Progress{Connection: c, Was: tcp.Established, Is: event.NoState, Gone: true})
}

// scrape plays a scrape of some connections.
func (r *rig) scrape(at time.Time, space Space, all ...*event.Connection) {
	r.Scraped(&Scrape{At: at, Complete: true, Connections: slices.Values(all), Spaces: []Space{space}})
}

// number is one number of a finding's evidence.
func evidence(t *testing.T, f event.Finding, name string) event.Evidence {
	t.Helper()
	for _, e := range f.Evidence {
		if e.Name == name {
			return e
		}
	}
	t.Fatalf("%s has no evidence %s: %v", f.Rule, name, f.Evidence)
	return event.Evidence{}
}

// host is one of many addresses of the documentation's networks, or beyond.
func host(n int) netip.Addr { return netip.AddrFrom4([4]byte{203, 0, byte(n >> 8), byte(n)}) }
