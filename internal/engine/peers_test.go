// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/netpulse/tcpstatsreceiver/internal/capture"
	"github.com/netpulse/tcpstatsreceiver/internal/dns"
	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/peer"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/table"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// met remembers what each connection was said to have at its other end.
type met map[uint64]*event.Peer

func (m met) Progress(p *event.Progress) {
	if p.First {
		m[p.ID.Cookie] = p.PeerInfo
	}
}
func (m met) Opened(*event.Opened) {}
func (m met) Ended(*event.Ended)   {}

// host is an engine of which the tables are filled by hand.
type host struct {
	*Engine
	met
	spaces []*space
	owners map[uint64]*process.Process // by cookie
}

func newHost(t *testing.T, namespaces int, cfg PeersConfig) *host {
	t.Helper()
	h := &host{Engine: New(Config{Peers: cfg, Attribution: true, Logger: zap.NewNop()}), met: make(met), owners: make(map[uint64]*process.Process)}
	h.Listen(h.met)
	for range namespaces {
		h.spaces = append(h.spaces, h.newSpace(time.Time{}))
	}
	return h
}

// dump makes a complete dump in each namespace, then reports.
func (h *host) dump(now time.Time, sockets ...[]tcp.Socket) {
	for i, sp := range h.spaces {
		sp.dumps++
		sp.table.Begin(now)
		for _, s := range sockets[i] {
			sp.table.Observe(&s)
		}
		sp.table.End(table.Complete)
		for c := range sp.table.All() {
			c.Owner.Process = h.owners[c.ID.Cookie]
		}
		sp.table.SettleListeners()
	}
	for _, sp := range h.spaces {
		sp.table.Report()
	}
}

func link(cookie uint64, local, peer string) tcp.Socket {
	return tcp.Socket{
		ID: tcp.Identity{Cookie: cookie}, State: tcp.Established, Inode: 1000 + cookie,
		Local: netip.MustParseAddrPort(local), Peer: netip.MustParseAddrPort(peer),
	}
}

func listens(cookie uint64, local string) tcp.Socket {
	s := link(cookie, local, "0.0.0.0:0")
	s.State = tcp.Listen
	return s
}

func TestServicesOfPeers(t *testing.T) {
	services, warnings := peer.NewServices([]peer.Service{
		{Prefix: netip.MustParsePrefix("10.20.0.0/16"), Port: 5432, Name: "orders-db"},
		{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Name: "internal"},
	})
	require.Empty(t, warnings)
	h := newHost(t, 1, PeersConfig{Services: services})
	h.dump(at(0), []tcp.Socket{
		link(1, "10.0.0.1:40000", "10.20.3.4:5432"), link(2, "10.0.0.1:40001", "10.20.3.4:80"), link(3, "10.0.0.1:40002", "192.0.2.1:5432"),
	})
	assert.Equal(t, &event.Peer{Service: "orders-db"}, h.met[1])
	assert.Equal(t, &event.Peer{Service: "internal"}, h.met[2])
	assert.Contains(t, h.met, uint64(3))
	assert.Nil(t, h.met[3], "nothing is known of it")
}

