// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/capture"
	"github.com/netpulse/tcpstatsreceiver/internal/detect"
	"github.com/netpulse/tcpstatsreceiver/internal/group"
	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/record"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/table"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// Config is what users type under `receivers: tcp_stats:`. A key without a value
// has its default: see Unmarshal.
type Config struct {
	// CollectionInterval is the time from one scrape to the next, minInterval at
	// least. The other intervals are multiples of it.
	CollectionInterval time.Duration `mapstructure:"collection_interval"`
	// InitialDelay is the time from the start to the first scrape.
	InitialDelay time.Duration `mapstructure:"initial_delay"`
	// Timeout cuts a scrape short; what it had is written. 0: no limit. Else it
	// is minTimeout at least.
	Timeout time.Duration `mapstructure:"timeout"`
	// Source is "auto" or the name of the kernel interface to read.
	Source string `mapstructure:"source"`
	// Require refuses sources without these capabilities.
	Require []string `mapstructure:"require"`
	// NetworkNamespaces is "host" for the collector's own network namespace, or
	// "all" for every one that has processes.
	NetworkNamespaces string `mapstructure:"network_namespaces"`

	Process     ProcessConfig     `mapstructure:"process"`
	Filter      FilterConfig      `mapstructure:"filter"`
	Connections ConnectionsConfig `mapstructure:"connections"`
	Groups      GroupsConfig      `mapstructure:"groups"`
	System      SystemConfig      `mapstructure:"system"`
	Peers       PeersConfig       `mapstructure:"peers"`
	Records     RecordsConfig     `mapstructure:"records"`
	recordsSet  bool              // the user has written something there
	Detect      detect.Config     `mapstructure:"detect"`
	Page        PageConfig        `mapstructure:"page"`

	metadata.MetricsBuilderConfig `mapstructure:",squash"`
}

// ProcessConfig says how sockets are joined with processes.
type ProcessConfig struct {
	// Attribution looks for the owners of sockets at all.
	Attribution bool `mapstructure:"attribution"`
	// RefreshInterval is the least time between two walks over all processes.
	RefreshInterval time.Duration `mapstructure:"refresh_interval"`
	// Attributes says where the attributes of processes go: resource or data_point.
	Attributes string `mapstructure:"attributes"`
}

// The places where attributes of processes go.
const (
	onResource  = "resource"
	onDataPoint = "data_point"
)

// ConnectionsConfig says which connections get series of their own.
type ConnectionsConfig struct {
	Enabled bool `mapstructure:"enabled"`
	// Interval is the time between two writings; 0: every scrape.
	Interval time.Duration `mapstructure:"interval"`
	// UnchangedInterval is the longest time between two writings of a connection with
	// which nothing happens; 0: it is written like every other.
	UnchangedInterval time.Duration `mapstructure:"unchanged_interval"`
	// Limit is how many connections are written at most; 0: all.
	Limit int `mapstructure:"limit"`
	// OrderBy says which connections the limit keeps.
	OrderBy string `mapstructure:"order_by"`
	// BatchSize is the number of connections handed to the pipeline at a time.
	BatchSize int `mapstructure:"batch_size"`
	// PeerAttributes are what the points of a connection have of its other end, beside
	// the address.
	PeerAttributes []string `mapstructure:"peer_attributes"`
}

// GroupsConfig says how connections are summed up in groups, whose number is
// bounded.
type GroupsConfig struct {
	Enabled bool `mapstructure:"enabled"`
	// Interval is the time between two collections; 0: every scrape.
	Interval time.Duration `mapstructure:"interval"`
	// By are the attributes that the connections of a group have in common.
	By []string `mapstructure:"by"`
	// Limit is the number of groups; what is beyond falls into one more.
	Limit int `mapstructure:"limit"`
	// PeerPrefix masks the addresses of peers to networks.
	PeerPrefix PeerPrefixConfig `mapstructure:"peer_prefix"`
	// Expiry is how long a group without connections is remembered.
	Expiry time.Duration `mapstructure:"expiry"`
	// Histogram is "explicit" or "exponential".
	Histogram string `mapstructure:"histogram"`
	// RTTBuckets are the bounds of explicit histograms of times.
	RTTBuckets []time.Duration `mapstructure:"rtt_buckets"`
}

