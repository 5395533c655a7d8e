// SPDX-License-Identifier: Apache-2.0

// Package job is what the host and the guest's init have in common: the list of
// jobs, and the lines on the console by which init tells what became of each.
package job

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// List is where init finds its jobs, a JSON array of [Job].
const List = "/etc/jobs.json"

// Job is one command that init runs.
type Job struct {
	Name  string // one word
	Dir   string // where it runs
	Args  []string
	Env   []string
	UID   int           // and the group of the same number
	Limit time.Duration // of its time
}

// Init runs a job that is done by init's own binary, such as loading a module.
const Init = "/sbin/init"

// What stands at the start of each of init's own lines, and of each line of the
// output of a job. All else on the console is the kernel's.
const (
	own    = "init: "
	output = "| "
)

// Event is what a line of the console is.
type Event int

// The events.
const (
	Kernel Event = iota // a line of the kernel's
	Output              // a line of the output of the job
	Begins              // a job begins
	Passed              // a job has ended well
	Failed              // a job has ended badly
	Over                // there is no further job
)

// Line is a line of the console, understood.
type Line struct {
	Event Event
	Job   string // of Begins, Passed and Failed
	Text  string // of Kernel and Output: the line; of Failed: why
}

var events = map[string]Event{"begins": Begins, "passed": Passed, "failed": Failed}

var ofJob = regexp.MustCompile(`^` + own + `(\S+) (begins|passed|failed)(?:: (.*))?$`)

// Parse understands a line of the console.
func Parse(line string) Line {
	line = strings.TrimRight(line, "\r\n")
	if text, ok := strings.CutPrefix(line, output); ok {
		return Line{Event: Output, Text: text}
	}
	if m := ofJob.FindStringSubmatch(line); m != nil {
		return Line{Event: events[m[2]], Job: m[1], Text: m[3]}
	}
	if line == own+"over" {
		return Line{Event: Over}
	}
	return Line{Event: Kernel, Text: line}
}

// Says formats init's line on an event of a job.
func Says(name, event, why string) string {
	if why != "" {
		why = ": " + strings.ReplaceAll(why, "\n", " ")
	}
	return fmt.Sprintf("%s%s %s%s\n", own, name, event, why)
}

// SaysOver is init's last line.
const SaysOver = own + "over\n"

// Indent is a line of a job's output as init passes it on.
func Indent(line string) string { return output + line + "\n" }
