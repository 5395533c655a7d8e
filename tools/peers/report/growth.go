// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"strings"
)

// Growth is what scrapes cost as something grows.
type Growth struct {
	Title, Label string
	Points       []Point
}

// Point is a contest where it has grown to a number.
type Point struct {
	At      int
	Contest Contest
}

// Of returns the CPU time of one contestant's passes in milliseconds, where
// there is one, and at what.
func (g *Growth) Of(contestant string) (at, ms []float64) {
	for _, p := range g.Points {
		if m, ok := p.Contest.Of(contestant); ok {
			at = append(at, float64(p.At))
			ms = append(ms, m.CPU().Median/1e6)
		}
	}
	return at, ms
}

// Markdown is a table of a growth, in milliseconds of CPU time.
func (g *Growth) Markdown(rows []Row) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| %s |", g.Title)
	for _, p := range g.Points {
		fmt.Fprintf(&b, " %s |", Number(p.At))
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(g.Points)) + "\n")
	for _, row := range rows {
		if at, _ := g.Of(row.Name); len(at) == 0 {
			continue
		}
		fmt.Fprintf(&b, "| %s |", row.Title)
		for _, p := range g.Points {
			if m, ok := p.Contest.Of(row.Name); ok {
				fmt.Fprintf(&b, " %s ms |", three(m.CPU().Median/1e6))
			} else {
				b.WriteString(" – |")
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}