// PeerPrefixConfig is how many bits of a peer's address count.
type PeerPrefixConfig struct {
	IPv4 int `mapstructure:"ipv4"`
	IPv6 int `mapstructure:"ipv6"`
}

// The values of Config.NetworkNamespaces.
const (
	hostNamespace = "host"
	allNamespaces = "all"
)

// The values of GroupsConfig.Histogram.
const (
	explicit    = "explicit"
	exponential = "exponential"
)

// SystemConfig says whether and how often the host's own numbers are written:
// counters, sockets per state, listeners.
type SystemConfig struct {
	Enabled bool `mapstructure:"enabled"`
	// Interval is the time between two writings; 0: every scrape.
	Interval time.Duration `mapstructure:"interval"`
}

// RecordsConfig says which records of connections are written, where the receiver
// stands in a logs pipeline.
type RecordsConfig struct {
	// Events are what there is a record of: start, progress, end, failure.
	Events []string `mapstructure:"events"`
	// ProgressInterval is the time between two records of a connection that lives;
	// 0: every scrape.
	ProgressInterval time.Duration `mapstructure:"progress_interval"`
	// Limit is how many records are written in a second; 0: all.
	Limit int `mapstructure:"limit"`
	// MinDuration leaves out connections that lived shorter and ended well.
	MinDuration time.Duration `mapstructure:"min_duration"`
	// CommunityID writes network.community_id.
	CommunityID bool `mapstructure:"community_id"`
}

// createDefaultConfig holds all defaults.
func createDefaultConfig() *Config {
	return &Config{
		CollectionInterval: 10 * time.Second,
		InitialDelay:       time.Second,
		Source:             source.Auto,
		NetworkNamespaces:  hostNamespace,
		Process:            ProcessConfig{Attribution: true, RefreshInterval: 10 * time.Second, Attributes: onResource},
		Connections: ConnectionsConfig{
			Limit:     1000,
			OrderBy:   table.ByIO.String(),
			BatchSize: 500,
		},
		Groups: GroupsConfig{
			Enabled:    true,
			By:         []string{group.ProcessExecutableName.String(), group.Role.String(), group.ServerPort.String()},
			Limit:      2000,
			PeerPrefix: PeerPrefixConfig{IPv4: 32, IPv6: 128},
			Expiry:     5 * time.Minute,
			Histogram:  explicit,
			RTTBuckets: []time.Duration{
				500 * time.Microsecond, time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond,
				50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second,
			},
		},
		System: SystemConfig{Enabled: true},
		Records: RecordsConfig{
			Events:           []string{record.End.String(), record.Failure.String()},
			ProgressInterval: 5 * time.Minute,
			Limit:            1000,
			CommunityID:      true,
		},
		Peers:                PeersConfig{Processes: true, DNS: DNSConfig{Engine: capture.Auto}},
		Detect:               detect.Default(),
		Page:                 createDefaultPageConfig(),
		MetricsBuilderConfig: metadata.NewDefaultMetricsBuilderConfig(),
	}
}

// FilterConfig says which connections are wanted. One that fails a condition
// is neither written nor grouped; the counts of sockets per state do not know of it.
type FilterConfig struct {
	// States are names as in network.connection.state; none: every state.
	States []string `mapstructure:"states"`
	// LocalPorts and PeerPorts are ports (443) and ranges (8000-8999).
	LocalPorts []any `mapstructure:"local_ports"`
	PeerPorts  []any `mapstructure:"peer_ports"`
	// PeerCIDRs are networks of the peers.
	PeerCIDRs PatternsConfig `mapstructure:"peer_cidrs"`
	// Executables are names, or regular expressions between slashes.
	Executables PatternsConfig `mapstructure:"executables"`
}