func TestProcessesAtTheOtherEnd(t *testing.T) {
	h := newHost(t, 2, PeersConfig{Processes: true})
	browser, proxy, app := &process.Process{PID: 1, Executable: "browser"}, &process.Process{PID: 2, Executable: "proxy"}, &process.Process{PID: 3, Executable: "app"}
	h.owners = map[uint64]*process.Process{1: browser, 2: proxy, 3: proxy, 4: proxy, 5: app, 10: proxy}
	own := []tcp.Socket{
		listens(10, "127.0.0.1:80"),
		link(1, "127.0.0.1:40000", "127.0.0.1:80"), link(2, "127.0.0.1:80", "127.0.0.1:40000"), // within the namespace
		link(3, "10.0.0.1:40001", "10.0.0.2:8080"), // to the other one
		link(4, "10.0.0.1:40002", "192.0.2.1:443"), // to another host
		link(6, "127.0.0.1:40003", "127.0.0.1:80"), // its other end is not accepted yet
		link(7, "127.0.0.1:80", "127.0.0.1:40003"),
	}
	other := []tcp.Socket{listens(11, "10.0.0.2:8080"), link(5, "10.0.0.2:8080", "10.0.0.1:40001")}
	h.dump(at(0), own, other)
	assert.Same(t, proxy, h.met[1].Process)
	assert.Same(t, browser, h.met[2].Process)
	assert.Same(t, app, h.met[3].Process)
	assert.Same(t, proxy, h.met[5].Process)
	assert.Same(t, proxy, h.met[6].Process, "who listens will accept it")
	assert.Contains(t, h.met, uint64(4))
	assert.Nil(t, h.met[4])

	// A connection that no dump had: its notice comes before the other end's.
	short, back := link(20, "127.0.0.1:40004", "127.0.0.1:80"), link(21, "127.0.0.1:80", "127.0.0.1:40004")
	for i, s := range []tcp.Socket{short, back} {
		s.Role, s.Fields, s.State = []tcp.Role{tcp.Client, tcp.Server}[i], tcp.Fields(0).With(tcp.FieldBytesSent), tcp.Closed
		n := tcp.Notice{Socket: s, Left: tcp.FinWait2, Cause: tcp.LocalClose}
		require.True(t, h.spaces[0].table.Notice(&n, true))
	}
	require.Contains(t, h.met, uint64(20))
	require.NotNil(t, h.met[20])
	assert.Same(t, proxy, h.met[20].Process)
}

// A new connection waits for one scrape for the process at its other end.
func TestTheOtherEndIsAwaited(t *testing.T) {
	h := newHost(t, 1, PeersConfig{Processes: true})
	h.resolver = new(process.Resolver)
	client, server := &process.Process{PID: 1, Executable: "client"}, &process.Process{PID: 2, Executable: "server"}
	end, far := link(1, "127.0.0.1:40000", "127.0.0.1:80"), link(2, "127.0.0.1:80", "127.0.0.1:40000")
	lonely := link(3, "127.0.0.1:40001", "192.0.2.1:80")
	end.Inode, far.Inode = 0, 0 // neither has an owner that can be looked for
	h.owners[2] = server
	h.dump(at(0), nil)
	h.dump(at(10), []tcp.Socket{end, far, lonely})
	assert.Contains(t, h.met, uint64(1))
	assert.NotContains(t, h.met, uint64(2), "the client's process is not known yet")
	assert.Contains(t, h.met, uint64(3), "nobody of this host is at its other end")
	h.owners[1] = client
	h.dump(at(20), []tcp.Socket{end, far, lonely})
	require.Contains(t, h.met, uint64(2))
	require.NotNil(t, h.met[2])
	assert.Same(t, client, h.met[2].Process)

	// It waits no longer than that.
	second, back := link(4, "127.0.0.1:40002", "127.0.0.1:80"), link(5, "127.0.0.1:80", "127.0.0.1:40002")
	second.Inode, back.Inode = 0, 0
	h.dump(at(30), []tcp.Socket{second, back})
	assert.NotContains(t, h.met, uint64(5))
	h.dump(at(40), []tcp.Socket{second, back})
	assert.Contains(t, h.met, uint64(5))
	assert.Nil(t, h.met[5])
}

// Nothing but the configuration makes connections cost more than they do without
// peers.
func TestPeersThatNobodyWants(t *testing.T) {
	h := newHost(t, 1, PeersConfig{})
	h.dump(at(0), []tcp.Socket{link(1, "127.0.0.1:40000", "127.0.0.1:80"), link(2, "127.0.0.1:80", "127.0.0.1:40000")})
	assert.Len(t, h.met, 2)
	assert.Nil(t, h.peers.mirrors)
	assert.Nil(t, h.met[1])
}

