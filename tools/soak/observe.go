// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"time"
)

// A sample is what the collector used at a time since the start.
type sample struct {
	at               time.Duration
	rss, descriptors float64 // MiB, number
	cpu              time.Duration
}

// An event is something that is done to the collector.
type event struct {
	at, lasts time.Duration
	what      string
}

// The events of one round, which is repeated: a twentieth of an hour, or shorter where
// everything is.
var kinds = []string{"reload", "backend hangs", "namespaces", "backend refuses", "backend is away"}

// schedule lays out the events of a run: none in its first tenth, in which memory is
// taken, and none in its last.
func schedule(duration time.Duration) (events []event) {
	gap := min(duration/20, 30*time.Second)
	for i, at := 0, duration/10; at+2*gap < duration*9/10; i, at = i+1, at+2*gap {
		events = append(events, event{at: at, lasts: gap, what: kinds[i%len(kinds)]})
	}
	return events
}

// faults does what events say.
type faults struct {
	sink      *sink
	load      *load
	collector *collector
}

// begin begins an event, and returns what ends it.
func (f faults) begin(what string) (end func() error, err error) {
	nothing := func() error { return nil }
	switch what {
	case "reload":
		resume := f.load.pause()
		defer resume()
		// The last second is collected before.
		time.Sleep(2 * time.Second)
		if err := f.collector.reload(); err != nil {
			return nil, err
		}
		time.Sleep(3 * time.Second)
		return nothing, nil
	case "backend hangs":
		over := f.sink.hang()
		return func() error { over(); return nil }, nil
	case "backend refuses":
		over := f.sink.refuses()
		return func() error { over(); return nil }, nil
	case "backend is away":
		return f.sink.leave(), nil
	case "namespaces":
		if os.Getuid() != 0 {
			return nothing, nil // takes root; the plot shows it empty
		}
		var ends []func()
		for range 5 {
			end, err := namespace()
			if err != nil {
				return nil, err
			}
			ends = append(ends, end)
		}
		return func() error {
			for _, end := range ends {
				end()
			}
			return nil
		}, nil
	}
	return nil, fmt.Errorf("nobody knows how to do %q", what)
}

// observe lets the events happen and samples until the time is over.
func observe(ctx context.Context, duration time.Duration, c *collector, events []event, f faults) (samples []sample, err error) {
	begun := time.Now()
	ticker := time.NewTicker(max(time.Second, duration/600))
	defer ticker.Stop()
	var end func() error
	var until time.Duration
	for {
		now := time.Since(begun)
		rss, descriptors, cpu, err := c.use()
		if err != nil {
			return samples, err
		}
		samples = append(samples, sample{at: now, rss: rss, descriptors: descriptors, cpu: cpu})
		switch {
		case end != nil && now >= until:
			if err := end(); err != nil {
				return samples, err
			}
			end = nil
		case end == nil && len(events) > 0 && now >= events[0].at:
			if end, err = f.begin(events[0].what); err != nil {
				return samples, fmt.Errorf("%s: %w", events[0].what, err)
			}
			until = now + events[0].lasts
			events = events[1:]
		}
		if now >= duration && end == nil {
			return samples, nil
		}
		select {
		case <-ctx.Done():
			return samples, ctx.Err()
		case <-ticker.C:
		}
	}
}
