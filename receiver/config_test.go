// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"

	"github.com/netpulse/tcpstatsreceiver/internal/detect"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// load unmarshals one section of testdata/config.yaml over the defaults.
func load(t *testing.T, section string) *Config {
	t.Helper()
	all, err := confmaptest.LoadConf(filepath.Join("testdata", "config.yaml"))
	require.NoError(t, err)
	sub, err := all.Sub(section)
	require.NoError(t, err)
	cfg := createDefaultConfig()
	require.NoError(t, sub.Unmarshal(cfg))
	return cfg
}

func TestDefaults(t *testing.T) {
	cfg := load(t, "tcp_stats")
	assert.Equal(t, createDefaultConfig(), cfg)
	assert.NoError(t, confmap.Validate(cfg))
}

func TestEveryOption(t *testing.T) {
	cfg := load(t, "tcp_stats/every")
	if runtime.GOOS == "linux" {
		require.NoError(t, confmap.Validate(cfg))
	}
	want := createDefaultConfig()
	want.CollectionInterval = 5 * time.Second
	want.InitialDelay = 0
	want.Timeout = 2 * time.Second
	want.Source = "sock_diag"
	want.Require = []string{"rtt", "bytes"}
	want.Process.RefreshInterval, want.Process.Attributes = 30*time.Second, "data_point"
	want.Filter = FilterConfig{
		States:      []string{"established", "close_wait"},
		LocalPorts:  []any{443, "8000-8999"},
		PeerPorts:   []any{"1024-65535"},
		PeerCIDRs:   PatternsConfig{Include: []string{"10.0.0.0/8", "2001:db8::/32"}, Exclude: []string{"10.9.9.9"}},
		Executables: PatternsConfig{Include: []string{"nginx", "/^python3/"}, Exclude: []string{"/test$/"}},
	}
	want.Connections = ConnectionsConfig{Enabled: true, Interval: 15 * time.Second, UnchangedInterval: time.Minute, Limit: 50, OrderBy: "rtt", BatchSize: 10, PeerAttributes: []string{"server.address", "service.peer.name"}}
	want.Groups = GroupsConfig{
		Interval:   30 * time.Second,
		By:         []string{"process.owner", "tcp.role", "network.peer.address"},
		Limit:      10,
		PeerPrefix: PeerPrefixConfig{IPv4: 24, IPv6: 48},
		Expiry:     time.Minute,
		Histogram:  "exponential",
		RTTBuckets: []time.Duration{time.Millisecond, 10 * time.Millisecond},
	}
	want.System = SystemConfig{Interval: 60 * time.Second}
	want.Peers = PeersConfig{
		Services: []ServiceConfig{{CIDR: "10.20.0.0/16", Port: 5432, Name: "orders-db"}, {CIDR: "10.0.0.0/8", Name: "internal"}},
		DNS:      DNSConfig{Enabled: true, Engine: "auto", QuestionName: true, Require: []string{"direction"}},
		NAT:      true,
		MMDB:     []string{"/var/lib/GeoIP/country.mmdb"},
	}
	want.Records = RecordsConfig{Events: []string{"start", "progress", "end"}, ProgressInterval: time.Minute, Limit: 5, MinDuration: 2 * time.Second}
	want.recordsSet = true
	want.Detect = detect.Config{
		Enabled:  []string{"scan", "saturation"},
		Ignore:   detect.IgnoreConfig{PeerCIDRs: []string{"10.0.0.0/8"}, Executables: []string{"nmap"}},
		Suppress: 2 * time.Hour,
		Scan:     detect.ScanConfig{Hosts: 30, Ports: 20, Window: 10 * time.Minute, SlowWindow: 12 * time.Hour},
		Beacon:   detect.BeaconConfig{Connections: 30, Score: 0.9, MinDuration: 10 * time.Minute, PrivatePeers: true},
		DNSTunnel: detect.DNSTunnelConfig{
			Subdomains: 200, Window: 12 * time.Hour, Length: 30,
		},
		Egress:      detect.EgressConfig{Factor: 20, Bytes: 1_000_000, Learn: 48 * time.Hour},
		EgressDrift: detect.EgressDriftConfig{Learn: 48 * time.Hour, Destinations: 16},
		Listener:    detect.ListenerConfig{Learn: 2 * time.Hour, Memory: 48 * time.Hour},
		Stall:       detect.StallConfig{Scrapes: 5, Retransmits: 0.1, RTTFactor: 4},
		Saturation:  detect.SaturationConfig{Usage: 0.9, CloseWait: 200, LostAnswers: 0.25},
	}
	want.Page.Endpoint, want.Page.Transport, want.Page.History = "/run/tcpstats/page.sock", "unix", time.Hour
	require.True(t, cfg.Page.TLS.HasValue())
	assert.Equal(t, "/etc/ssl/page.crt", cfg.Page.TLS.Get().CertFile)
	want.Page.TLS = cfg.Page.TLS
	require.True(t, cfg.Page.Auth.HasValue())
	assert.Equal(t, "basicauth", cfg.Page.Auth.Get().AuthenticatorID.String())
	want.Page.Auth = cfg.Page.Auth
	want.Metrics.TCPConnectionRtt.Enabled = false
	want.Metrics.SystemNetworkTCPOrphanCount.Enabled = true
	want.ResourceAttributes.ProcessPid.Enabled = false

	filter, err := cfg.Filter.sockets()
	require.NoError(t, err)
	assert.Equal(t, []tcp.State{tcp.Established, tcp.CloseWait}, filter.States)
	assert.Equal(t, []source.PortRange{{First: 443, Last: 443}, {First: 8000, Last: 8999}}, filter.LocalPorts)
	assert.Len(t, filter.PeerInclude, 2)

	// Unmarshalling notes which of the generated settings the user made.
	assert.Equal(t, want.Metrics.TCPConnectionRtt.Enabled, cfg.Metrics.TCPConnectionRtt.Enabled)
	assert.Equal(t, want.Metrics.SystemNetworkTCPOrphanCount.Enabled, cfg.Metrics.SystemNetworkTCPOrphanCount.Enabled)
	assert.Equal(t, want.ResourceAttributes.ProcessPid.Enabled, cfg.ResourceAttributes.ProcessPid.Enabled)
	want.MetricsBuilderConfig = cfg.MetricsBuilderConfig
	assert.Equal(t, want, cfg)
}

