// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"
)

// The names of detectors, values of Config.Enabled.
const (
	Scan        = "scan"
	Beacon      = "beacon"
	DNSTunnel   = "dns_tunnel"
	Egress      = "egress"
	EgressDrift = "egress_drift"
	Listener    = "listener"
	Stall       = "stall"
	Saturation  = "saturation"
)

// Names are the names of all detectors.
func Names() []string {
	return []string{Scan, Beacon, DNSTunnel, Egress, EgressDrift, Listener, Stall, Saturation}
}

// Config is the section `detect` of the receiver's configuration.
type Config struct {
	// Enabled are the detectors that run. None: nothing is detected.
	Enabled []string `mapstructure:"enabled"`
	// Ignore leaves out peers and executables.
	Ignore IgnoreConfig `mapstructure:"ignore"`
	// Suppress is how long nothing more is reported of the same rule and subject.
	Suppress time.Duration `mapstructure:"suppress"`

	Scan        ScanConfig        `mapstructure:"scan"`
	Beacon      BeaconConfig      `mapstructure:"beacon"`
	DNSTunnel   DNSTunnelConfig   `mapstructure:"dns_tunnel"`
	Egress      EgressConfig      `mapstructure:"egress"`
	EgressDrift EgressDriftConfig `mapstructure:"egress_drift"`
	Listener    ListenerConfig    `mapstructure:"listener"`
	Stall       StallConfig       `mapstructure:"stall"`
	Saturation  SaturationConfig  `mapstructure:"saturation"`
}

// IgnoreConfig says what no finding is about.
type IgnoreConfig struct {
	// PeerCIDRs are networks; connections with them are not looked at.
	PeerCIDRs []string `mapstructure:"peer_cidrs"`
	// Executables are names, or regular expressions between slashes.
	Executables []string `mapstructure:"executables"`
}

// ScanConfig is for scans in both directions.
type ScanConfig struct {
	// Hosts is how many hosts make a scan of one port, Ports how many ports make a
	// scan of one host.
	Hosts int `mapstructure:"hosts"`
	Ports int `mapstructure:"ports"`
	// Window is the time in which a scan has to try them, SlowWindow the same for
	// slow scans; 0: those are not looked for.
	Window     time.Duration `mapstructure:"window"`
	SlowWindow time.Duration `mapstructure:"slow_window"`
}

// BeaconConfig is for connections home.
type BeaconConfig struct {
	// Connections is how many are needed, at different times; maxBeats at most.
	Connections int `mapstructure:"connections"`
	// Score is what makes a beacon, from 0 to 1.
	Score float64 `mapstructure:"score"`
	// MinDuration is the least time from the first connection to the last.
	MinDuration time.Duration `mapstructure:"min_duration"`
	// PrivatePeers looks at peers with private addresses too.
	PrivatePeers bool `mapstructure:"private_peers"`
}

// DNSTunnelConfig is for names that carry data.
type DNSTunnelConfig struct {
	// Subdomains is how many different ones of a domain there must be more than.
	Subdomains int           `mapstructure:"subdomains"`
	Window     time.Duration `mapstructure:"window"`
	// Length is the mean length, in bytes, from which names below a domain are long.
	Length int `mapstructure:"length"`
}

// EgressConfig is for more bytes out than ever.
type EgressConfig struct {
	// Factor is how many times the hourly median it must be, Bytes the least number
	// of bytes in an hour.
	Factor int `mapstructure:"factor"`
	Bytes  int `mapstructure:"bytes"`
	// Learn is how long a baseline is learned before anything is reported.
	Learn time.Duration `mapstructure:"learn"`
}

// EgressDriftConfig is for programs that talk to somewhere new.
type EgressDriftConfig struct {
	Learn time.Duration `mapstructure:"learn"`
	// Destinations is how many a program may have learned to be looked at: one that
	// has more talks to everywhere. maxDestinations at most.
	Destinations int `mapstructure:"destinations"`
}

// ListenerConfig is for new listening sockets.
type ListenerConfig struct {
	// Learn is how long after the start all listeners are taken as known.
	Learn time.Duration `mapstructure:"learn"`
	// Memory is how long one that has gone is remembered.
	Memory time.Duration `mapstructure:"memory"`
}

// StallConfig is for connections that stand still.
type StallConfig struct {
	// Scrapes is for how many scrapes it must last.
	Scrapes int `mapstructure:"scrapes"`
	// Retransmits is the share of segments, from 0 to 1.
	Retransmits float64 `mapstructure:"retransmits"`
	// RTTFactor is how many times its usual round-trip time a network must have.
	RTTFactor float64 `mapstructure:"rtt_factor"`
}

// SaturationConfig is for resources that run out.
type SaturationConfig struct {
	// Usage is the share of a limit, from 0 to 1.
	Usage float64 `mapstructure:"usage"`
	// CloseWait is how many connections of one program in CLOSE_WAIT are too many.
	CloseWait int `mapstructure:"close_wait"`
	// LostAnswers is the share of queries that a resolver leaves unanswered, and of
	// connections through a gateway that lose segments, from 0 to 1.
	LostAnswers float64 `mapstructure:"lost_answers"`
}

