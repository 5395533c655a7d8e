// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// TestGroups opens and closes connections between scrapes: no scrape sees most of
// them, and still the group of those that were accepted has every one.
func TestGroups(t *testing.T) {
	const n = 30
	server, client := startProcess(t, "e2e-server", 0), startProcess(t, "e2e-client", 0)
	l := server.Listen(t, ListenArgs{At: loopback, Backlog: 1})
	c := startCollector(t, every("1s", "connections: {enabled: true, limit: 0}"), 0)
	c.Sink.Next(t)

	received := 0
	for i := range n {
		p := connect(t, client, l, ConnectArgs{})
		p.talk(t, 100+i, 7, 0)
		received += 100 + i
		p.Client.ShutdownWrite(t)
		p.Server.ReceiveEnd(t)
		p.Server.Close(t)
		p.Client.ReceiveEnd(t)
		p.Client.Close(t)
	}

	group := func(metric string, more ...string) string {
		labels := map[string]string{
			"process.executable.name": server.Executable, "tcp.role": "server", "server.port": strconv.Itoa(int(l.Local.Port())),
		}
		for i := 0; i < len(more); i += 2 {
			labels[more[i]] = more[i+1]
		}
		return sample(metric, labels)
	}
	s := c.Sink.Next(t)
	for deadline := time.Now().Add(patience); s.Groups[group("tcp.closes")].Number < n && time.Now().Before(deadline); {
		s = c.Sink.Next(t)
	}
	for key, want := range map[string]int{
		group("tcp.opens"):  n,
		group("tcp.closes"): n,
		group("tcp.io", "network.io.direction", "receive"):            received,
		group("tcp.io", "network.io.direction", "transmit"):           7 * n,
		group("tcp.retransmits"):                                      0,
		group("tcp.count", "network.connection.state", "established"): 0,
	} {
		assert.EqualValues(t, want, s.Groups[key].Number, key)
	}
	assert.Less(t, seen(c, l), n, "scrapes saw them all, so this shows nothing")
}

// seen is how many of the connections to a listener a scrape has seen.
func seen(c *Collector, l *Held) int {
	all := make(map[Tuple]bool)
	for _, s := range c.Sink.Scrapes(0) {
		for tuple := range s.Connections {
			if tuple.Local == l.Local {
				all[tuple] = true
			}
		}
	}
	return len(all)
}
