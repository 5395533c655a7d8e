// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"
	"fmt"
	"log"
	"math"
	"time"

	"github.com/netpulse/tcpstatsreceiver/tools/peers/contestant"
	"github.com/netpulse/tcpstatsreceiver/tools/peers/hold"
	"github.com/netpulse/tcpstatsreceiver/tools/peers/report"
)

// runner is a contestant in the course of a contest.
type runner struct {
	process     *contestant.Process // nil: it is out
	least, most int                 // sockets that it must see
	result      report.Measurement
}

// out takes a contestant out of the contest, which goes on without it.
func (r *runner) out(err error) {
	log.Printf("  not available: %s: %v", r.result.Contestant, err)
	r.result.Missing = err
	if r.process != nil {
		// Why it is out has been said.
		_, _ = r.process.End()
		r.process = nil
	}
}

// scene is what goes on while contestants take turns.
type scene struct {
	plan hold.Plan
	// sending is the share of the connections that send something before each round.
	sending float64
	// rest is how long nobody does anything before each pass.
	rest time.Duration
	// options go to those contestants that take any.
	options map[string]any
}

// contest has the contestants take turns over the same sockets.
func contest(in scene, contestants []contestant.Contestant, rounds int) (report.Contest, error) {
	plan := in.plan
	holders, err := hold.Start(plan)
	if err != nil {
		return report.Contest{}, fmt.Errorf("hold %d sockets: %w", plan.Sockets, err)
	}
	held := holders.Sockets()
	result := report.Contest{Sockets: held}
	// There may be a few others in the same network namespace, and any number in
	// others.
	most := (held + holders.Listeners()) * 51 / 50
	if plan.Namespaces {
		most = math.MaxInt
	}
	runners := begin(contestants, in.options, held, most)
	// One round more: in the first some have not found their caches' sizes.
	for round := range rounds + 1 {
		if err = holders.Replace(max(1, held/200)); err != nil { // 1 % of the connections
			break
		}
		if err = holders.Send(int(in.sending * float64(held/2))); err != nil {
			break
		}
		for i := range runners {
			time.Sleep(in.rest)
			// Who comes after whom changes, for what one leaves in the caches is the
			// next one's.
			runners[(i+round)%len(runners)].run(round > 0)
		}
	}
	for _, r := range runners {
		if r.process != nil {
			var errEnd error
			r.result.PeakRSS, errEnd = r.process.End()
			err = errors.Join(err, errEnd)
		}
		result.Measurements = append(result.Measurements, r.result)
	}
	return result, errors.Join(err, holders.Close())
}

// begin starts the contestants. Each must see so many sockets at least and at
// most.
func begin(contestants []contestant.Contestant, options map[string]any, least, most int) []*runner {
	var runners []*runner
	for _, c := range contestants {
		r := &runner{least: least, most: most, result: report.Measurement{Contestant: c.Name}}
		runners = append(runners, r)
		if c.Most > 0 && least > c.Most {
			r.result.Missing = fmt.Errorf("run up to %s sockets only", report.Number(c.Most))
			continue
		}
		p, err := c.Start(options)
		if err != nil {
			r.out(err)
			continue
		}
		r.process, r.result.First = p, p.First.CPU
		r.check(p.First)
	}
	return runners
}

// check takes a contestant out that does not see the sockets.
func (r *runner) check(u contestant.Usage) {
	if u.Sockets >= 0 && (u.Sockets < r.least || u.Sockets > r.most) {
		r.out(fmt.Errorf("saw %d sockets, of which %d are the bench's", u.Sockets, r.least))
	}
}

// run makes one pass, if the contestant is still there.
func (r *runner) run(measured bool) {
	if r.process == nil {
		return
	}
	u, err := r.process.Pass()
	if err != nil {
		r.out(err)
		return
	}
	if measured {
		r.result.Passes = append(r.result.Passes, report.Pass{CPU: u.CPU, Allocs: u.Allocs})
		r.result.Counted = u.Counted
	}
	r.check(u)
}
