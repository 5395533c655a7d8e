// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestLifetimes follows connections that come and go between scrapes.
func TestLifetimes(t *testing.T) {
	server, client := startProcess(t, "e2e-server", 0), startProcess(t, "e2e-client", 0)
	l := server.Listen(t, ListenArgs{At: loopback, Backlog: 16})
	old := connect(t, client, l, ConnectArgs{})
	old.talk(t, 5000, 70, 0)
	c := startCollector(t, every(quick, everyState+"connections: {enabled: true, limit: 0}"), 0)
	oldTuple := Tuple{old.Server.Local, old.Server.Peer}
	assert.WithinDuration(t, boot(t), start(t, c.Sink.Next(t), oldTuple), 2*time.Second, "it was there before the collector")

	// A port that was bound to is nobody else's: it can be had again.
	p := connect(t, client, l, ConnectArgs{From: loopback})
	opened := time.Now()
	p.talk(t, 1000, 10, 0)
	tuple := Tuple{p.Server.Local, p.Server.Peer}
	born := bornAfter(t, c, server, tuple, time.Time{}, opened)
	assert.EqualValues(t, 1000, received(t, c.Sink.Next(t), tuple))

	// The same addresses and ports again, at once, with less and with more bytes.
	for _, bytes := range []int{100, 9000} {
		p.Client.Reset(t)
		p.Server.Close(t)
		p = connect(t, client, l, ConnectArgs{From: p.Client.Local})
		opened = time.Now()
		p.talk(t, bytes, 5, 0)
		require.Equal(t, tuple, Tuple{p.Server.Local, p.Server.Peer})
		born = bornAfter(t, c, server, tuple, born, opened)
		assert.EqualValues(t, bytes, received(t, c.Sink.Next(t), tuple))
	}

	// Once more, after it was seen to be gone.
	p.Client.Reset(t)
	p.Server.Close(t)
	assert.NotContains(t, c.Sink.Next(t).Connections, tuple, "it is closed")
	p = connect(t, client, l, ConnectArgs{From: p.Client.Local})
	opened = time.Now()
	p.talk(t, 300, 5, 0)
	bornAfter(t, c, server, tuple, born, opened)

	// A close in order leaves one end in time_wait, of which nothing is counted.
	p.Client.ShutdownWrite(t)
	p.Server.ReceiveEnd(t)
	p.Server.Close(t)
	p.Client.ReceiveEnd(t)
	p.Client.Close(t)
	s := c.Sink.Next(t)
	assert.NotContains(t, s.Connections, tuple)
	gone := s.Connections[Tuple{tuple.Peer, tuple.Local}]
	require.NotNil(t, gone)
	assert.Equal(t, "time_wait", gone.State)
	assert.Len(t, gone.Values, 1)
	assert.Empty(t, gone.Resource)

	assert.WithinDuration(t, boot(t), start(t, s, oldTuple), 2*time.Second, "it is still there")
	assert.EqualValues(t, 5000, received(t, s, oldTuple))
}

// TestOwnersAtOnce has a new connection in each scrape while processes are looked
// for as often as is scraped, as by default: a tick that comes a little early is
// no reason to put that off.
func TestOwnersAtOnce(t *testing.T) {
	server, client := startProcess(t, "e2e-server", 0), startProcess(t, "e2e-client", 0)
	l := server.Listen(t, ListenArgs{At: loopback, Backlog: 1})
	c := startCollector(t, everyWithRefresh(quick, quick, "connections: {enabled: true, limit: 0}"), 0)
	const n = 20
	for i := range n {
		c.Sink.Scrape(t, i)
		connect(t, client, l, ConnectArgs{})
	}
	c.Sink.Next(t)

	first := make(map[Tuple]*Connection)
	for _, s := range c.Sink.Scrapes(0) {
		for tuple, now := range s.Connections {
			if _, seen := first[tuple]; !seen && tuple.Local == l.Local {
				first[tuple] = now
			}
		}
	}
	assert.Len(t, first, n)
	unknown := 0
	for _, now := range first {
		if now.pid() != server.PID {
			unknown++
		}
	}
	// On a busy machine a tick may be far too late, and the next just in time.
	assert.LessOrEqual(t, unknown, 2, "of %d connections, the process was not known in their first scrape", n)
}

// bornAfter waits for the first scrape in which the connection started after a
// time, and checks that it started when the scrape before began: it was not there
// then, and any later time could be after its first bytes.
func bornAfter(t *testing.T, c *Collector, server *Process, tuple Tuple, previous, opened time.Time) time.Time {
	t.Helper()
	c.Sink.Next(t)
	scrapes := c.Sink.Scrapes(0)
	for i := 2; i < len(scrapes); i++ {
		now := scrapes[i].Connections[tuple]
		if now == nil || !start(t, scrapes[i], tuple).After(previous) {
			continue
		}
		born := start(t, scrapes[i], tuple)
		assert.Equal(t, server.PID, now.pid(), "its process is known at once")
		assert.True(t, born.After(scrapes[i-2].Time), "it started at %s, the scrape before the last ended at %s", born, scrapes[i-2].Time)
		assert.True(t, born.Before(scrapes[i-1].Time), "it started at %s, the last scrape ended at %s", born, scrapes[i-1].Time)
		assert.False(t, born.After(opened), "it started at %s, and was there at %s", born, opened)
		age := now.Values["tcp.connection.age"]
		assert.True(t, age.Time.Add(-seconds(age.Number)).After(scrapes[i-1].Time), "it is %v s old", age.Number)
		return born
	}
	require.Fail(t, "no such scrape")
	return time.Time{}
}

// start is the one time at which all counters of a connection started.
func start(t *testing.T, s *Scrape, tuple Tuple) time.Time {
	t.Helper()
	require.Contains(t, s.Connections, tuple)
	values := s.Connections[tuple].Values
	for name, v := range values {
		if v.Cumulative {
			assert.Equal(t, values["tcp.connection.retransmits"].Start, v.Start, name)
		}
	}
	return values["tcp.connection.retransmits"].Start
}

func received(t *testing.T, s *Scrape, tuple Tuple) float64 {
	t.Helper()
	require.Contains(t, s.Connections, tuple)
	return s.Connections[tuple].Values["tcp.connection.io receive"].Number
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
