// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestJudge checks that each kind of defect is seen.
func TestJudge(t *testing.T) {
	run := func(rss, descriptors func(share float64) float64) []sample {
		var samples []sample
		for i := range 101 {
			samples = append(samples, sample{at: time.Duration(i) * time.Minute, rss: rss(float64(i) / 100), descriptors: descriptors(float64(i) / 100), cpu: time.Duration(i) * time.Second})
		}
		return samples
	}
	flat := func(v float64) func(float64) float64 { return func(float64) float64 { return v } }
	for name, test := range map[string]struct {
		samples       []sample
		made, counted int64
		want          string
	}{
		"good":           {run(flat(100), flat(30)), 1000, 1000, ""},
		"memory grows":   {run(func(share float64) float64 { return 50 + 150*share }, flat(30)), 1000, 1000, "memory grew"},
		"a busy middle":  {run(func(share float64) float64 { return 100 + 100*share*(1-share) }, flat(30)), 1000, 1000, ""},
		"leaks":          {run(flat(100), func(share float64) float64 { return 30 + 20*share }), 1000, 1000, "descriptors were not given back"},
		"lost":           {run(flat(100), flat(30)), 1000, 999, "lost or counted twice"},
		"counted twice":  {run(flat(100), flat(30)), 1000, 1001, "lost or counted twice"},
		"all that's bad": {run(func(share float64) float64 { return 300 * share }, func(share float64) float64 { return 300 * share }), 1, 2, "memory grew"},
	} {
		v := judge(test.samples, test.made, test.counted)
		if v.good() != (test.want == "") || !strings.Contains(v.String(), test.want) {
			t.Errorf("%s:\n%s", name, v)
		}
	}
}

// TestSchedule checks that runs of any length have room before and after what happens.
func TestSchedule(t *testing.T) {
	for _, duration := range []time.Duration{time.Minute, 20 * time.Minute, 2 * time.Hour} {
		events := schedule(duration)
		if len(events) < 4 {
			t.Errorf("%s: only %d events", duration, len(events))
		}
		for i, e := range events {
			if e.at < duration/10 || e.at+e.lasts > duration*9/10 || i > 0 && e.at < events[i-1].at+events[i-1].lasts {
				t.Errorf("%s: %s at %s for %s", duration, e.what, e.at, e.lasts)
			}
		}
	}
}

// TestItEndsBeforeItsTime checks that the samples until then are kept: they show why.
func TestItEndsBeforeItsTime(t *testing.T) {
	c := &collector{command: exec.Command("sleep", "1.5"), ended: make(chan error, 1)}
	if err := c.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { c.ended <- c.command.Wait() }()
	samples, err := observe(t.Context(), time.Minute, c, nil, faults{})
	if err == nil || len(samples) == 0 {
		t.Errorf("%d samples, %v", len(samples), err)
	}
}

// TestRun soaks the distribution for a minute, with everything that happens to it.
func TestRun(t *testing.T) {
	distribution := os.Getenv("OTELCOL_TCPSTATS")
	if distribution == "" {
		t.Skip("skipped: OTELCOL_TCPSTATS names no distribution; make test builds one")
	}
	args := os.Args
	defer func() { os.Args = args }()
	os.Args = []string{"soak", "-collector", distribution, "-for", "1m", "-rate", "100", "-held", "200", "-out", t.TempDir()}
	if err := run(t.Context()); err != nil {
		t.Error(err)
	}
}