func TestBadConfigurations(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*Config)
		err    string
	}{
		"interval":       {func(c *Config) { c.CollectionInterval = 0 }, `collection_interval: got 0s, takes 100ms or more`},
		"short interval": {func(c *Config) { c.CollectionInterval = 1 }, `collection_interval: got 1ns, takes 100ms or more`},
		"initial delay":  {func(c *Config) { c.InitialDelay = -1 }, `initial_delay: got -1ns, takes 0s or more`},
		"timeout":        {func(c *Config) { c.Timeout = -time.Second }, `timeout: got -1s, takes 1ms or more, or 0s for no limit`},
		"short timeout":  {func(c *Config) { c.Timeout = 1 }, `timeout: got 1ns, takes 1ms or more, or 0s for no limit`},
		"nothing to do": {func(c *Config) { c.Groups.Enabled, c.System.Enabled = false, false },
			`connections::enabled, groups::enabled, system::enabled: got false for each, takes true for one of them at least`},
		"attributes":      {func(c *Config) { c.Process.Attributes = "both" }, `process::attributes: got "both", takes one of resource, data_point`},
		"refresh":         {func(c *Config) { c.Process.RefreshInterval = -time.Second }, `process::refresh_interval: got -1s, takes 0s or more`},
		"limit":           {func(c *Config) { c.Connections.Limit = -1 }, `connections::limit: got -1, takes a number of connections, or 0 for all of them`},
		"batch size":      {func(c *Config) { c.Connections.BatchSize = 0 }, `connections::batch_size: got 0, takes a number of connections from 1 up`},
		"order":           {func(c *Config) { c.Connections.OrderBy = "size" }, `connections::order_by: got "size", takes one of io, retransmits, rtt, age`},
		"no multiple":     {func(c *Config) { c.Connections.Interval = 15 * time.Second }, `connections::interval: got 15s, takes a multiple of collection_interval (10s) or 0s for every scrape`},
		"unchanged":       {func(c *Config) { c.Connections.UnchangedInterval = -1 }, `connections::unchanged_interval: got -1ns, takes 0s or more`},
		"short unchanged": {func(c *Config) { c.Connections.UnchangedInterval = 5 * time.Second }, `connections::unchanged_interval: got 5s, takes collection_interval (10s) or more, or 0s to write every connection each time`},
		"unchanged between": {func(c *Config) {
			c.Connections.Interval, c.Connections.UnchangedInterval = 30*time.Second, 20*time.Second
		}, `connections::unchanged_interval: got 20s, takes connections::interval (30s) or more, or 0s to write every connection each time`},
		"system multiple":   {func(c *Config) { c.System.Interval = time.Second }, `system::interval: got 1s, takes a multiple of collection_interval (10s) or 0s for every scrape`},
		"group attribute":   {func(c *Config) { c.Groups.By = []string{"tcp.role", "pid"} }, `groups::by: got "pid", takes one of process.pid, process.executable.name,`},
		"attribute twice":   {func(c *Config) { c.Groups.By = []string{"tcp.role", "tcp.role"} }, `groups::by: got "tcp.role" twice, takes each attribute once`},
		"group limit":       {func(c *Config) { c.Groups.Limit = 0 }, `groups::limit: got 0, takes a number of groups from 1 up`},
		"group interval":    {func(c *Config) { c.Groups.Interval = 11 * time.Second }, `groups::interval: got 11s, takes a multiple of collection_interval (10s)`},
		"prefix":            {func(c *Config) { c.Groups.PeerPrefix.IPv4 = 33 }, `groups::peer_prefix::ipv4: got 33, takes a number of bits from 0 to 32`},
		"prefix of IPv6":    {func(c *Config) { c.Groups.PeerPrefix.IPv6 = -1 }, `groups::peer_prefix::ipv6: got -1, takes a number of bits from 0 to 128`},
		"expiry":            {func(c *Config) { c.Groups.Expiry = -1 }, `groups::expiry: got -1ns, takes 0s or more`},
		"histogram":         {func(c *Config) { c.Groups.Histogram = "linear" }, `groups::histogram: got "linear", takes explicit or exponential`},
		"buckets that fall": {func(c *Config) { c.Groups.RTTBuckets = []time.Duration{2, 1} }, `groups::rtt_buckets: got [2ns 1ns], takes durations above 0s that rise`},
		"no buckets":        {func(c *Config) { c.Groups.RTTBuckets = nil }, `groups::rtt_buckets: got none, takes at least one with groups::histogram: explicit`},
		"detector":          {func(c *Config) { c.Detect.Enabled = []string{"scans"} }, `detect::enabled: got "scans", takes any of scan, beacon,`},
		"share of a limit":  {func(c *Config) { c.Detect.Saturation.Usage = 80 }, `detect::saturation::usage: got 80, takes a number above 0 and up to 1`},
		"state":             {func(c *Config) { c.Filter.States = []string{"open"} }, `filter::states: got "open", takes one of closed, listen,`},
		"port":              {func(c *Config) { c.Filter.LocalPorts = []any{443, "9-8"} }, `filter::local_ports: got "9-8", takes a port from 1 to 65535 or a range such as 8000-8999`},
		"port of no type":   {func(c *Config) { c.Filter.PeerPorts = []any{true} }, `filter::peer_ports: got "true", takes a port`},
		"network":           {func(c *Config) { c.Filter.PeerCIDRs.Exclude = []string{"10.0.0/8"} }, `filter::peer_cidrs::exclude: got "10.0.0/8", takes a network such as 10.0.0.0/8`},
		"expression":        {func(c *Config) { c.Filter.Executables.Include = []string{"/("} }, `filter::executables::include: got "/(", takes a regular expression between two slashes`},
		"bad expression":    {func(c *Config) { c.Filter.Executables.Include = []string{"/(/"} }, `filter::executables::include: got "/(/", takes a regular expression between slashes: error parsing regexp`},
		"empty executable":  {func(c *Config) { c.Filter.Executables.Exclude = []string{""} }, `filter::executables::exclude: got "", takes a name, or a regular expression between slashes`},
		"record event":      {func(c *Config) { c.Records.Events = []string{"end", "close"} }, `records::events: got "close", takes one of start, progress, end, failure`},
		"event twice":       {func(c *Config) { c.Records.Events = []string{"end", "end"} }, `records::events: got "end" twice, takes each event once`},
		"no events":         {func(c *Config) { c.Records.Events = nil }, `records::events: got none, takes at least one of start, progress, end, failure`},
		"record limit":      {func(c *Config) { c.Records.Limit = -1 }, `records::limit: got -1, takes a number of records a second, or 0 for all of them`},
		"short records":     {func(c *Config) { c.Records.MinDuration = -1 }, `records::min_duration: got -1ns, takes 0s or more`},
		"progress":          {func(c *Config) { c.Records.ProgressInterval = -1 }, `records::progress_interval: got -1ns, takes 0s or more`},
		"progress between":  {func(c *Config) { c.Records.Events, c.Records.ProgressInterval = []string{"progress"}, 15*time.Second }, `records::progress_interval: got 15s, takes a multiple of collection_interval (10s) or 0s for every scrape`},
		"no attribution": {func(c *Config) { c.Process.Attribution = false; c.Filter.Executables.Include = []string{"x"} },
			`filter::executables: got conditions while process::attribution is false`},
		"several": {func(c *Config) { c.Connections.Limit = -1; c.Connections.BatchSize = 0 },
			`connections::limit: got -1, takes a number of connections, or 0 for all of them; connections::batch_size: got 0,`},
		"network of a service": {func(c *Config) { c.Peers.Services = []ServiceConfig{{CIDR: "10.0.0/8", Name: "a"}} },
			`peers::services::cidr: got "10.0.0/8", takes a network such as 10.0.0.0/8`},
		"port of a service": {func(c *Config) { c.Peers.Services = []ServiceConfig{{CIDR: "10.0.0.0/8", Port: 65536, Name: "a"}} },
			`peers::services::port: got 65536, takes a port from 1 to 65535, or 0 for any`},
		"service without a name": {func(c *Config) { c.Peers.Services = []ServiceConfig{{CIDR: "10.0.0.0/8"}} },
			`peers::services::name: got none for 10.0.0.0/8, takes the name of the service`},
		"capture engine": {func(c *Config) { c.Peers.DNS.Engine = "pcap" }, `peers::dns::engine: got "pcap", takes auto`},
		"capability of engines": {func(c *Config) { c.Peers.DNS.Require = []string{"colour"} },
			`peers::dns::require: got "colour", takes direction, kernel_filter, zero_copy, timestamps`},
		"no path": {func(c *Config) { c.Peers.MMDB = []string{""} }, `peers::mmdb: got "", takes paths of files in MaxMind's format`},
		"no processes": {func(c *Config) { c.Peers.Processes = false; c.Groups.By = []string{"tcp.peer.process.executable.name"} },
			`groups::by: got tcp.peer.process.executable.name while peers::processes or process::attribution is false, takes it with both`},
		"no processes of connections": {func(c *Config) {
			c.Connections.Enabled, c.Connections.PeerAttributes = true, []string{"tcp.peer.container.id"}
			c.Process.Attribution = false
		}, `connections::peer_attributes: got tcp.peer.container.id while peers::processes or process::attribution is false, takes it with both`},
		"attribute of no peer": {func(c *Config) { c.Connections.PeerAttributes = []string{"tcp.role"} },
			`connections::peer_attributes: got "tcp.role", takes one of server.address, service.peer.name, tcp.peer.process.pid, `},
		"peer attribute twice": {func(c *Config) { c.Connections.PeerAttributes = []string{"server.address", "server.address"} },
			`connections::peer_attributes: got "server.address" twice, takes each attribute once`},
		"page's port":        {func(c *Config) { c.Page.Endpoint = "127.0.0.1" }, `page::endpoint: got "127.0.0.1", takes an address and a port, such as 127.0.0.1:8890`},
		"page's port's name": {func(c *Config) { c.Page.Endpoint = "127.0.0.1:http" }, `page::endpoint: got "127.0.0.1:http", takes an address and a port`},
		"page's transport":   {func(c *Config) { c.Page.Endpoint, c.Page.Transport = "x", "udp" }, `page::transport: got "udp", takes tcp, tcp4, tcp6 or unix`},
		"page's history":     {func(c *Config) { c.Page.History = 0 }, `page::history: got 0s, takes more than 0s and at most 24h0m0s`},
		"require":            {func(c *Config) { c.Require = []string{"speed"} }, `require: got "speed", takes rtt, bytes, closes, processes, namespaces`},
		"source":             {func(c *Config) { c.Source = "ebpf" }, `source: got "ebpf", takes auto`},
		"network_namespaces": {func(c *Config) { c.NetworkNamespaces = "pods" }, `network_namespaces: got "pods", takes host or all`},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := createDefaultConfig()
			tt.change(cfg)
			err := confmap.Validate(cfg)
			require.Error(t, err)
			assert.Contains(t, err.Error(), tt.err)
		})
	}
}

