// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package hold makes the sockets that are measured: connections on loopback,
// held by processes of their own, because a process may have only so many
// descriptors and because their CPU time is nobody's who is measured.
package hold

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Role is the first argument of this program that makes it a holder.
const Role = "hold"

// Plan says what sockets are to be held.
type Plan struct {
	// Sockets is their number: two for each connection.
	Sockets int
	// Processes share them evenly. 0: as few as their limits allow.
	Processes int
	// Namespaces gives each process a network namespace of its own.
	Namespaces bool
	// Clients is the number of addresses that connections come from. 0: one.
	Clients int
}

// spec is one holder's part of a plan.
type spec struct {
	Number      int // from 0
	Connections int
	First       int // number of the first connection
	Clients     int
	Namespace   bool
}

// Holders are processes that hold sockets.
type Holders struct {
	processes []*process
	sockets   int
	next      int // who replaces connections next
}

type process struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *bufio.Reader
	held   int // connections
}

// atOnce is how many holders are started at the same time.
const atOnce = 8

// Start starts the holders of a plan and returns when all sockets are there.
func Start(plan Plan) (*Holders, error) {
	most, err := mostConnections()
	if err != nil {
		return nil, err
	}
	specs, err := split(plan, most)
	if err != nil {
		return nil, err
	}
	h := &Holders{processes: make([]*process, len(specs))}
	errs := make([]error, len(specs))
	var started sync.WaitGroup
	places := make(chan struct{}, atOnce)
	for i, s := range specs {
		h.sockets += 2 * s.Connections
		places <- struct{}{}
		started.Go(func() {
			defer func() { <-places }()
			h.processes[i], errs[i] = start(s)
		})
	}
	started.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

// split shares a plan's connections out.
func split(plan Plan, most int) ([]spec, error) {
	connections := plan.Sockets / 2
	processes := plan.Processes
	if processes == 0 {
		processes = (connections + most - 1) / most
	}
	if connections < processes || connections > processes*most {
		return nil, fmt.Errorf("%d processes cannot hold %d sockets: each holds 2 to %d, by its limit of descriptors (ulimit -n)",
			processes, plan.Sockets, 2*most)
	}
	specs := make([]spec, processes)
	first := 0
	for i := range specs {
		share := connections / processes
		if i < connections%processes {
			share++
		}
		specs[i] = spec{Number: i, Connections: share, First: first, Clients: plan.Clients, Namespace: plan.Namespaces}
		first += share
	}
	return specs, nil
}

// mostConnections is how many connections a process may hold. Go raises the
// soft limit to the hard one by itself.
func mostConnections() (int, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("limit of descriptors: %w", err)
	}
	const others, plenty = 50, 8_000
	return int(min((limit.Max-others)/2, plenty)), nil
}

func start(s spec) (*process, error) {
	text, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("/proc/self/exe", Role, string(text))
	cmd.Stderr = os.Stderr
	if s.Namespace {
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start a process that holds sockets: %w", err)
	}
	p := &process{cmd: cmd, stdin: stdin, stdout: bufio.NewReader(stdout), held: s.Connections}
	if err := p.wait(); err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

func (p *process) wait() error {
	if _, err := p.stdout.ReadString('\n'); err != nil {
		return fmt.Errorf("a process that holds sockets has ended (what it said is above): %w", err)
	}
	return nil
}

func (p *process) close() error {
	return errors.Join(p.stdin.Close(), p.cmd.Wait()) // it ends with its input
}

// Sockets is the number of sockets held, listeners aside.
func (h *Holders) Sockets() int { return h.sockets }

// Listeners is the number of listeners: one for each process.
func (h *Holders) Listeners() int { return len(h.processes) }

// The orders that holders take, each with a number of connections.
const (
	orderReplace = "replace"
	orderSend    = "send"
)

// Replace closes n connections and opens as many.
func (h *Holders) Replace(n int) error { return h.order(orderReplace, n) }

// Send has n connections send something.
func (h *Holders) Send(n int) error { return h.order(orderSend, n) }

func (h *Holders) order(order string, n int) error {
	for n > 0 {
		// One process after another, so that all take their turns however few
		// are replaced at a time.
		p := h.processes[h.next%len(h.processes)]
		h.next++
		share := min(n, max(1, p.held/len(h.processes)))
		n -= share
		if _, err := fmt.Fprintln(p.stdin, order, share); err != nil {
			return fmt.Errorf("ask to %s connections: %w", order, err)
		}
		if err := p.wait(); err != nil {
			return err
		}
	}
	return nil
}

// Close ends the holders and waits until they, and so their sockets, are gone.
func (h *Holders) Close() error {
	var errs []error
	for _, p := range h.processes {
		if p != nil {
			errs = append(errs, p.close())
		}
	}
	return errors.Join(errs...)
}
