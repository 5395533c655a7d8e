// SPDX-License-Identifier: Apache-2.0

//go:build linux

package contestant

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"go.opentelemetry.io/collector/confmap"
)

// Role is the first argument of this program that makes it a contestant; its
// name and its options follow.
const Role = "contestant"

// The orders that a contestant's process takes, one to a line, each answered by
// a line: what it took since the answer before.
const (
	orderPass = "pass"
	orderEnd  = "end" // the answer has the memory, too
)

// Usage is what a contestant took for a pass.
type Usage struct {
	// CPU is all that its process took since the pass before, or, for the first,
	// since it started.
	CPU     time.Duration
	Allocs  uint64
	Counted bool // Allocs are known
	Sockets int  // seen; negative: not known
}

// reply is an answer. The first comes by itself, after a pass that is not
// measured.
type reply struct {
	Usage
	Error   string
	PeakRSS int64
}

// Main is the main function of a contestant's process.
func Main(name, options string, in io.Reader, out io.Writer) error {
	answers := json.NewEncoder(out)
	c, err := byName(name)
	if err != nil {
		return err
	}
	// JSON is YAML, and there whole numbers are no fractions.
	var keys *confmap.Conf
	retrieved, err := confmap.NewRetrievedFromYAML([]byte(options))
	if err == nil {
		keys, err = retrieved.AsConf()
	}
	if err != nil {
		return fmt.Errorf("options of %s: %w", name, err)
	}
	r, err := c.start(keys.ToStringMap())
	if err != nil {
		return answers.Encode(reply{Error: err.Error()})
	}
	s := server{reader: r, usage: newOwn()}
	if u, ok := r.(usage); ok {
		s.usage = u
	}
	err = s.serve(bufio.NewScanner(in), answers)
	return errors.Join(err, r.close())
}

type server struct {
	reader reader
	usage  usage
	cpu    time.Duration // as of the last answer
	allocs uint64
}

func (s *server) serve(in *bufio.Scanner, answers *json.Encoder) error {
	// Even this answer has what the start took: it is the first scrape's.
	if err := answers.Encode(s.took(s.reader.first())); err != nil {
		return err
	}
	for in.Scan() {
		var answer reply
		switch order := in.Text(); order {
		case orderPass:
			answer = s.took(s.reader.pass())
		case orderEnd:
			peak, err := s.usage.peakRSS()
			if answer.PeakRSS = peak; err != nil {
				answer.Error = err.Error()
			}
		default:
			return fmt.Errorf("got order %q, takes %s, %s", order, orderPass, orderEnd)
		}
		if err := answers.Encode(answer); err != nil {
			return err
		}
	}
	return in.Err()
}

func (s *server) took(sockets int, err error) reply {
	if err != nil {
		return reply{Error: err.Error()}
	}
	cpu := s.usage.cpuTime()
	allocs, counted := s.usage.allocations()
	answer := Usage{CPU: cpu - s.cpu, Allocs: allocs - s.allocs, Counted: counted, Sockets: sockets}
	s.cpu, s.allocs = cpu, allocs
	return reply{Usage: answer}
}

// Process is a contestant at work.
type Process struct {
	name    string
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	answers *json.Decoder
	First   Usage // of the pass that is not measured
}

// patience bounds each pass: the slowest takes seconds.
const patience = 3 * time.Minute

// Start starts a contestant and waits for its first pass.
func (c *Contestant) Start(options map[string]any) (*Process, error) {
	if options == nil || !c.Receiver {
		options = map[string]any{}
	}
	text, err := json.Marshal(options)
	if err != nil {
		return nil, err
	}
	p := &Process{name: c.Name, cmd: exec.Command("/proc/self/exe", Role, c.Name, string(text))}
	p.cmd.Stderr = os.Stderr
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.answers = json.NewDecoder(stdout)
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Name, err)
	}
	first, err := p.answer()
	if err != nil {
		// Its exit status says no more than that.
		_ = p.stdin.Close()
		_ = p.cmd.Wait()
		return nil, err
	}
	p.First = first.Usage
	return p, nil
}

// Pass makes one pass.
func (p *Process) Pass() (Usage, error) {
	answer, err := p.order(orderPass)
	return answer.Usage, err
}

// End ends the process and returns its largest resident set, in bytes.
func (p *Process) End() (peakRSS int64, err error) {
	answer, err := p.order(orderEnd)
	return answer.PeakRSS, errors.Join(err, p.stdin.Close(), p.cmd.Wait())
}

func (p *Process) order(order string) (reply, error) {
	if _, err := fmt.Fprintln(p.stdin, order); err != nil {
		return reply{}, fmt.Errorf("%s: %w", p.name, err)
	}
	return p.answer()
}

func (p *Process) answer() (answer reply, err error) {
	late := time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() })
	defer late.Stop()
	if err := p.answers.Decode(&answer); err != nil {
		return answer, fmt.Errorf("%s has not answered within %s, or has ended: %w", p.name, patience, err)
	}
	if answer.Error != "" {
		return answer, errors.New(strings.ReplaceAll(answer.Error, "\n", "; "))
	}
	return answer, nil
}
