// SPDX-License-Identifier: Apache-2.0

package freebsd

import (
	"bufio"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/netpulse/tcpstatsreceiver/tools/freebsd/job"
)

// complaint is what a kernel with INVARIANTS and WITNESS says when something is
// wrong with it: panic(9), witness(4), malloc(9), uma(9).
var complaint = regexp.MustCompile(`(?i)panic: |fatal trap|double fault|KDB: |lock order reversal|duplicate lock|locks? held|could sleep with|` +
	`sleeping (thread|on)|locked @|recursed on|WITNESS|INVARIANTS|KASSERT|assertion .*failed|held too long|` +
	`after free|duplicate free|leaked|was not empty|redzone|use after`)

// harmless is what FreeBSD 15.1 printed once as a vnet jail went: of the routes of its
// network stack, with which nothing of ours has to do.
var harmless = regexp.MustCompile(`UMA keg \(rtentry\) was not empty`)

// complains reports whether a line is a complaint of the kernel.
func complains(line string) bool { return complaint.MatchString(line) && !harmless.MatchString(line) }

// death is after what there is no further job.
var death = regexp.MustCompile(`^(panic: |Fatal trap|Fatal double fault)`)

// console is a guest's console.
type console struct {
	lines  *bufio.Scanner
	record io.Writer // gets it up to the end of the last job
	over   bool      // there is no further job
	dying  bool      // the kernel has panicked
	hung   *time.Timer
}

// next returns the next line, false at the end.
func (c *console) next(t *testing.T) (job.Line, bool) {
	t.Helper()
	if !c.lines.Scan() {
		if err := c.lines.Err(); err != nil {
			t.Errorf("read the console: %v", err)
		}
		return job.Line{}, false
	}
	line := c.lines.Text()
	switch {
	case c.dying:
	case death.MatchString(line):
		c.dying = true
		c.hung.Reset(dies)
	default:
		c.hung.Reset(hangs)
	}
	// A debug kernel complains about its own unmounting.
	if !c.over {
		if _, err := io.WriteString(c.record, strings.TrimRight(line, "\r")+"\n"); err != nil {
			t.Fatal(err)
		}
	}
	return job.Parse(line), true
}

// follow makes a test of each job and returns their names. What the kernel says
// before the first job and after the last one is not judged: some kernels complain
// about how they boot or unmount.
func (c *console) follow(t *testing.T) (done []string) {
	for {
		line, ok := c.next(t)
		if !ok {
			return done
		}
		switch line.Event {
		case job.Begins:
			done = append(done, line.Job)
			t.Run(line.Job, c.job)
		case job.Failed:
			t.Errorf("%s: %s", line.Job, line.Text)
		case job.Over:
			c.over = true
		case job.Kernel:
			if len(done) > 0 && !c.over && complains(line.Text) {
				t.Errorf("the kernel, between two jobs: %s", line.Text)
			}
		}
	}
}

// job is the test of one job.
func (c *console) job(t *testing.T) {
	var output, kernel []string
	complained, ended := false, false
	for !ended {
		line, ok := c.next(t)
		if !ok {
			t.Error("the guest ended in the middle of it")
			break
		}
		switch line.Event {
		case job.Passed:
			ended = true
		case job.Failed:
			t.Error(line.Text)
			ended = true
		case job.Output:
			output = append(output, line.Text)
			complained = complained || complains(line.Text)
		default:
			kernel = append(kernel, line.Text)
			complained = complained || complains(line.Text)
		}
	}
	if complained {
		t.Error("the kernel complains")
	}
	if t.Failed() {
		t.Logf("the kernel's console meanwhile:\n%s", strings.Join(kernel, "\n"))
		t.Logf("the job's output:\n%s", strings.Join(output, "\n"))
		return
	}
	skips(t, output)
}

// skips makes the tests skipped in the guest such of this test, with the reason.
func skips(t *testing.T, output []string) {
	for _, s := range skipped(output) {
		t.Run(s.test, func(t *testing.T) { t.Skip(s.why) })
	}
}

type skip struct{ test, why string }

var (
	speaks  = regexp.MustCompile(`^=== (?:RUN|CONT|NAME) +(\S+)`)
	verdict = regexp.MustCompile(`^ *--- SKIP: (\S+)`)
	reason  = regexp.MustCompile(`^ +\S+\.go:\d+: `)
)

// skipped finds the tests that were skipped, with what each said last. With
// -test.v that stands after the line that says who speaks, and the verdict of a
// test within another one much later, or it follows the verdict.
func skipped(output []string) (all []skip) {
	said := map[string]string{}
	current := ""
	for i, line := range output {
		if m := speaks.FindStringSubmatch(line); m != nil {
			current = m[1]
		} else if reason.MatchString(line) {
			said[current] = reason.ReplaceAllString(line, "")
		} else if m := verdict.FindStringSubmatch(line); m != nil {
			s := skip{m[1], said[m[1]]}
			if s.why == "" && i+1 < len(output) && reason.MatchString(output[i+1]) {
				s.why = reason.ReplaceAllString(output[i+1], "")
			}
			if s.why == "" {
				s.why = "it does not say why"
			}
			all = append(all, s)
		}
	}
	return all
}

func TestSkipped(t *testing.T) {
	output := []string{
		"=== RUN   TestA",
		"    a_test.go:1: alone",
		"--- SKIP: TestA (0.00s)",
		"=== RUN   TestB",
		"=== RUN   TestB/one",
		"    b_test.go:2: nested",
		"=== RUN   TestB/two",
		"    b_test.go:3: said, not skipped",
		"=== NAME  TestB",
		"    b_test.go:4: the whole says something, too",
		"--- PASS: TestB (0.00s)",
		"    --- SKIP: TestB/one (0.00s)",
		"    --- PASS: TestB/two (0.00s)",
		"--- SKIP: TestC (0.00s)",
		"    c_test.go:5: after the verdict",
		"--- SKIP: TestD (0.00s)",
	}
	want := []skip{{"TestA", "alone"}, {"TestB/one", "nested"}, {"TestC", "after the verdict"}, {"TestD", "it does not say why"}}
	if got := skipped(output); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestConsole(t *testing.T) {
	for _, line := range []string{
		"panic: Lock tcp not exclusively locked @ /usr/src/sys/netinet/tcp_input.c:3",
		"lock order reversal:",
		"acquiring duplicate lock of same type: \"tcpinp\"",
		"malloc(M_WAITOK) of \"64\", forcing M_NOWAIT with the following non-sleepable locks held:",
		"exclusive rw tcpinp (tcpinp) r = 0 (0xfffff80003) locked @ /usr/src/sys/netinet/in_pcb.c:1",
		"Warning: memory type tcpstats leaked memory on destroy (1 allocations, 64 bytes leaked).",
		"Memory modified after free 0xfffff8000(248) val=0 @ 0xfffff8000",
		"Freed UMA keg (tcpstats) was not empty (3 items).  Lost 1 pages of memory.",
		"Fatal trap 12: page fault while in kernel mode",
	} {
		if !complains(line) {
			t.Errorf("not seen as a complaint: %s", line)
		}
	}
	for _, line := range []string{
		"lo0: link state changed to UP",
		"tcpstats: loaded",
		"Freed UMA keg (rtentry) was not empty (3 items).  Lost 1 pages of memory.",
		"",
	} {
		if complains(line) {
			t.Errorf("taken for a complaint: %s", line)
		}
	}
}
