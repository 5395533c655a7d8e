// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
)

// party is connections to one listener. Each has had 1000 bytes more than the one
// before.
func party(t *testing.T, n int) (port uint16, pairs []Pair) {
	t.Helper()
	server, client := startProcess(t, "e2e-server", 0), startProcess(t, "e2e-client", 0)
	l := server.Listen(t, ListenArgs{At: loopback, Backlog: n})
	for i := range n {
		p := connect(t, client, l, ConnectArgs{})
		p.talk(t, 1000*(i+1), 10, 0)
		pairs = append(pairs, p)
	}
	return l.Local.Port(), pairs
}

// TestBatches hands connections to the pipeline a few at a time.
func TestBatches(t *testing.T) {
	const n = 12
	port, _ := party(t, n)
	c := startCollector(t, every(quick, fmt.Sprintf("filter: {local_ports: [%d]}, connections: {enabled: true, limit: 0, batch_size: 5}", port)), 0)
	c.Sink.Scrape(t, 2)
	for _, s := range c.Sink.Scrapes(0) {
		assert.Len(t, s.Connections, n)
		assert.Equal(t, []int{5, 5, 2}, s.Batches)
	}
}

// TestLimit keeps the connections with most bytes, and counts the others.
func TestLimit(t *testing.T) {
	const n, limit = 8, 3
	port, pairs := party(t, n)
	c := startCollector(t, every(quick, fmt.Sprintf("filter: {local_ports: [%d]}, connections: {enabled: true, limit: %d, order_by: io}", port, limit)), 0)

	first := c.Sink.Scrape(t, 0)
	for i, p := range pairs {
		_, kept := first.Connections[Tuple{p.Server.Local, p.Server.Peer}]
		assert.Equal(t, i >= n-limit, kept, "connection %d of %d", i, n)
	}

	// Whoever is busy now comes before whoever was.
	from := c.Sink.Count()
	pairs[0].talk(t, 10, 10, 0)
	c.Sink.Next(t)
	seen := false
	for _, s := range c.Sink.Scrapes(from) {
		_, kept := s.Connections[Tuple{pairs[0].Server.Local, pairs[0].Server.Peer}]
		seen = seen || kept
	}
	assert.True(t, seen, "the one connection with traffic")

	from = c.Sink.Count()
	own := c.Telemetry(t)
	c.Sink.Next(t)
	dropped := own[sample(ownPrefix+"dropped_series", map[string]string{"reason": "limit"})]
	assert.GreaterOrEqual(t, dropped, float64((n-limit)*from))
	assert.LessOrEqual(t, dropped, float64((n-limit)*c.Sink.Count()))
	assert.Zero(t, int(dropped)%(n-limit))
	for _, s := range c.Sink.Scrapes(0) {
		assert.Len(t, s.Connections, limit)
	}
}
