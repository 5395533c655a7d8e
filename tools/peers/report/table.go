// SPDX-License-Identifier: Apache-2.0

package report

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Row is how a contestant is shown.
type Row struct{ Name, Title, Gives string }

// Table is contests over different numbers of sockets, side by side.
type Table struct {
	Title    string
	Rows     []Row
	Contests []Contest
	Floor    string // the contestant that is 1 F
}

// Markdown is the table for readers: medians.
func (t *Table) Markdown() string {
	var b strings.Builder
	b.WriteString("| | What it gives |")
	for _, c := range t.Contests {
		fmt.Fprintf(&b, " %s sockets |", Number(c.Sockets))
	}
	b.WriteString(" Allocations per socket | Peak memory |\n|---|---|" + strings.Repeat("---|", len(t.Contests)) + "---|---|\n")
	for _, row := range t.Rows {
		last, sockets, ok := t.last(row.Name)
		if !ok {
			continue
		}
		fmt.Fprintf(&b, "| %s | %s |", row.Title, row.Gives)
		for i := range t.Contests {
			fmt.Fprintf(&b, " %s |", t.cell(&t.Contests[i], row.Name))
		}
		allocs := "–"
		if last.Counted {
			allocs = few(last.Allocs().Median / float64(sockets))
		}
		fmt.Fprintf(&b, " %s | %s |\n", allocs, megabytes(last.PeakRSS))
	}
	return b.String()
}

// last is a contestant's measurement over the most sockets.
func (t *Table) last(contestant string) (m Measurement, sockets int, ok bool) {
	for _, c := range t.Contests {
		if of, has := c.Of(contestant); has && c.Sockets > sockets {
			m, sockets, ok = of, c.Sockets, true
		}
	}
	return m, sockets, ok
}

func (t *Table) cell(c *Contest, contestant string) string {
	m, ok := c.Of(contestant)
	if !ok {
		return "–"
	}
	ns := m.CPU().Median / float64(c.Sockets)
	floor, ok := c.Of(t.Floor)
	if !ok || contestant == t.Floor {
		return number(ns) + " ns"
	}
	return fmt.Sprintf("%s ns, %s F", number(ns), three(m.CPU().Median/floor.CPU().Median))
}

// Full is one table for each contest, with all that was measured.
func (t *Table) Full() string {
	var b strings.Builder
	for i := range t.Contests {
		t.full(&b, &t.Contests[i])
	}
	return b.String()
}

func (t *Table) full(b *strings.Builder, c *Contest) {
	fmt.Fprintf(b, "### %s sockets\n\n", Number(c.Sockets))
	b.WriteString("| | Passes | CPU ns per socket: median | least | most | × F | first pass, ms | Allocations per socket | Peak memory |\n" +
		"|---|---|---|---|---|---|---|---|---|\n")
	n := float64(c.Sockets)
	var missing []string
	for _, row := range t.Rows {
		m, ok := c.Of(row.Name)
		if !ok {
			if why := c.missing(row.Name); why != nil {
				missing = append(missing, fmt.Sprintf("- %s: not available: %s\n", row.Title, why))
			}
			continue
		}
		cpu := m.CPU()
		ratio, first, allocs := "–", "–", "–"
		if floor, ok := c.Of(t.Floor); ok {
			ratio = three(cpu.Median / floor.CPU().Median)
		}
		if m.First > 0 {
			first = three(float64(m.First) / 1e6)
		}
		if m.Counted {
			allocs = few(m.Allocs().Median / n)
		}
		fmt.Fprintf(b, "| %s | %d | %s | %s | %s | %s | %s | %s | %s |\n", row.Title, len(m.Passes),
			number(cpu.Median/n), number(cpu.Min/n), number(cpu.Max/n), ratio, first, allocs, megabytes(m.PeakRSS))
	}
	b.WriteString("\n" + strings.Join(missing, ""))
	if len(missing) > 0 {
		b.WriteString("\n")
	}
}

func (c *Contest) missing(contestant string) error {
	for _, m := range c.Measurements {
		if m.Contestant == contestant {
			return m.Missing
		}
	}
	return nil
}

// Replace puts text between the two lines of a document that mark its place.
func Replace(document, begin, end, text string) (string, error) {
	before, rest, ok := strings.Cut(document, begin+"\n")
	if !ok {
		return "", fmt.Errorf("no line %q", begin)
	}
	_, after, ok := strings.Cut(rest, end)
	if !ok {
		return "", errors.New("no line " + strconv.Quote(end) + " after " + strconv.Quote(begin))
	}
	return before + begin + "\n" + text + end + after, nil
}

// Number is a whole number with commas between the thousands.
func Number(n int) string { return number(float64(n)) }

func number(v float64) string {
	text := strconv.FormatFloat(v, 'f', 0, 64)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// three is a number with three significant digits at most, and no more than
// two places.
func three(v float64) string {
	switch {
	case v < 9.995:
		return strconv.FormatFloat(v, 'f', 2, 64)
	case v < 99.95:
		return strconv.FormatFloat(v, 'f', 1, 64)
	default:
		return number(v)
	}
}

// few is a number of allocations per socket, where it matters whether there are
// any at all.
func few(v float64) string {
	switch {
	case v < 0.005:
		return "0"
	case v < 10:
		return three(v)
	default:
		return number(v)
	}
}

func megabytes(bytes int64) string {
	if bytes == 0 {
		return "–"
	}
	return number(float64(bytes)/1e6) + " MB"
}
