// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/netpulse/tcpstatsreceiver/tools/peers/contestant"
)

// setting is what one table shows.
type setting struct {
	name, title string
	sending     float64       // the share of connections that send before each round
	rest        time.Duration // before each pass
	of          []string      // names of contestants; nil: all
}

// settings are the tables that there are. In each, 0.5 % of the connections are
// replaced before each round.
func settings() []setting {
	ours := []string{
		contestant.Floor, contestant.Walk, contestant.Groups, contestant.GroupsBPF,
		"tcpstats-connections", "tcpstats-connections-bpf", "tcpstats-connections-resting",
	}
	return []setting{
		{name: "busy", title: "Busy: every connection has sent something since the last pass", sending: 1},
		{name: "idle", title: "Idle: 95 % of the connections have done nothing since the last pass", sending: 0.05, of: append(slices.Clone(ours), "ss")},
		{
			name: "cold", title: "Cold: the same, and everybody rests for 2 s before each pass, F as well", sending: 0.05, rest: 2 * time.Second,
			of: []string{contestant.Floor, contestant.Walk, contestant.Groups, contestant.GroupsBPF},
		},
	}
}

// choice is a flag: some of the settings.
type choice []setting

func defaultScenes() choice { return settings() }

func (c *choice) String() string {
	var names []string
	for _, s := range *c {
		names = append(names, s.name)
	}
	return strings.Join(names, ",")
}

func (c *choice) Set(text string) error {
	*c = nil
	for _, name := range strings.Split(text, ",") {
		all := settings()
		i := slices.IndexFunc(all, func(s setting) bool { return s.name == name })
		if i < 0 {
			known := choice(all)
			return fmt.Errorf("got %q, takes %s", name, known.String())
		}
		*c = append(*c, all[i])
	}
	return nil
}