func TestSourcesOfThisSystem(t *testing.T) {
	if runtime.GOOS == "freebsd" {
		assert.Contains(t, source.Names(sources()), "sysctl")
		cfg := createDefaultConfig()
		cfg.Require, cfg.Source = []string{"rtt"}, "sysctl"
		assert.ErrorContains(t, cfg.Validate(), "sysctl: gives processes, not rtt (RTT and bytes need the tcpstats module)), on freebsd")
		return
	}
	if runtime.GOOS != "linux" {
		assert.Empty(t, sources())
		return
	}
	assert.Equal(t, []string{"bpf", "sock_diag", "procfs"}, source.Names(sources()))
	cfg := createDefaultConfig()
	cfg.Require, cfg.Source = []string{"rtt"}, "procfs"
	assert.ErrorContains(t, cfg.Validate(), "require: got rtt, which no source that `source: procfs` allows gives (")
	assert.ErrorContains(t, cfg.Validate(), "procfs: gives processes, namespaces, not rtt), on linux")

	cfg = createDefaultConfig()
	cfg.NetworkNamespaces = allNamespaces
	for _, name := range []string{"auto", "sock_diag", "procfs"} {
		cfg.Source = name
		assert.NoError(t, cfg.Validate())
	}
	cfg.Source = "bpf"
	assert.ErrorContains(t, cfg.Validate(), "network_namespaces: got all, which source bpf cannot read, takes it with source auto or sock_diag or procfs")
}

