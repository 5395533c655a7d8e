// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command peers measures what this receiver costs beside others that read the
// TCP sockets of a Linux host: all of them over the same sockets, in one run, in
// turns. `make bench-peers` runs it.
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/netpulse/tcpstatsreceiver/tools/peers/contestant"
	"github.com/netpulse/tcpstatsreceiver/tools/peers/hold"
	"github.com/netpulse/tcpstatsreceiver/tools/peers/report"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("peers: ")
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

// playRole does what this process is there for, if it is not the bench itself:
// the same binary is its holders of sockets and its contestants.
func playRole() (played bool, err error) {
	switch {
	case len(os.Args) > 2 && os.Args[1] == hold.Role:
		return true, hold.Main(os.Args[2], os.Stdin, os.Stdout)
	case len(os.Args) > 3 && os.Args[1] == contestant.Role:
		return true, contestant.Main(os.Args[2], os.Args[3], os.Stdin, os.Stdout)
	}
	return false, nil
}

func run() error {
	if played, err := playRole(); played {
		return err
	}
	b := bench{table: numbers{5_000, 50_000, 190_000}, others: numbers{1_000, 20_000}, scenes: defaultScenes()}
	flag.Var(&b.table, "sockets", "numbers of `sockets` that the tables show, with commas between")
	flag.Var(&b.others, "others", "further numbers of `sockets`, for the plot alone")
	flag.Var(&b.scenes, "scenes", "which of the tables to make: `names` with commas between")
	flag.IntVar(&b.rounds, "rounds", 9, "how often each contestant is measured, 7 or more")
	flag.BoolVar(&b.growth, "growth", true, "measure along the other axes of the plot, too")
	flag.StringVar(&b.root, "root", "../..", "the repository's `folder`")
	flag.BoolVar(&b.update, "update", false, "write the figures into docs/performance.md and tools/peers/results, not to _build/peers")
	flag.Parse()
	if b.rounds < 7 {
		return fmt.Errorf("-rounds: got %d, takes 7 or more: the median of fewer says little", b.rounds)
	}
	if inside, err := ownNamespace(); !inside {
		return err
	}
	return b.run()
}

type bench struct {
	table, others  numbers
	scenes         choice
	rounds         int
	growth, update bool
	root           string
}

// numbers is a flag.
type numbers []int

func (n *numbers) String() string {
	return strings.Trim(strings.Join(strings.Fields(fmt.Sprint([]int(*n))), ","), "[]")
}

func (n *numbers) Set(text string) error {
	*n = nil
	for _, field := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' }) {
		v, err := strconv.Atoi(field)
		if err != nil {
			return err
		}
		*n = append(*n, v)
	}
	return nil
}

func (b *bench) run() error {
	var (
		tables  []report.Table
		growths []report.Growth
	)
	for _, s := range b.scenes {
		table, growth, err := s.measure(b)
		if err != nil {
			return err
		}
		tables = append(tables, table)
		if s.rest == 0 {
			growths = append(growths, growth)
		}
	}
	if b.growth {
		for _, a := range axes(heldSockets) {
			growths = append(growths, a.grow(b.rounds))
		}
	}
	return b.write(tables, growths)
}

// measure holds the contests of a table.
func (s *setting) measure(b *bench) (report.Table, report.Growth, error) {
	table := report.Table{Title: s.title, Rows: rows(), Floor: contestant.Floor}
	growth := report.Growth{Title: "Sockets of the host, " + s.name, Label: "sockets"}
	contestants := contestant.All()
	if s.of != nil {
		contestants = only(s.of)
	}
	numbers := slices.Clone(b.table)
	if s.rest == 0 {
		numbers = append(numbers, b.others...)
	}
	slices.Sort(numbers)
	for _, n := range slices.Compact(numbers) {
		log.Printf("%d sockets, %s", n, s.name)
		c, err := contest(scene{plan: hold.Plan{Sockets: n}, sending: s.sending, rest: s.rest}, contestants, b.rounds)
		if err != nil {
			return table, growth, err
		}
		growth.Points = append(growth.Points, report.Point{At: n, Contest: c})
		if slices.Contains(b.table, n) {
			table.Contests = append(table.Contests, c)
		}
	}
	return table, growth, nil
}

// rows are the contestants as the tables show them.
func rows() (rows []report.Row) {
	for _, c := range contestant.All() {
		rows = append(rows, report.Row{Name: c.Name, Title: c.Title, Gives: c.Gives})
	}
	return rows
}

// The lines of docs/performance.md between which the table is.
const (
	markBegin = "<!-- make bench-peers: begin -->"
	markEnd   = "<!-- make bench-peers: end -->"
)

// write puts the results where they belong.
func (b *bench) write(tables []report.Table, growths []report.Growth) error {
	about, err := machine()
	if err != nil {
		return err
	}
	short, full := about, "# What `make bench-peers` measured\n\n"+about+"\n\n"
	for i := range tables {
		short += "\n\n" + tables[i].Title + ":\n\n" + tables[i].Markdown()
		full += "## " + tables[i].Title + "\n\n" + tables[i].Full()
	}
	full += "## Growth\n\nCPU time of a scrape, medians.\n"
	for i := range growths {
		full += "\n" + growths[i].Markdown(rows())
	}
	fmt.Print(full, "\n", short, "\n")

	folder := filepath.Join(b.root, "_build", "peers")
	if b.update {
		folder = filepath.Join(b.root, "tools", "peers", "results")
		page := filepath.Join(b.root, "docs", "performance.md")
		text, err := os.ReadFile(page)
		if err != nil {
			return err
		}
		updated, err := report.Replace(string(text), markBegin, markEnd, "\n"+short+"\n")
		if err != nil {
			return fmt.Errorf("%s: %w", page, err)
		}
		if err := os.WriteFile(page, []byte(updated), 0o644); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(folder, "peers.md"), []byte(full), 0o644); err != nil {
		return err
	}
	picture, err := os.Create(filepath.Join(folder, "growth.svg"))
	if err != nil {
		return err
	}
	defer picture.Close()
	if err := report.Plot(picture, growths, lines()); err != nil {
		return err
	}
	log.Printf("written to %s", folder)
	return picture.Close()
}
