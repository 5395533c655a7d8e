package receiver

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/group"
	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/table"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// Config is what users type under `receivers: tcp_stats:`.
type Config struct {
	// CollectionInterval is the time from one scrape to the next. The other
	// intervals are multiples of it.
	CollectionInterval time.Duration `mapstructure:"collection_interval"`
	// InitialDelay is the time from the start to the first scrape.
	InitialDelay time.Duration `mapstructure:"initial_delay"`
	// Timeout cuts a scrape short; what it had is written. 0: no limit.
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

	metadata.MetricsBuilderConfig `mapstructure:",squash"`
}

// ProcessConfig says how sockets are joined with processes.
type ProcessConfig struct {
	// Attribution looks for the owners of sockets at all.
	Attribution bool `mapstructure:"attribution"`
	// RefreshInterval is the least time between two walks over all processes.
	RefreshInterval time.Duration `mapstructure:"refresh_interval"`
}

// ConnectionsConfig says which connections get series of their own.
type ConnectionsConfig struct {
	Enabled bool `mapstructure:"enabled"`
	// Interval is the time between two writings; 0: every scrape.
	Interval time.Duration `mapstructure:"interval"`
	// Limit is how many connections are written at most; 0: all.
	Limit int `mapstructure:"limit"`
	// OrderBy says which connections the limit keeps.
	OrderBy string `mapstructure:"order_by"`
	// BatchSize is the number of connections handed to the pipeline at a time.
	BatchSize int `mapstructure:"batch_size"`
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

// createDefaultConfig holds all defaults.
func createDefaultConfig() *Config {
	return &Config{
		CollectionInterval: 10 * time.Second,
		InitialDelay:       time.Second,
		Source:             source.Auto,
		NetworkNamespaces:  hostNamespace,
		Process:            ProcessConfig{Attribution: true, RefreshInterval: 10 * time.Second},
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
		System:               SystemConfig{Enabled: true},
		MetricsBuilderConfig: metadata.NewDefaultMetricsBuilderConfig(),
	}
}

// Validate implements confmap.Validator for what concerns several sections;
// each section validates itself.
func (c *Config) Validate() error {
	var errs []error
	if c.CollectionInterval <= 0 {
		errs = append(errs, fmt.Errorf("collection_interval: got %s, takes more than 0s", c.CollectionInterval))
	}
	errs = append(errs,
		notNegative("initial_delay", c.InitialDelay),
		notNegative("timeout", c.Timeout),
		c.multiple("connections::interval", c.Connections.Interval),
		c.multiple("groups::interval", c.Groups.Interval),
		c.multiple("system::interval", c.System.Interval),
	)
	if c.Filter.Executables.any() && !c.Process.Attribution {
		errs = append(errs, errors.New("filter::executables: got conditions while process::attribution is false, takes none then: executables are known by attribution only"))
	}
	if c.NetworkNamespaces != hostNamespace && c.NetworkNamespaces != allNamespaces {
		errs = append(errs, fmt.Errorf("network_namespaces: got %q, takes %s or %s", c.NetworkNamespaces, hostNamespace, allNamespaces))
	}
	if c.NetworkNamespaces == allNamespaces {
		errs = append(errs, c.sourceOfNamespaces())
	}
	require, err := c.require()
	if err != nil {
		errs = append(errs, err)
	} else if err := (source.Choice{Name: c.Source, Require: require}).Check(sources()); err != nil {
		errs = append(errs, fmt.Errorf("%w, on %s", err, runtime.GOOS))
	}
	return oneLine(errs...)
}

// sourceOfNamespaces checks that a source that is asked for by its name can read
// all network namespaces.
func (c *Config) sourceOfNamespaces() error {
	var able []string
	for _, f := range sources() {
		if f.Capabilities.Missing(source.Namespaces) == 0 {
			able = append(able, f.Name)
		}
	}
	if c.Source == source.Auto || slices.Contains(able, c.Source) || !slices.Contains(source.Names(sources()), c.Source) {
		return nil
	}
	return fmt.Errorf("network_namespaces: got %s, which source %s cannot read, takes it with source %s",
		allNamespaces, c.Source, strings.Join(append([]string{source.Auto}, able...), " or "))
}

// multiple checks that an interval falls on scrapes.
func (c *Config) multiple(key string, interval time.Duration) error {
	if err := notNegative(key, interval); err != nil {
		return err
	}
	if c.CollectionInterval > 0 && interval%c.CollectionInterval != 0 {
		return fmt.Errorf("%s: got %s, takes a multiple of collection_interval (%s) or 0s for every scrape", key, interval, c.CollectionInterval)
	}
	return nil
}

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

// Validate implements confmap.Validator.
func (c *ProcessConfig) Validate() error {
	return notNegative("refresh_interval", c.RefreshInterval)
}

// Validate implements confmap.Validator.
func (c *ConnectionsConfig) Validate() error {
	var errs []error
	if c.Limit < 0 {
		errs = append(errs, fmt.Errorf("limit: got %d, takes a number of connections, or 0 for all of them", c.Limit))
	}
	if _, err := table.ParseOrder(c.OrderBy); err != nil {
		errs = append(errs, fmt.Errorf("order_by: %w", err))
	}
	if c.BatchSize < 1 {
		errs = append(errs, fmt.Errorf("batch_size: got %d, takes a number of connections from 1 up", c.BatchSize))
	}
	return oneLine(errs...)
}

// Validate implements confmap.Validator.
func (c *GroupsConfig) Validate() error {
	var errs []error
	if _, err := c.by(); err != nil {
		errs = append(errs, err)
	}
	if c.Limit < 1 {
		errs = append(errs, fmt.Errorf("limit: got %d, takes a number of groups from 1 up", c.Limit))
	}
	if c.PeerPrefix.IPv4 < 0 || c.PeerPrefix.IPv4 > 32 {
		errs = append(errs, fmt.Errorf("peer_prefix::ipv4: got %d, takes a number of bits from 0 to 32", c.PeerPrefix.IPv4))
	}
	if c.PeerPrefix.IPv6 < 0 || c.PeerPrefix.IPv6 > 128 {
		errs = append(errs, fmt.Errorf("peer_prefix::ipv6: got %d, takes a number of bits from 0 to 128", c.PeerPrefix.IPv6))
	}
	errs = append(errs, notNegative("expiry", c.Expiry))
	if c.Histogram != explicit && c.Histogram != exponential {
		errs = append(errs, fmt.Errorf("histogram: got %q, takes %s or %s", c.Histogram, explicit, exponential))
	}
	for i, bound := range c.RTTBuckets {
		if bound <= 0 || i > 0 && bound <= c.RTTBuckets[i-1] {
			errs = append(errs, fmt.Errorf("rtt_buckets: got %s, takes durations above 0s that rise", c.RTTBuckets))
			break
		}
	}
	if len(c.RTTBuckets) == 0 && c.Histogram == explicit {
		errs = append(errs, fmt.Errorf("rtt_buckets: got none, takes at least one with histogram: %s", explicit))
	}
	return oneLine(errs...)
}

func (c *GroupsConfig) by() ([]group.Attribute, error) {
	var (
		all  []group.Attribute
		errs []error
	)
	for _, name := range c.By {
		a, err := group.ParseAttribute(name)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("by: %w", err))
		case slices.Contains(all, a):
			errs = append(errs, fmt.Errorf("by: got %q twice, takes each attribute once", name))
		}
		all = append(all, a)
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

// oneLine makes one error of several: the library puts the section's name
// before the first line only.
func oneLine(errs ...error) error {
	if err := errors.Join(errs...); err != nil {
		return errors.New(strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return nil
}

func notNegative(key string, d time.Duration) error {
	if d < 0 {
		return fmt.Errorf("%s: got %s, takes 0s or more", key, d)
	}
	return nil
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

// Validate implements confmap.Validator.
func (c *FilterConfig) Validate() error {
	_, errSockets := c.sockets()
	_, errExecutables := c.executables()
	return oneLine(errSockets, errExecutables)
}

// sockets returns the conditions that a socket meets by itself.
func (c *FilterConfig) sockets() (source.Filter, error) {
	var (
		f    source.Filter
		errs []error
	)
	note := func(key string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", key, err))
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
	include, errInclude := parsePatterns("executables::include", c.Executables.Include)
	exclude, errExclude := parsePatterns("executables::exclude", c.Executables.Exclude)
	return executables{include, exclude}, errors.Join(errInclude, errExclude)
}
