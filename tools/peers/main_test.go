// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"
	"log"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/tools/peers/contestant"
	"github.com/netpulse/tcpstatsreceiver/tools/peers/hold"
	"github.com/netpulse/tcpstatsreceiver/tools/peers/report"
)

// The test binary plays the same roles as the bench's own.
func TestMain(m *testing.M) {
	if played, err := playRole(); played {
		if err != nil {
			log.Fatal(err)
		}
		return
	}
	inside, err := ownNamespace()
	if !inside {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			os.Exit(exit.ExitCode())
		}
		if err != nil {
			log.Fatal(err)
		}
		return
	}
	os.Exit(m.Run())
}

// alone skips a test that other people's sockets would fail.
func alone(t *testing.T) {
	if os.Getenv(insideVariable) == "" {
		t.Skip("it takes CAP_SYS_ADMIN to have a network namespace without other sockets")
	}
}

func TestContest(t *testing.T) {
	alone(t)
	const rounds = 2
	c, err := contest(scene{plan: hold.Plan{Sockets: 40, Processes: 3}, sending: 0.5, rest: time.Millisecond}, contestant.All(), rounds)
	require.NoError(t, err)
	assert.Equal(t, 40, c.Sockets)
	require.Len(t, c.Measurements, len(contestant.All()))
	for _, name := range []string{contestant.Floor, contestant.Groups, "tcpstats-connections", "vishvananda", "node_exporter", "gopsutil"} {
		m, ok := c.Of(name)
		require.True(t, ok, "%s: %+v", name, m)
		assert.Len(t, m.Passes, rounds, name)
		assert.Positive(t, m.CPU().Min, name)
		assert.True(t, m.Counted, name)
		assert.Greater(t, m.PeakRSS, int64(1e6), name)
	}
	connections, _ := c.Of("tcpstats-connections")
	assert.Greater(t, connections.Allocs().Min, 40.0, "every connection is written")
	for _, name := range []string{"floor-c", "ss", "ss-processes"} {
		m, ok := c.Of(name)
		if !ok {
			continue // its tool is missing, which the bench has said
		}
		assert.Positive(t, m.CPU().Min, name)
		assert.False(t, m.Counted, name)
	}
}

func TestContestantThatCannotStart(t *testing.T) {
	alone(t)
	all := contestant.All()
	c, err := contest(scene{plan: hold.Plan{Sockets: 10}, options: map[string]any{"no_such_key": "all"}}, all, 1)
	require.NoError(t, err)
	for i, m := range c.Measurements {
		if all[i].Receiver {
			assert.ErrorContains(t, m.Missing, "no_such_key", m.Contestant)
		}
	}
	_, ok := c.Of(contestant.Floor)
	assert.True(t, ok, "options are the receiver's alone")
}

func TestContestantThatSeesTooLittle(t *testing.T) {
	alone(t)
	all := contestant.All()[:1]
	runners := begin(all, nil, 7, 8)
	require.ErrorContains(t, runners[0].result.Missing, "saw 0 sockets, of which 7 are the bench's")
	runners[0].run(true)
	assert.Empty(t, runners[0].result.Passes)
}

func TestAxes(t *testing.T) {
	alone(t)
	const sockets = 40
	for _, a := range axes(sockets) {
		a.values = a.values[:1]
		g := a.grow(1)
		require.Len(t, g.Points, 1, a.label)
		assert.Equal(t, sockets, g.Points[0].Contest.Sockets)
		if _, ok := g.Points[0].Contest.Of(contestant.Groups); a.label != "namespaces" {
			assert.True(t, ok, "%s: %+v", a.label, g.Points[0].Contest.Measurements)
		}
	}
}

func TestLinesAreContestants(t *testing.T) {
	known := map[string]bool{}
	for _, row := range rows() {
		assert.False(t, known[row.Name], row.Name)
		known[row.Name] = true
		assert.NotContains(t, row.Title+row.Gives, "|")
	}
	for _, line := range lines() {
		assert.True(t, known[line.Name], line.Name)
	}
	for _, a := range axes(heldSockets) {
		for _, name := range a.of {
			assert.True(t, known[name], name)
		}
	}
}

func TestNumbers(t *testing.T) {
	n := numbers{1}
	require.NoError(t, n.Set("5000, 50000 190000"))
	assert.Equal(t, numbers{5_000, 50_000, 190_000}, n)
	assert.Equal(t, "5000,50000,190000", n.String())
	assert.Error(t, n.Set("5k"))
}

func TestScenes(t *testing.T) {
	var c choice
	require.NoError(t, c.Set("cold,busy"))
	assert.Equal(t, "cold,busy", c.String())
	assert.ErrorContains(t, c.Set("lazy"), "busy,idle,cold")
	known := make(map[string]bool)
	for _, row := range rows() {
		known[row.Name] = true
	}
	for _, s := range settings() {
		for _, name := range s.of {
			assert.True(t, known[name], name)
		}
	}
}

// Connections send and are replaced as they are told to.
func TestMeasuring(t *testing.T) {
	alone(t)
	b := &bench{table: numbers{20}, others: numbers{40}, rounds: 1}
	s := setting{name: "busy", title: "Busy", sending: 1, of: []string{contestant.Floor, contestant.Groups}}
	table, growth, err := s.measure(b)
	require.NoError(t, err)
	assert.Len(t, growth.Points, 2)
	require.Len(t, table.Contests, 1)
	for _, name := range s.of {
		_, ok := table.Contests[0].Of(name)
		assert.True(t, ok, name)
	}
}

func TestThePageHasAPlace(t *testing.T) {
	text, err := os.ReadFile("../../docs/performance.md")
	require.NoError(t, err)
	_, err = report.Replace(string(text), markBegin, markEnd, "")
	assert.NoError(t, err)
}

func TestMachine(t *testing.T) {
	about, err := machine()
	require.NoError(t, err)
	assert.Regexp(t, `^\d{4}-\d\d-\d\d, a (virtual )?machine with \d+ cores.*, Linux \d+\.\d+, Go 1\.`, about)
}
