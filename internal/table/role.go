// SPDX-License-Identifier: Apache-2.0

package table

import (
	"net/netip"

	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// listening is what is remembered of an endpoint with a listener.
type listening struct {
	pass  uint32           // the last dump that had it
	owner *process.Process // nil: not known
}

// Listening notes a listener of the dump under way that is not wanted itself:
// connections are accepted there all the same.
func (t *Table) Listening(local netip.AddrPort) {
	l := t.listeners[local]
	l.pass = t.pass
	t.listeners[local] = l
}

// listen notes a listener, with its owner as far as it is known.
func (t *Table) listen(c *Connection) {
	l := t.listeners[c.Local]
	l.pass = t.pass
	if c.Owner.Process != nil {
		l.owner = c.Owner.Process // else that of the one before it, if there was one
	}
	t.listeners[c.Local] = l
}

// SettleListeners notes the owners of listeners, after they were looked for.
func (t *Table) SettleListeners() {
	for _, c := range t.listening {
		if c.place >= 0 {
			t.listen(c)
		}
	}
}

// forgetListeners forgets those that were gone before the dump under way. The
// ones that were there in the dump before stay: what they accepted last may be
// seen only now, and notices may come later still.
func (t *Table) forgetListeners() {
	for local, l := range t.listeners {
		if l.pass+1 < t.pass {
			delete(t.listeners, local)
		}
	}
}

// accepts returns the listener that accepts connections to a local endpoint:
// that of the address itself, else that of all addresses. One of all IPv6
// addresses takes IPv4, too, unless its process asked for IPv6 alone.
func (t *Table) accepts(local netip.AddrPort) (listening, bool) {
	if l, ok := t.listeners[local]; ok {
		return l, true
	}
	if local.Addr().Is4() {
		if l, ok := t.listeners[netip.AddrPortFrom(netip.IPv4Unspecified(), local.Port())]; ok {
			return l, true
		}
	}
	l, ok := t.listeners[netip.AddrPortFrom(netip.IPv6Unspecified(), local.Port())]
	return l, ok
}

// Acceptor returns the process that listens where a connection was accepted, nil
// if that is not known or if it was opened from here.
func (t *Table) Acceptor(c *Connection) *process.Process {
	if c.Role != tcp.Server {
		return nil
	}
	l, _ := t.accepts(c.Local)
	return l.owner
}

// OwnerAt returns the process that accepts connections to a local endpoint, nil if
// it is not known or if there is none.
func (t *Table) OwnerAt(local netip.AddrPort) *process.Process {
	l, _ := t.accepts(local)
	return l.owner
}

// roleOf returns the role that a sample shows by itself.
func (t *Table) roleOf(s *tcp.Socket) tcp.Role {
	switch {
	case s.Role != tcp.NoRole:
		return s.Role
	case s.State == tcp.SynSent:
		return tcp.Client
	case s.State == tcp.SynReceived:
		return tcp.Server
	}
	return tcp.RoleOf(s)
}

// settleRole decides the role of a connection for good. What its samples do not
// show, the listeners do: what comes to them was accepted, all the rest was
// opened from here.
func (t *Table) settleRole(c *Connection) {
	if c.Role != tcp.NoRole {
		return
	}
	c.Role = tcp.Client
	if _, ok := t.accepts(c.Local); ok {
		c.Role = tcp.Server
	}
}
