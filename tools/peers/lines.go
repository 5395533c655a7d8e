// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"image/color"

	"github.com/netpulse/tcpstatsreceiver/tools/peers/contestant"
	"github.com/netpulse/tcpstatsreceiver/tools/peers/report"
)

// lines are the contestants as the plot shows them, in colours that people
// without colour vision can tell apart (Okabe and Ito's).
func lines() []report.Line {
	var (
		black     = color.Black
		blue      = color.RGBA{0x00, 0x72, 0xb2, 0xff}
		sky       = color.RGBA{0x56, 0xb4, 0xe9, 0xff}
		green     = color.RGBA{0x00, 0x9e, 0x73, 0xff}
		orange    = color.RGBA{0xe6, 0x9f, 0x00, 0xff}
		vermilion = color.RGBA{0xd5, 0x5e, 0x00, 0xff}
		purple    = color.RGBA{0xcc, 0x79, 0xa7, 0xff}
	)
	return []report.Line{
		{Name: "gopsutil", Label: "gopsutil (hostmetrics)", Color: vermilion},
		{Name: "tcpstats-connections", Label: "tcpstats, every connection", Color: sky},
		{Name: "ss", Label: "ss -tinH", Color: purple, Dashed: true},
		{Name: "node_exporter", Label: "node_exporter tcpstat", Color: orange, Dashed: true},
		{Name: contestant.Groups, Label: "tcpstats, groups, sock_diag", Color: blue},
		{Name: contestant.Floor, Label: "F: raw sock_diag dump", Color: black, Dashed: true},
		{Name: contestant.GroupsBPF, Label: "tcpstats, groups, bpf", Color: green},
	}
}
