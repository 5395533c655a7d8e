// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// A verdict compares the second quarter of a run with the last one, at whose end
// nothing happens any more, and what was counted with what was done.
type verdict struct {
	duration           time.Duration
	rss, descriptors   [2]float64 // medians: of the second quarter, of the last tenth
	most               float64    // memory, MiB
	cpu                float64    // of one core
	made, counted      int64
	growth, leaks, odd string
}

// Growth that is no leak: the garbage collector's play.
const (
	tolerance = 1.25
	slack     = 10 // MiB
	// Before that, memory still grows to what it takes.
	settled = 5 * time.Minute
)

func judge(samples []sample, made, counted int64) verdict {
	last := samples[len(samples)-1]
	v := verdict{duration: last.at, made: made, counted: counted}
	part := func(from, to float64, value func(sample) float64) float64 {
		var values []float64
		for _, s := range samples {
			if at := float64(s.at) / float64(last.at); at >= from && at <= to {
				values = append(values, value(s))
			}
		}
		if len(values) == 0 {
			return 0
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	rss := func(s sample) float64 { return s.rss }
	descriptors := func(s sample) float64 { return s.descriptors }
	v.rss = [2]float64{part(0.25, 0.5, rss), part(0.92, 1, rss)}
	v.descriptors = [2]float64{part(0, 0.1, descriptors), part(0.92, 1, descriptors)}
	for _, s := range samples {
		v.most = max(v.most, s.rss)
	}
	v.cpu = float64(last.cpu-samples[0].cpu) / float64(last.at-samples[0].at)
	if last.at >= settled && v.rss[1] > v.rss[0]*tolerance+slack {
		v.growth = "memory grew"
	}
	// A connection to the backend, an event that is being handled: a few come and go.
	if v.descriptors[1] > v.descriptors[0]+5 {
		v.leaks = "descriptors were not given back"
	}
	if v.counted != v.made {
		v.odd = "connections were lost or counted twice"
	}
	return v
}

func (v verdict) good() bool { return v.growth == "" && v.leaks == "" && v.odd == "" }

func (v verdict) String() string {
	var b strings.Builder
	b.WriteString("| What | At first | At last | Verdict |\n|---|---|---|---|\n")
	row := func(what string, first, last any, bad string) {
		if bad == "" {
			bad = "good"
		}
		fmt.Fprintf(&b, "| %s | %v | %v | %s |\n", what, first, last, bad)
	}
	row("Memory (RSS), MiB", fmt.Sprintf("%.0f", v.rss[0]), fmt.Sprintf("%.0f, at most %.0f", v.rss[1], v.most), v.growth)
	row("Descriptors", v.descriptors[0], v.descriptors[1], v.leaks)
	row("Connections made, and counted by the backend", v.made, v.counted, v.odd)
	fmt.Fprintf(&b, "\n%s; %.1f %% of a core.\n", v.duration.Round(time.Second), 100*v.cpu)
	return b.String()
}