func TestExecutables(t *testing.T) {
	parse := func(include, exclude []string) executables {
		cfg := FilterConfig{Executables: PatternsConfig{Include: include, Exclude: exclude}}
		e, err := cfg.executables()
		require.NoError(t, err)
		return e
	}
	assert.False(t, parse(nil, nil).any())
	e := parse([]string{"nginx", "/^python3/"}, []string{"/-test$/"})
	assert.True(t, e.any())
	for name, want := range map[string]bool{"nginx": true, "nginx2": false, "python3.11": true, "python3-test": false, "": false} {
		assert.Equal(t, want, e.match(name), name)
	}
	assert.True(t, parse(nil, []string{"nginx"}).match(""), "a socket without an owner is not nginx's")
}

// Whoever wants records alone says so by the section, since a configuration does not
// know in which pipelines it stands.
func TestRecordsAlone(t *testing.T) {
	for text, want := range map[string]bool{
		"records: {}":                  true,
		"records: {limit: 5}":          true,
		"records: null":                false,
		"records: {limit: }":           false,
		"records: {events: [failure]}": true,
		"collection_interval: 5s":      false,
	} {
		conf, err := confmap.NewRetrievedFromYAML([]byte("{connections: {enabled: false}, groups: {enabled: false}, system: {enabled: false}, " + text + "}"))
		require.NoError(t, err)
		section, err := conf.AsConf()
		require.NoError(t, err)
		cfg := createDefaultConfig()
		require.NoError(t, section.Unmarshal(cfg))
		err = confmap.Validate(cfg)
		if want {
			assert.NoError(t, err, text)
		} else {
			assert.ErrorContains(t, err, "a section records, detect::enabled or page::endpoint", text)
		}
	}
	// An interval of what nobody asks for is no mistake.
	cfg := createDefaultConfig()
	cfg.CollectionInterval, cfg.Records.ProgressInterval = 7*time.Second, 5*time.Minute
	assert.NoError(t, confmap.Validate(cfg))
}
