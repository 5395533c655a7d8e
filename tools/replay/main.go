// SPDX-License-Identifier: Apache-2.0

// Command replay reads Zeek's conn.log and dns.log as events, and prints what the
// detectors of internal/detect find in them, one JSON object a line:
//
//	go run ./tools/replay -conn conn.log [-dns dns.log] [-config detect.yaml] [-local 192.168.1.0/24]
//
// Logs are TSV or JSON, compressed by gzip or not. The same logs give the same
// findings. Where conn.log has labels, as those of the Stratosphere Laboratory, a score
// comes last, on standard error.
//
// Connections are replayed at the time they ended. Those between two hosts that are not
// local are left out; those of UDP and ICMP too, which the receiver does not see.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"

	"github.com/netpulse/tcpstatsreceiver/internal/detect"
)

// files is a flag that may be given more than once.
type files []string

func (f *files) String() string { return strings.Join(*f, ",") }

func (f *files) Set(name string) error {
	*f = append(*f, name)
	return nil
}

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "replay:", err)
		}
		os.Exit(1)
	}
}

// options are what the command line says.
type options struct {
	conns, queries files
	config         string
	local          []netip.Prefix
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("replay", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Var(&o.conns, "conn", "a `file` of Zeek's conn.log; may be given more than once")
	flags.Var(&o.queries, "dns", "a `file` of Zeek's dns.log; may be given more than once")
	flags.StringVar(&o.config, "config", "", "a `file` with the section detect of the receiver's configuration; default: all detectors, with their defaults")
	local := flags.String("local", "", "`networks` whose addresses are this host's, separated by commas; default: what the log says (local_orig, local_resp), else private addresses")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("got %q, takes only flags: see -help", flags.Args())
	}
	if len(o.conns) == 0 && len(o.queries) == 0 {
		return o, errors.New("no log is named: give -conn conn.log, -dns dns.log, or both")
	}
	for _, text := range strings.Split(*local, ",") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		prefix, err := netip.ParsePrefix(text)
		if addr, errAddr := netip.ParseAddr(text); errAddr == nil {
			prefix, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		if err != nil {
			return o, fmt.Errorf("-local: got %q, takes a network such as 192.168.1.0/24 or an address", text)
		}
		o.local = append(o.local, prefix.Masked())
	}
	return o, nil
}

func run(args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	cfg, err := loadConfig(o.config)
	if err != nil {
		return err
	}
	rec := newRecording(o.local)
	for _, name := range o.conns {
		if err := readLog(name, rec.conn); err != nil {
			return err
		}
	}
	for _, name := range o.queries {
		if err := readLog(name, rec.query); err != nil {
			return err
		}
	}
	out := bufio.NewWriter(stdout)
	lines := json.NewEncoder(out)
	lines.SetEscapeHTML(false)
	judge := newJudge(rec)
	var failed error
	stats, err := rec.play(cfg, func(f *finding) {
		judge.take(f)
		if err := lines.Encode(f); err != nil && failed == nil {
			failed = fmt.Errorf("write findings: %w", err)
		}
	})
	if err := errors.Join(err, failed, out.Flush()); err != nil {
		return err
	}
	if stats.Evicted > 0 {
		fmt.Fprintf(stderr, "replay: tables were full: %d entries were given up\n", stats.Evicted)
	}
	if rec.labelled {
		score, err := json.Marshal(judge.score())
		if err != nil {
			return err
		}
		fmt.Fprintf(stderr, "%s\n", score)
	}
	return nil
}

// all returns the defaults with everything enabled.
func all() detect.Config {
	cfg := detect.Default()
	cfg.Enabled = detect.Names()
	return cfg
}