func TestNamesAreFixedAtTheOpening(t *testing.T) {
	h := newHost(t, 1, PeersConfig{Names: true})
	names := h.peers.finder.Names
	server := netip.MustParseAddr("192.0.2.1")
	base := time.Now().Add(-time.Minute)
	at := func(seconds int) time.Time { return base.Add(time.Duration(seconds) * time.Second) }
	asked := func(name string, now time.Time) {
		names.Add([]byte(name), []dns.Address{{Addr: server, TTL: time.Minute}}, ownKey, now)
	}
	first, second, third, accepted := link(1, "10.0.0.1:40000", "192.0.2.1:443"), link(2, "10.0.0.1:40001", "192.0.2.1:443"),
		link(3, "10.0.0.1:40002", "192.0.2.1:443"), link(4, "10.0.0.1:22", "192.0.2.1:50000")
	sshd := listens(9, "0.0.0.0:22")

	asked("early.example", at(-5))
	h.dump(at(0), []tcp.Socket{first, sshd})
	assert.Nil(t, h.met[1], "it may be older than the name")

	asked("one.example", at(5))
	h.dump(at(10), []tcp.Socket{first, second, sshd, accepted})
	require.NotNil(t, h.met[2])
	assert.Equal(t, "one.example", h.met[2].Name)
	assert.Nil(t, h.met[4], "its name was not asked for")

	asked("two.example", at(15))
	h.dump(at(20), []tcp.Socket{second, third, sshd})
	assert.Equal(t, "two.example", h.met[3].Name, "the one that was asked for last")
	live := func(cookie uint64) string { return h.spaces[0].table.Find(tcp.Identity{Cookie: cookie}).PeerInfo.Name }
	assert.Equal(t, "one.example", live(2))

	// Names outlive their time for as long as a connection uses the address.
	later := at(20).Add(24 * time.Hour)
	names.Expire(later)
	assert.Equal(t, 1, names.Counts().Addresses)
	h.dump(at(30), []tcp.Socket{third, sshd})
	names.Expire(later)
	assert.Equal(t, 1, names.Counts().Addresses)
	assert.Equal(t, "two.example", live(3))
	h.dump(at(40), []tcp.Socket{sshd})
	names.Expire(later)
	assert.Zero(t, names.Counts().Addresses)
}

// A connection that waits for a process keeps the name of when it was first seen.
func TestNamesOfWaitingConnections(t *testing.T) {
	h := newHost(t, 1, PeersConfig{Names: true, Processes: true})
	h.resolver = new(process.Resolver)
	base := time.Now().Add(-time.Minute)
	at := func(seconds int) time.Time { return base.Add(time.Duration(seconds) * time.Second) }
	asked := func(name string, now time.Time) {
		h.peers.finder.Names.Add([]byte(name), []dns.Address{{Addr: netip.MustParseAddr("10.0.0.2"), TTL: time.Minute}}, ownKey, now)
	}
	end, far := link(1, "10.0.0.1:40000", "10.0.0.2:80"), link(2, "10.0.0.2:80", "10.0.0.1:40000")
	end.Inode, far.Inode = 0, 0
	h.dump(at(0), nil)
	asked("one.example", at(5))
	h.dump(at(10), []tcp.Socket{end, far})
	require.NotContains(t, h.met, uint64(1))
	asked("two.example", at(15))
	h.dump(at(20), []tcp.Socket{end, far})
	require.NotNil(t, h.met[1])
	assert.Equal(t, "one.example", h.met[1].Name)
}

// What cannot be captured or translated is logged once, with what to grant, and costs
// nothing else.
func TestPeersWithoutPermission(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	opened := 0
	h := newHost(t, 2, PeersConfig{Names: true, Choice: capture.Choice{Name: capture.Auto}, Engines: []capture.Factory{{
		Name: "fake", Open: func(context.Context, capture.Options) (capture.Engine, error) {
			opened++
			return nil, errors.New("operation not permitted (grant CAP_NET_RAW)")
		},
	}}})
	h.log = zap.New(core)
	h.own = h.spaces[0]
	for _, sp := range h.spaces {
		h.openPeers(t.Context(), sp)
	}
	assert.Equal(t, 2, opened, "each namespace has its own capture")
	require.Equal(t, 1, logs.Len())
	assert.Equal(t, "peers::dns: the names of peers are not known until packets can be captured", logs.All()[0].Message)
	assert.Contains(t, logs.All()[0].ContextMap()["error"], "fake: operation not permitted (grant CAP_NET_RAW)")
	h.followPeers(time.Now())
	h.dump(at(0), []tcp.Socket{link(1, "10.0.0.1:40000", "192.0.2.1:443")}, nil)
	assert.Contains(t, h.met, uint64(1))
	for _, sp := range h.spaces {
		require.NoError(t, h.closePeers(sp))
		assert.Nil(t, sp.capture)
	}
}