// Default returns the defaults. Nothing is enabled.
func Default() Config {
	return Config{
		Suppress:    time.Hour,
		Scan:        ScanConfig{Hosts: 25, Ports: 15, Window: 5 * time.Minute, SlowWindow: 24 * time.Hour},
		Beacon:      BeaconConfig{Connections: 20, Score: 0.8, MinDuration: 5 * time.Minute},
		DNSTunnel:   DNSTunnelConfig{Subdomains: 100, Window: 24 * time.Hour, Length: 24},
		Egress:      EgressConfig{Factor: 10, Bytes: 100_000_000, Learn: 24 * time.Hour},
		EgressDrift: EgressDriftConfig{Learn: 24 * time.Hour, Destinations: 32},
		Listener:    ListenerConfig{Learn: time.Hour, Memory: 24 * time.Hour},
		Stall:       StallConfig{Scrapes: 3, Retransmits: 0.05, RTTFactor: 3},
		Saturation:  SaturationConfig{Usage: 0.8, CloseWait: 100, LostAnswers: 0.5},
	}
}

// Check returns an error for each key that has a value it does not take. Keys are
// named from at, such as detect.
func (c *Config) Check(at string) error {
	var errs []error
	bad := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s::%s: "+format, append([]any{at, key}, args...)...))
	}
	for i, name := range c.Enabled {
		switch {
		case !slices.Contains(Names(), name):
			bad("enabled", "got %q, takes any of %s", name, strings.Join(Names(), ", "))
		case slices.Contains(c.Enabled[:i], name):
			bad("enabled", "got %q twice, takes each detector once", name)
		}
	}
	if _, err := parsePrefixes(c.Ignore.PeerCIDRs); err != nil {
		bad("ignore::peer_cidrs", "%w", err)
	}
	if _, err := parsePatterns(c.Ignore.Executables); err != nil {
		bad("ignore::executables", "%w", err)
	}
	atLeast := func(key string, got, least int) {
		if got < least {
			bad(key, "got %d, takes a number from %d up", got, least)
		}
	}
	between := func(key string, got, least, most int) {
		if got < least || got > most {
			bad(key, "got %d, takes a number from %d to %d", got, least, most)
		}
	}
	share := func(key string, got float64) {
		if !(got > 0 && got <= 1) {
			bad(key, "got %g, takes a number above 0 and up to 1", got)
		}
	}
	positive := func(key string, got time.Duration) {
		if got <= 0 {
			bad(key, "got %s, takes a duration above 0s", got)
		}
	}
	notNegative := func(key string, got time.Duration) {
		if got < 0 {
			bad(key, "got %s, takes 0s or more", got)
		}
	}
	notNegative("suppress", c.Suppress)
	between("scan::hosts", c.Scan.Hosts, 2, maxTried)
	between("scan::ports", c.Scan.Ports, 2, maxTried)
	positive("scan::window", c.Scan.Window)
	notNegative("scan::slow_window", c.Scan.SlowWindow)
	between("beacon::connections", c.Beacon.Connections, minBeats, maxBeats)
	share("beacon::score", c.Beacon.Score)
	notNegative("beacon::min_duration", c.Beacon.MinDuration)
	between("dns_tunnel::subdomains", c.DNSTunnel.Subdomains, 10, maxSubdomains)
	positive("dns_tunnel::window", c.DNSTunnel.Window)
	atLeast("dns_tunnel::length", c.DNSTunnel.Length, 1)
	atLeast("egress::factor", c.Egress.Factor, 2)
	atLeast("egress::bytes", c.Egress.Bytes, 1)
	notNegative("egress::learn", c.Egress.Learn)
	notNegative("egress_drift::learn", c.EgressDrift.Learn)
	between("egress_drift::destinations", c.EgressDrift.Destinations, 1, maxDestinations)
	notNegative("listener::learn", c.Listener.Learn)
	positive("listener::memory", c.Listener.Memory)
	atLeast("stall::scrapes", c.Stall.Scrapes, 1)
	share("stall::retransmits", c.Stall.Retransmits)
	if !(c.Stall.RTTFactor > 1) {
		bad("stall::rtt_factor", "got %g, takes a number above 1", c.Stall.RTTFactor)
	}
	share("saturation::usage", c.Saturation.Usage)
	atLeast("saturation::close_wait", c.Saturation.CloseWait, 1)
	share("saturation::lost_answers", c.Saturation.LostAnswers)
	return errors.Join(errs...)
}

func parsePrefixes(texts []string) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, text := range texts {
		prefix, err := netip.ParsePrefix(text)
		if addr, errAddr := netip.ParseAddr(text); errAddr == nil {
			prefix, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		if err != nil {
			return nil, fmt.Errorf("got %q, takes a network such as 10.0.0.0/8 or an address", text)
		}
		all = append(all, prefix.Masked())
	}
	return all, nil
}

// patterns are names and regular expressions.
type patterns struct {
	names       []string
	expressions []*regexp.Regexp
}

func parsePatterns(texts []string) (patterns, error) {
	var p patterns
	for _, text := range texts {
		inner, isExpression := strings.CutPrefix(text, "/")
		switch {
		case text == "":
			return p, errors.New(`got "", takes a name, or a regular expression between slashes`)
		case !isExpression:
			p.names = append(p.names, text)
		case !strings.HasSuffix(inner, "/"):
			return p, fmt.Errorf("got %q, takes a regular expression between two slashes", text)
		default:
			re, err := regexp.Compile(strings.TrimSuffix(inner, "/"))
			if err != nil {
				return p, fmt.Errorf("got %q, takes a regular expression between slashes: %w", text, err)
			}
			p.expressions = append(p.expressions, re)
		}
	}
	return p, nil
}

func (p *patterns) match(name string) bool {
	return slices.Contains(p.names, name) || slices.ContainsFunc(p.expressions, func(re *regexp.Regexp) bool { return re.MatchString(name) })
}
