// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"testing"
)

// ofSystem makes what only Linux has, or in a way that only Linux has.
func (c *Cast) ofSystem(t *testing.T) {
	c.deafens = call[bool](t, c.Server, "Deafens", struct{}{})
	c.handshakes(t)
	c.closing(t)
	c.losses(t)
}

// queueLimit is how many connections can wait at a listener with a backlog: Linux
// queues one more and drops the SYNs after it.
func queueLimit(backlog int64) int64 { return backlog + 1 }

// handshakes makes connections that do not get through.
func (c *Cast) handshakes(t *testing.T) {
	full := c.Server.Listen(t, ListenArgs{At: loopback, Backlog: 1})
	c.Listeners = append(c.Listeners, KnownListener{"full listener", full, 2, queueLimit(1)})
	for range 2 {
		client := c.Client.Connect(t, ConnectArgs{To: full.Local})
		c.add(Known{What: "fills a queue, client", State: "established", Held: client})
		c.add(Known{What: "fills a queue", Tuple: reverse(client), State: "established", Twin: client})
	}
	c.add(Known{What: "not answered", State: "syn_sent", Restless: true,
		Held: c.Client.Connect(t, ConnectArgs{To: full.Local, NoWait: true})})

	lazy := c.Server.Listen(t, ListenArgs{At: loopback, Backlog: 16, Defer: true})
	c.Listeners = append(c.Listeners, KnownListener{"listener that waits for data", lazy, 0, queueLimit(16)})
	silent := c.Client.Connect(t, ConnectArgs{To: lazy.Local})
	// The listener sends its SYN-ACK again, now and then.
	c.add(Known{What: "silent, client", State: "established", Held: silent, Restless: true})
	c.add(Known{What: "handshake not complete", Tuple: reverse(silent), State: "syn_received", Twin: silent, Bare: true})
}

// closing makes a connection for each way in which one can be closed but for the
// simplest.
func (c *Cast) closing(t *testing.T) {
	p := c.open(t)
	p.talk(t, 10, 20, 0)
	p.Client.ShutdownWrite(t)
	p.Server.ReceiveEnd(t)
	p.Server.Close(t)
	p.Client.ReceiveEnd(t)
	c.add(Known{What: "closed", Tuple: Tuple{p.Client.Local, p.Client.Peer}, State: "time_wait", Bare: true})
	p.Client.Close(t)

	if !c.deafens {
		skip(t, "FINsNotHeard", noFilters)
		return
	}
	p = c.open(t)
	p.talk(t, 41, 43, 0)
	p.Server.Deaf(t, true)
	p.Client.Send(t, 500)
	p.Client.ShutdownWrite(t)
	c.both("FIN not heard", p, "established", "fin_wait_1")
	c.restless(2)

	p = c.open(t)
	p.talk(t, 47, 53, 0)
	p.Server.ShutdownWrite(t)
	p.Server.await(t, "fin_wait_2")
	p.Server.Deaf(t, true)
	p.Client.Send(t, 600)
	p.Client.ShutdownWrite(t)
	c.both("answer to a FIN not heard", p, "fin_wait_2", "last_ack")
	c.restless(2)

	p = c.open(t)
	p.talk(t, 59, 61, 0)
	p.Server.Deaf(t, true)
	p.Client.ShutdownWrite(t)
	p.Server.ShutdownWrite(t)
	c.both("both closed, one not heard", p, "fin_wait_1", "closing")
	c.restless(2)
}

// losses makes a connection that had to send again, and has recovered.
func (c *Cast) losses(t *testing.T) {
	if !c.deafens {
		skip(t, "Losses", noFilters)
		return
	}
	p := c.open(t)
	p.talk(t, 3000, 100, 0)
	p.Server.Deaf(t, true)
	p.Client.Send(t, 20_000)
	await(t, "nothing is retransmitted", func() bool { return p.Client.Report(t).Retransmits >= 2 })
	p.Server.Deaf(t, false)
	p.Server.Receive(t, 20_000)
	c.Lossy = &p
	c.both("had losses", p, "established", "established")
}

const noFilters = "the kernel does not let this user set socket filters, with which segments are lost"

// Deaf makes the socket miss all that arrives, or hear again.
func (h *Held) Deaf(t *testing.T, deaf bool) {
	t.Helper()
	call[struct{}](t, h.Process, "Deaf", DeafArgs{h.Socket, deaf})
}
