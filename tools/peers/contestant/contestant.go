// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package contestant has what is measured: this receiver and others that read
// the TCP sockets of a Linux host, each in a process of its own, so that its
// CPU time, its allocations and its memory are nobody else's.
package contestant

import (
	"fmt"
	"maps"
	"slices"
)

// The names of contestants that others are compared with.
const (
	Floor     = "floor"
	Walk      = "walk"
	GroupsBPF = "tcpstats-groups-bpf"
	Groups    = "tcpstats-groups"
)

// Contestant is one way to read the sockets.
type Contestant struct {
	Name string
	// Title and Gives are what the table says, in Markdown.
	Title, Gives string
	// Most is the number of sockets above which it is left out, as it would take
	// all the time; 0: none.
	Most int
	// Receiver: it takes options, which are keys of the receiver's configuration.
	Receiver bool

	start func(options map[string]any) (reader, error)
}

// reader makes passes.
type reader interface {
	// first makes the pass that is not measured. Both return the number of sockets
	// seen, or unknown.
	first() (sockets int, err error)
	pass() (sockets int, err error)
	close() error
}

// unknown is the number of sockets where it would take time to count them.
const unknown = -1

// All are the contestants, the floor first.
func All() []Contestant {
	receiver := func(config map[string]any) func(map[string]any) (reader, error) {
		return func(options map[string]any) (reader, error) {
			all := maps.Clone(config)
			maps.Copy(all, options)
			return newReceiver(all)
		}
	}
	plain := func(read func() (int, error)) func(map[string]any) (reader, error) {
		return func(map[string]any) (reader, error) { return function(read), nil }
	}
	connections := map[string]any{"enabled": true, "limit": 0}
	resting := map[string]any{"enabled": true, "limit": 0, "unchanged_interval": "1m"}
	return []Contestant{
		{
			Name:  Floor,
			Title: "**F**: a raw `sock_diag` dump", Gives: "nothing: the bytes are thrown away",
			start: func(map[string]any) (reader, error) { return newFloor() },
		},
		{
			Name:  "floor-c",
			Title: "the same in C", Gives: "nothing",
			start: func(map[string]any) (reader, error) { return newFloorC() },
		},
		{
			Name:  Walk,
			Title: "an empty walk of the BPF iterator", Gives: "nothing",
			start: func(map[string]any) (reader, error) { return newWalk() },
		},
		{
			Name:  Groups,
			Title: "**tcpstats**, groups, `sock_diag`", Gives: "all of `tcp_info`, processes; as metrics of groups",
			Receiver: true,
			start:    receiver(map[string]any{"source": "sock_diag"}),
		},
		{
			Name:  GroupsBPF,
			Title: "**tcpstats**, groups, `bpf`", Gives: "the same",
			Receiver: true,
			start:    receiver(map[string]any{"source": "bpf"}),
		},
		{
			Name:  "tcpstats-connections",
			Title: "**tcpstats**, every connection, `sock_diag`", Gives: "the same, and metrics of each connection",
			Receiver: true,
			start:    receiver(map[string]any{"source": "sock_diag", "connections": connections}),
		},
		{
			Name:  "tcpstats-connections-bpf",
			Title: "**tcpstats**, every connection, `bpf`", Gives: "the same",
			Receiver: true,
			start:    receiver(map[string]any{"source": "bpf", "connections": connections}),
		},
		{
			Name:  "tcpstats-connections-resting",
			Title: "**tcpstats**, every connection, `unchanged_interval: 1m`, `bpf`", Gives: "the same, of idle connections in every sixth scrape",
			Receiver: true,
			start:    receiver(map[string]any{"source": "bpf", "connections": resting}),
		},
		{
			Name:  "vishvananda",
			Title: "vishvananda/netlink `SocketDiagTCPInfo`", Gives: "`tcp_info` in structs; no processes",
			start: plain(vishvananda),
		},
		{
			Name:  "node_exporter",
			Title: "node_exporter `tcpstat`", Gives: "sockets and queued bytes per state",
			start: func(map[string]any) (reader, error) { return newNodeExporter() },
		},
		{
			Name:  "gopsutil",
			Title: "gopsutil `Connections(\"tcp\")`, as `hostmetrics` does", Gives: "addresses, state, process; no `tcp_info`",
			start: plain(gopsutil),
		},
		{
			Name:  "ss",
			Title: "`ss -tinH`", Gives: "`tcp_info` as text; no processes",
			start: func(map[string]any) (reader, error) { return newSS("-tinH") },
		},
		{
			Name:  "ss-processes",
			Title: "`ss -tinpH`", Gives: "`tcp_info` and processes as text",
			Most:  5_000,
			start: func(map[string]any) (reader, error) { return newSS("-tinpH") },
		},
	}
}

func byName(name string) (Contestant, error) {
	all := All()
	i := slices.IndexFunc(all, func(c Contestant) bool { return c.Name == name })
	if i < 0 {
		return Contestant{}, fmt.Errorf("no contestant %q", name)
	}
	return all[i], nil
}

// function is a reader that is but a function.
type function func() (sockets int, err error)

func (f function) first() (int, error) { return f() }
func (f function) pass() (int, error)  { return f() }
func (f function) close() error        { return nil }
