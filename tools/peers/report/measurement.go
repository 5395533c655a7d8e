// SPDX-License-Identifier: Apache-2.0

// Package report turns what was measured into tables and a plot.
package report

import (
	"slices"
	"time"
)

// Pass is what one pass over the sockets took.
type Pass struct {
	CPU    time.Duration // user and system
	Allocs uint64        // heap objects
}

// Measurement is what one contestant took.
type Measurement struct {
	Contestant string
	// First is the CPU time of the pass that was thrown away, the start included.
	First   time.Duration
	Passes  []Pass
	Counted bool  // allocations are known
	PeakRSS int64 // bytes; 0: not known
	// Missing is why there is no measurement.
	Missing error
}

// Contest is what all contestants took over the same sockets, in turns.
type Contest struct {
	Sockets      int
	Measurements []Measurement
}

// Of returns one contestant's measurement; ok is false if there is none.
func (c *Contest) Of(contestant string) (m Measurement, ok bool) {
	i := slices.IndexFunc(c.Measurements, func(m Measurement) bool { return m.Contestant == contestant })
	if i < 0 || c.Measurements[i].Missing != nil || len(c.Measurements[i].Passes) == 0 {
		return Measurement{}, false
	}
	return c.Measurements[i], true
}

// Spread is how a figure varied.
type Spread struct{ Min, Median, Max float64 }

// CPU is the CPU time of the passes, in nanoseconds.
func (m *Measurement) CPU() Spread {
	return spread(m.Passes, func(p Pass) float64 { return float64(p.CPU) })
}

// Allocs is the number of allocations of the passes.
func (m *Measurement) Allocs() Spread {
	return spread(m.Passes, func(p Pass) float64 { return float64(p.Allocs) })
}

func spread(passes []Pass, value func(Pass) float64) Spread {
	if len(passes) == 0 {
		return Spread{}
	}
	values := make([]float64, len(passes))
	for i, p := range passes {
		values[i] = value(p)
	}
	slices.Sort(values)
	n := len(values)
	return Spread{Min: values[0], Median: (values[(n-1)/2] + values[n/2]) / 2, Max: values[n-1]}
}
