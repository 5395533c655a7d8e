// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command soak runs the built distribution for a while under everything that happens to
// one in production: connections that come and go, network namespaces that come and go,
// reloads, and a backend that hangs, refuses and is away. It samples memory and
// descriptors, draws them, and gives a verdict. `make soak` runs it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "namespace" {
		// A child in a network namespace of its own.
		if err := inNamespace(); err != nil {
			fmt.Fprintln(os.Stderr, "soak: in a namespace:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	path := flag.String("collector", "../../_build/otelcol-tcpstats", "the distribution")
	duration := flag.Duration("for", 20*time.Minute, "how long it runs")
	rate := flag.Int("rate", 500, "connections a second")
	held := flag.Int("held", 2000, "connections that stay open")
	out := flag.String("out", "../../_build/soak", "where the plot and the report are written")
	flag.Parse()
	if *duration < time.Minute {
		return fmt.Errorf("-for %s: it takes a minute at least to tell growth from the start", *duration)
	}
	if err := os.MkdirAll(*out, 0o755); err != nil {
		return err
	}

	sink, err := listen()
	if err != nil {
		return err
	}
	defer sink.close()
	load, err := newLoad(*rate, *held)
	if err != nil {
		return err
	}
	collector, err := start(*path, *out, sink.endpoint, load.port())
	if err != nil {
		return err
	}
	defer collector.kill()
	if err := sink.first(ctx, 30*time.Second); err != nil {
		return fmt.Errorf("%w; the collector's log is %s", err, collector.log)
	}
	load.run()

	events := schedule(*duration)
	samples, err := observe(ctx, *duration, collector, events, faults{sink: sink, load: load, collector: collector})
	load.stop()
	plot := filepath.Join(*out, "soak.svg")
	if err != nil {
		// What there was until then is what shows why.
		if len(samples) > 1 {
			err = errors.Join(fmt.Errorf("%w; the plot until then is %s", err, plot), drawing(plot, samples, events))
		}
		return err
	}
	// The last collection is made when it stops.
	time.Sleep(2 * time.Second)
	if err := collector.stop(); err != nil {
		return err
	}

	verdict := judge(samples, load.made(), sink.closes(load.port()))
	if err := drawing(plot, samples, events); err != nil {
		return err
	}
	report := verdict.String()
	fmt.Print(report)
	if err := os.WriteFile(filepath.Join(*out, "soak.md"), []byte(report), 0o644); err != nil {
		return err
	}
	if !verdict.good() {
		return errors.New("the verdict is bad; the plot is " + plot)
	}
	return nil
}