// PatternsConfig keeps what one of Include matches, or everything if there is
// none, save for what one of Exclude matches.
type PatternsConfig struct {
	Include []string `mapstructure:"include"`
	Exclude []string `mapstructure:"exclude"`
}

func (c *PatternsConfig) any() bool { return len(c.Include)+len(c.Exclude) > 0 }

func (c *Config) require() (source.Capabilities, error) {
	var (
		all  source.Capabilities
		errs []error
	)
	for _, name := range c.Require {
		one, err := source.ParseCapability(name)
		if err != nil {
			errs = append(errs, fmt.Errorf("require: %w", err))
		}
		all |= one
	}
	return all, errors.Join(errs...)
}

func (c *GroupsConfig) by() ([]group.Attribute, error) {
	return attributes("groups::by", c.By, group.ParseAttribute)
}

func (c *ConnectionsConfig) peerAttributes() ([]group.Attribute, error) {
	return attributes("connections::peer_attributes", c.PeerAttributes, group.ParsePeerAttribute)
}

// attributes parses a list without repetitions.
func attributes(key string, names []string, parse func(string) (group.Attribute, error)) ([]group.Attribute, error) {
	var (
		all  []group.Attribute
		errs []error
	)
	for _, name := range names {
		a, err := parse(name)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("%s: %w", key, err))
		case slices.Contains(all, a):
			errs = append(errs, fmt.Errorf("%s: got %q twice, takes each attribute once", key, name))
		}
		all = append(all, a)
	}
	return all, errors.Join(errs...)
}

func (c *RecordsConfig) kinds() (record.Kinds, error) {
	var (
		all  record.Kinds
		errs []error
	)
	for _, name := range c.Events {
		k, err := record.ParseKind(name)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("records::events: %w", err))
		case all.Has(k):
			errs = append(errs, fmt.Errorf("records::events: got %q twice, takes each event once", name))
		}
		all = all.With(k)
	}
	if len(c.Events) == 0 {
		errs = append(errs, errors.New("records::events: got none, takes at least one of start, progress, end, failure"))
	}
	return all, errors.Join(errs...)
}

// rttBounds are the buckets in seconds; none for exponential histograms.
func (c *GroupsConfig) rttBounds() []float64 {
	if c.Histogram == exponential {
		return nil
	}
	bounds := make([]float64, len(c.RTTBuckets))
	for i, bound := range c.RTTBuckets {
		bounds[i] = bound.Seconds()
	}
	return bounds
}

// sockets returns the conditions that a socket meets by itself.
func (c *FilterConfig) sockets() (source.Filter, error) {
	var (
		f    source.Filter
		errs []error
	)
	note := func(key string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("filter::%s: %w", key, err))
		}
	}
	for _, name := range c.States {
		state, err := tcp.ParseState(name)
		note("states", err)
		f.States = append(f.States, state)
	}
	for _, text := range c.LocalPorts {
		ports, err := source.ParsePortRange(fmt.Sprint(text))
		note("local_ports", err)
		f.LocalPorts = append(f.LocalPorts, ports)
	}
	for _, text := range c.PeerPorts {
		ports, err := source.ParsePortRange(fmt.Sprint(text))
		note("peer_ports", err)
		f.PeerPorts = append(f.PeerPorts, ports)
	}
	for _, text := range c.PeerCIDRs.Include {
		prefix, err := source.ParsePrefix(text)
		note("peer_cidrs::include", err)
		f.PeerInclude = append(f.PeerInclude, prefix)
	}
	for _, text := range c.PeerCIDRs.Exclude {
		prefix, err := source.ParsePrefix(text)
		note("peer_cidrs::exclude", err)
		f.PeerExclude = append(f.PeerExclude, prefix)
	}
	return f, errors.Join(errs...)
}

// executables returns the condition on the owner's executable.
func (c *FilterConfig) executables() (executables, error) {
	include, errInclude := parsePatterns("filter::executables::include", c.Executables.Include)
	exclude, errExclude := parsePatterns("filter::executables::exclude", c.Executables.Exclude)
	return executables{include, exclude}, errors.Join(errInclude, errExclude)
}
