// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"log"
	"slices"

	"github.com/netpulse/tcpstatsreceiver/tools/peers/contestant"
	"github.com/netpulse/tcpstatsreceiver/tools/peers/hold"
	"github.com/netpulse/tcpstatsreceiver/tools/peers/report"
)

// heldSockets is the number of sockets while something else grows.
const heldSockets = 10_000

// axis is something that grows.
type axis struct {
	title  string
	label  string
	values []int
	// scene is what is measured where it has grown to n.
	scene func(n int) scene
	// of are those whose cost may depend on it; nil: everyone.
	of []string
}

func axes(held int) []axis {
	ours := []string{contestant.Floor, contestant.Groups, contestant.GroupsBPF}
	return []axis{
		{
			title: fmt.Sprintf("Processes that hold %s sockets", report.Number(held)), label: "processes", values: []int{1, 5, 20, 100, 500},
			scene: func(n int) scene { return scene{plan: hold.Plan{Sockets: held, Processes: n}} },
			of:    append([]string{"gopsutil"}, ours...),
		},
		{
			title: fmt.Sprintf("Network namespaces with %s sockets in all", report.Number(held)), label: "namespaces", values: []int{1, 5, 20, 100, 200},
			scene: func(n int) scene {
				return scene{plan: hold.Plan{Sockets: held, Processes: n, Namespaces: true}, options: map[string]any{"network_namespaces": "all"}}
			},
			of: []string{contestant.Groups}, // BPF reads the collector's own namespace
		},
		{
			title: fmt.Sprintf("Groups of %s sockets", report.Number(held)), label: "groups", values: []int{10, 100, 1_000, held},
			scene: func(n int) scene {
				groups := map[string]any{"by": []any{"client.address", "tcp.role"}, "limit": 2 * n}
				// A client is a group at either end of its connections.
				return scene{plan: hold.Plan{Sockets: held, Clients: n / 2}, options: map[string]any{"groups": groups}}
			},
			of: ours,
		},
	}
}

// only returns the contestants with these names.
func only(names []string) []contestant.Contestant {
	return slices.DeleteFunc(contestant.All(), func(c contestant.Contestant) bool { return !slices.Contains(names, c.Name) })
}

// grow measures along an axis. A value that cannot be had is left out.
func (a *axis) grow(rounds int) report.Growth {
	g := report.Growth{Title: a.title, Label: a.label}
	contestants := only(a.of)
	for _, n := range a.values {
		log.Printf("%d %s", n, a.label)
		c, err := contest(a.scene(n), contestants, rounds)
		if err != nil {
			log.Printf("  not available: %v", err)
			continue
		}
		g.Points = append(g.Points, report.Point{At: n, Contest: c})
	}
	return g
}
