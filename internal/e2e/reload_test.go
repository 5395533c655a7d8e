// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestReload changes the configuration of a running collector.
func TestReload(t *testing.T) {
	process := startProcess(t, "e2e-server", 0)
	l := process.Listen(t, ListenArgs{At: loopback, Backlog: 1})
	p := connect(t, process, l, ConnectArgs{})
	tuple := Tuple{p.Server.Local, p.Server.Peer}

	on := every(quick, "connections: {enabled: true, limit: 0}")
	c := startCollector(t, on, 0)
	assert.Contains(t, c.Sink.Next(t).Connections, tuple)
	best := c.best(t)

	c.Configure(t, every(quick, "source: procfs"))
	c.Reload(t)
	s := c.Sink.Next(t)
	assert.Empty(t, s.Connections, "connections are off")
	assert.NotEmpty(t, s.System)
	assert.NotEmpty(t, s.Listeners)
	assert.EqualValues(t, 1, c.source(t, "procfs"))
	assert.NotContains(t, c.Telemetry(t), sample(ownPrefix+"source_info", map[string]string{"source": best}))

	c.Configure(t, on)
	c.Reload(t)
	assert.Contains(t, c.Sink.Next(t).Connections, tuple)
	assert.EqualValues(t, 1, c.source(t, best))
}

// best is the source that `auto` has taken: which one depends on the kernel and
// on what the tests may do.
func (c *Collector) best(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"bpf", "sock_diag"} {
		if c.source(t, name) == 1 {
			return name
		}
	}
	require.Fail(t, "no source of all numbers is in use")
	return ""
}

// TestReloadLeaksNothing counts the open files of a collector that is reconfigured
// many times.
func TestReloadLeaksNothing(t *testing.T) {
	c := startCollector(t, every(quick, "connections: {enabled: true, limit: 0}"), 0)
	c.Sink.Next(t)
	before := c.descriptors(t)
	require.NotEmpty(t, before)
	for range 5 {
		c.Reload(t)
		c.Sink.Next(t)
	}
	// Connections of its servers and clients may take a moment to close.
	c.await(t, "it has not as many files open as before", func() bool {
		return assert.ObjectsAreEqual(before, c.descriptors(t))
	})
}

// TestStop ends a collector while the pipeline has a batch of its: the batch
// arrives, and nothing is said to have failed.
func TestStop(t *testing.T) {
	c := startCollector(t, every(quick, "connections: {enabled: true, limit: 0}"), 0)
	c.Sink.Next(t)
	points := c.Sink.Points()
	release := c.Sink.Hold(t)
	c.Terminate(t)
	c.await(t, "it does not shut down", func() bool { return len(c.log.entries("Starting shutdown")) > 0 })
	release()
	c.Stop(t)
	assert.Greater(t, c.Sink.Points(), points)
}
