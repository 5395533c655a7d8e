// SPDX-License-Identifier: Apache-2.0

//go:build linux || freebsd

package e2e

import (
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Known is a socket of which the test knows what is to be said.
type Known struct {
	What  string
	Tuple Tuple // as on the wire
	State string
	Held  *Held // nil: no process holds it
	Twin  *Held // the other end, nil: no process holds that

	// Received is the payload that came, where no process can say.
	Received int64
	// Bare: the kernel keeps nothing of it but that it is there.
	Bare bool
	// Restless: the kernel sends for it by itself, again and again.
	Restless bool
}

// KnownListener is a listener of which the test knows what is to be said.
type KnownListener struct {
	What         string
	Held         *Held
	Usage, Limit int64
}

// Cast is sockets in every state that there is.
type Cast struct {
	Server, Client *Process
	Known          []Known
	Listeners      []KnownListener
	Heir           int   // a process that holds a socket of the server's, too
	Lossy          *Pair // had to send again; nil: none had

	deafens bool // the server can make its sockets miss what arrives
}

var loopback = netip.MustParseAddrPort("127.0.0.1:0")

// newCast makes the sockets and waits until each is as it is to be. The processes
// are of the given users.
func newCast(t *testing.T, serverUID, clientUID int) *Cast {
	t.Helper()
	c := &Cast{
		Server: startProcess(t, "e2e-server", serverUID),
		Client: startProcess(t, "e2e-client", clientUID),
	}
	c.families(t)
	c.queues(t)
	c.halfClosed(t)
	c.shared(t)
	c.ofSystem(t)
	c.settle(t)
	return c
}

func (c *Cast) add(k Known) {
	if k.Held != nil {
		k.Tuple = Tuple{wire(k.Held.Local), wire(k.Held.Peer)}
	}
	c.Known = append(c.Known, k)
}

// both adds the two ends of a connection.
func (c *Cast) both(what string, p Pair, serverState, clientState string) {
	c.add(Known{What: what + ", server", State: serverState, Held: p.Server, Twin: p.Client})
	c.add(Known{What: what + ", client", State: clientState, Held: p.Client, Twin: p.Server})
}

// open makes a connection and hides the listener that it took.
func (c *Cast) open(t *testing.T) Pair {
	t.Helper()
	l := c.Server.Listen(t, ListenArgs{At: loopback, Backlog: 1})
	defer l.Close(t)
	return connect(t, c.Client, l, ConnectArgs{})
}

// families makes connections of every family, with known bytes each way.
func (c *Cast) families(t *testing.T) {
	l := c.Server.Listen(t, ListenArgs{At: loopback, Backlog: 16})
	c.Listeners = append(c.Listeners, KnownListener{"IPv4 listener", l, 0, queueLimit(16)})
	p := connect(t, c.Client, l, ConnectArgs{})
	p.talk(t, 100_007, 4001, 0)
	c.both("IPv4", p, "established", "established")
	p = connect(t, c.Client, l, ConnectArgs{})
	p.talk(t, 5000, 70, 1234)
	c.both("IPv4, not all of it read", p, "established", "established")
	c.both("IPv4, nothing ever sent", connect(t, c.Client, l, ConnectArgs{}), "established", "established")

	if !hasIPv6() {
		skip(t, "IPv6", "this host has none")
		return
	}
	l = c.Server.Listen(t, ListenArgs{At: netip.MustParseAddrPort("[::1]:0"), Backlog: 16})
	c.Listeners = append(c.Listeners, KnownListener{"IPv6 listener", l, 0, queueLimit(16)})
	p = connect(t, c.Client, l, ConnectArgs{})
	p.talk(t, 2003, 30_011, 0)
	c.both("IPv6", p, "established", "established")

	// Of an IPv6 socket, IPv4 on the wire: the client's is of either family.
	l = c.Server.Listen(t, ListenArgs{At: netip.MustParseAddrPort("[::]:0"), Backlog: 16, Dual: true})
	c.Listeners = append(c.Listeners, KnownListener{"listener of both families", l, 0, queueLimit(16)})
	port := l.Local.Port()
	p = connect(t, c.Client, l, ConnectArgs{To: netip.AddrPortFrom(loopback.Addr(), port)})
	p.talk(t, 501, 602, 0)
	c.both("IPv4 to an IPv6 socket", p, "established", "established")
	p = connect(t, c.Client, l, ConnectArgs{To: netip.AddrPortFrom(netip.AddrFrom16(loopback.Addr().As16()), port)})
	p.talk(t, 703, 804, 0)
	c.both("IPv4 between IPv6 sockets", p, "established", "established")

	local, ok := linkLocal()
	if !ok {
		skip(t, "LinkLocal", "this host has no IPv6 link-local address")
		return
	}
	l = c.Server.Listen(t, ListenArgs{At: netip.AddrPortFrom(local, 0), Backlog: 16})
	c.Listeners = append(c.Listeners, KnownListener{"link-local listener", l, 0, queueLimit(16)})
	p = connect(t, c.Client, l, ConnectArgs{})
	p.talk(t, 905, 1006, 0)
	c.both("IPv6 link-local", p, "established", "established")
}

// queues makes a listener whose process does not accept.
func (c *Cast) queues(t *testing.T) {
	l := c.Server.Listen(t, ListenArgs{At: loopback, Backlog: 7})
	c.Listeners = append(c.Listeners, KnownListener{"listener with a queue", l, 3, queueLimit(7)})
	for range 3 {
		client := c.Client.Connect(t, ConnectArgs{To: l.Local})
		client.Send(t, 55)
		c.add(Known{What: "waits to be accepted, client", State: "established", Held: client})
		c.add(Known{What: "waits to be accepted", Tuple: reverse(client), State: "established", Twin: client, Received: 55})
	}
}

// halfClosed makes connections of which one end was closed.
func (c *Cast) halfClosed(t *testing.T) {
	p := c.open(t)
	p.talk(t, 377, 201, 77)
	p.Client.ShutdownWrite(t)
	p.Server.Send(t, 20)
	c.both("half closed, FIN not read", p, "close_wait", "fin_wait_2")

	p = c.open(t)
	p.talk(t, 300, 0, 0)
	p.Client.ShutdownWrite(t)
	p.Server.ReceiveEnd(t)
	c.both("half closed", p, "close_wait", "fin_wait_2")
}

// restless says that the last n known sockets are.
func (c *Cast) restless(n int) {
	for i := range n {
		c.Known[len(c.Known)-1-i].Restless = true
	}
}

// shared makes sockets that two hold, and two that share an address.
func (c *Cast) shared(t *testing.T) {
	p := c.open(t)
	p.talk(t, 71, 73, 0)
	c.Heir = p.Server.Bequeath(t)
	c.both("held by two processes", p, "established", "established")

	first := c.Server.Listen(t, ListenArgs{At: loopback, Backlog: 3, Shared: true})
	c.Server.Listen(t, ListenArgs{At: first.Local, Backlog: 4, Shared: true})
	c.Listeners = append(c.Listeners, KnownListener{"two listeners on one port", first, 0, queueLimit(3) + queueLimit(4)})
}

// settle waits until the kernel has brought each socket to where it is to be.
func (c *Cast) settle(t *testing.T) {
	t.Helper()
	for _, k := range c.Known {
		if k.Held == nil {
			continue
		}
		await(t, k.What+" is not in "+k.State, func() bool {
			r := k.Held.Report(t)
			// FreeBSD does not count a SYN sent again.
			if k.State == "syn_sent" && r.Retransmits == 0 && runtime.GOOS == "linux" {
				return false
			}
			return r.State == k.State && (k.Restless || r.Unacked == 0)
		})
	}
}

// await waits until the socket is in a state.
func (h *Held) await(t *testing.T, state string) {
	t.Helper()
	await(t, "not in "+state, func() bool { return h.Report(t).State == state })
}

// reverse is the other end of a connection.
func reverse(h *Held) Tuple { return Tuple{wire(h.Peer), wire(h.Local)} }

// skip says that a part of a test cannot be done here, and the rest can.
func skip(t *testing.T, part, why string) {
	t.Helper()
	t.Run(part, func(t *testing.T) { t.Skip(why) })
}

// await polls until ok.
func await(t *testing.T, orElse string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) {
		require.False(t, time.Now().After(deadline), orElse)
	}
}
