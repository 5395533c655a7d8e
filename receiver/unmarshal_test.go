// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/filter"
)

// resolve reads YAML as the collector does, with ${env:NAME} and ${yaml:TEXT}.
func resolve(tb testing.TB, yaml string) *confmap.Conf {
	tb.Helper()
	provider := func(scheme string, text func(string) string) confmap.ProviderFactory {
		return confmap.NewProviderFactory(func(confmap.ProviderSettings) confmap.Provider { return provider{scheme, text} })
	}
	resolver, err := confmap.NewResolver(confmap.ResolverSettings{
		URIs: []string{"yaml:" + yaml},
		ProviderFactories: []confmap.ProviderFactory{
			provider("yaml", func(text string) string { return text }),
			provider("env", os.Getenv),
		},
	})
	require.NoError(tb, err)
	conf, err := resolver.Resolve(tb.Context())
	require.NoError(tb, err, yaml)
	return conf
}

// provider does what the collector's own providers do: it finds text by name and reads
// it as YAML. Those are modules that this one does not need otherwise.
type provider struct {
	scheme string
	text   func(string) string
}

func (p provider) Retrieve(_ context.Context, uri string, _ confmap.WatcherFunc) (*confmap.Retrieved, error) {
	return confmap.NewRetrievedFromYAML([]byte(p.text(strings.TrimPrefix(uri, p.scheme+":"))))
}

func (p provider) Scheme() string               { return p.scheme }
func (provider) Shutdown(context.Context) error { return nil }

// TestEmptyValuesMeanTheDefault leaves each key empty, in every way that YAML and
// variables allow.
func TestEmptyValuesMeanTheDefault(t *testing.T) {
	t.Setenv("EMPTY", "")
	all := paths(reflect.ValueOf(&Config{}).Elem(), "")
	require.Contains(t, all, "connections::limit")
	require.Contains(t, all, "groups::peer_prefix::ipv6")
	require.Contains(t, all, "metrics::tcp.rtt::enabled")
	require.Contains(t, all, "resource_attributes::process.pid::metrics_include")
	for _, path := range all {
		for _, nothing := range []string{"", "null", "~", "${env:EMPTY}", "${env:NOT_SET_ANYWHERE}", "\"${env:EMPTY}\""} {
			yaml := nest(path, nothing)
			cfg := createDefaultConfig()
			require.NoError(t, resolve(t, yaml).Unmarshal(cfg), yaml)
			require.Equal(t, createDefaultConfig(), cfg, yaml)
		}
		whole := createDefaultConfig()
		yaml := nest(path, "null")
		t.Setenv("SECTION", yaml) // as from ${file:...}
		require.NoError(t, resolve(t, "receiver: ${env:SECTION}").Unmarshal(&struct {
			Receiver *Config `mapstructure:"receiver"`
		}{whole}), yaml)
		require.Equal(t, createDefaultConfig(), whole, yaml)
	}
}

// nest writes the key a::b::c as sections of YAML.
func nest(path, value string) string {
	var text strings.Builder
	for depth, key := range strings.Split(path, "::") {
		if depth > 0 {
			text.WriteString("\n")
		}
		text.WriteString(strings.Repeat("  ", depth) + key + ":")
	}
	return text.String() + " " + value
}

// TestEmptyValuesBesideOthers sets something next to an empty value.
func TestEmptyValuesBesideOthers(t *testing.T) {
	conf := resolve(t, `
connections: {limit: , enabled: true}
groups: {by: , limit: 7, peer_prefix: {ipv4: , ipv6: 64}}
system:
metrics: {tcp.rtt: {enabled: }, tcp.io: {enabled: false}}
resource_attributes: {process.pid: {enabled: , metrics_include: [strict: "1"]}}
`)
	want := createDefaultConfig()
	want.Connections.Enabled = true
	want.Groups.Limit = 7
	want.Groups.PeerPrefix.IPv6 = 64
	want.ResourceAttributes.ProcessPid.MetricsInclude = []filter.Config{{Strict: "1"}}
	for range 2 { // a configuration can be read again
		cfg := createDefaultConfig()
		require.NoError(t, conf.Unmarshal(cfg))
		assert.False(t, cfg.Metrics.TCPIo.Enabled)
		cfg.Metrics.TCPIo = want.Metrics.TCPIo // it notes that the user set it
		assert.Equal(t, want, cfg)
	}
}

func TestValuesThatAreTaken(t *testing.T) {
	t.Setenv("THOUSAND", "1000")
	t.Setenv("NAME", "0123")
	t.Setenv("BUCKETS", "[1ms, 10ms]")
	t.Setenv("SECOND", "1s")
	t.Setenv("SECTION", "{limit: 1e3, order_by: }")
	for yaml, want := range map[string]func(*Config){
		"connections: {limit: 1e3}":                            func(c *Config) { c.Connections.Limit = 1000 },
		"connections: {limit: 1000.0}":                         func(c *Config) { c.Connections.Limit = 1000 },
		"connections: {limit: 0x3e8}":                          func(c *Config) { c.Connections.Limit = 1000 },
		"connections: {limit: 0}":                              func(c *Config) { c.Connections.Limit = 0 },
		"connections: {limit: 1e15}":                           func(c *Config) { c.Connections.Limit = 1_000_000_000_000_000 },
		`connections: {limit: "${env:THOUSAND}"}`:              func(c *Config) { c.Connections.Limit = 1000 },
		"connections: ${env:SECTION}":                          func(c *Config) { c.Connections.Limit = 1000 },
		"connections::limit: 5":                                func(c *Config) { c.Connections.Limit = 5 },
		"filter: {executables: {include: ['${env:NAME}', x]}}": func(c *Config) { c.Filter.Executables.Include = []string{"0123", "x"} },
		"resource_attributes: {process.pid: {metrics_include: [strict: '${env:NAME}']}}": func(c *Config) {
			c.ResourceAttributes.ProcessPid.MetricsInclude = []filter.Config{{Strict: "0123"}}
		},
		"groups: {rtt_buckets: '${env:BUCKETS}'}":               func(c *Config) { c.Groups.RTTBuckets = []time.Duration{time.Millisecond, 10 * time.Millisecond} },
		"groups: {rtt_buckets: '${yaml:[1ms, ${env:SECOND}]}'}": func(c *Config) { c.Groups.RTTBuckets = []time.Duration{time.Millisecond, time.Second} },
		"groups: {by: []}": func(c *Config) { c.Groups.By = []string{} },
	} {
		t.Run(yaml, func(t *testing.T) {
			expected, cfg := createDefaultConfig(), createDefaultConfig()
			want(expected)
			require.NoError(t, resolve(t, yaml).Unmarshal(cfg))
			assert.Equal(t, expected, cfg)
			assert.NoError(t, confmap.Validate(cfg))
		})
	}
}

func TestKeysAndValuesThatAreNotTaken(t *testing.T) {
	for yaml, want := range map[string]string{
		// Keys.
		"detect: {beacon: {score: high}}":             `detect::beacon::score: got "high", takes a number, such as 0.8`,
		`detect: {beacon: {score: "0.9"}}`:            `detect::beacon::score: got "0.9", takes a number, such as 0.8 without quotes`,
		"colection_interval: 5s":                      `colection_interval: unknown key (did you mean collection_interval?), the receiver takes collection_interval, connections, detect, filter, groups, initial_delay, metrics, network_namespaces, page, peers, process, records, require, resource_attributes, source, system, timeout`,
		"connections: {limits: 5}":                    `connections::limits: unknown key (did you mean limit?), this section takes batch_size, enabled, interval, limit, order_by`,
		"filter: {peer_cidrs: {only: []}}":            `filter::peer_cidrs::only: unknown key, this section takes exclude, include`,
		"filter: {peer_cidrs: {inlcude: []}}":         `filter::peer_cidrs::inlcude: unknown key (did you mean include?), this section takes exclude, include`,
		"metrics: {tcp.latency: {enabled: true}}":     `metrics::tcp.latency: unknown key, this section takes a name that documentation.md lists`,
		"metrics: {tcp.rrt: {enabled: true}}":         `metrics::tcp.rrt: unknown key (did you mean tcp.rtt?), this section takes a name that documentation.md lists`,
		"metrics: {tcp.connection.rtt: {on: true}}":   `metrics::tcp.connection.rtt::on: unknown key, this section takes enabled`,
		"resource_attributes: {process.name: }":       `resource_attributes::process.name: unknown key, this section takes container.id, network.namespace.id, network.namespace.name, process.command`,
		"limit: 5":                                    `limit: unknown key (did you mean connections::limit or groups::limit or records::limit?), the receiver takes collection_interval, connections, detect, filter, groups, initial_delay, metrics, network_namespaces, page, peers, process, records, require, resource_attributes, source, system, timeout`,
		"connections: {timeout: 5s}":                  `unknown key (did you mean timeout?)`,
		"connections.limit: 5":                        `unknown key (did you mean connections::limit?)`,
		"tcp.rtt: {enabled: false}":                   `unknown key (did you mean metrics::tcp.rtt?)`,
		`"": 5`:                                       `"": unknown key`,
		"{nonsense: 1, connections: {order_by: [x]}}": `nonsense: unknown key, the receiver takes collection_interval`,
		strings.Repeat("x", 200) + ": 1":              strings.Repeat("x", 100) + `...: unknown key`,

		"peers: {services: {cidr: 10.0.0.0/8}}":                `peers::services: got {cidr: 10.0.0.0/8}, takes a list of items such as {cidr: 10.20.0.0/16, port: 5432, name: orders-db}`,
		"peers: {services: [10.0.0.0/8]}":                      `peers::services: got "10.0.0.0/8", takes an item such as {cidr: 10.20.0.0/16, port: 5432, name: orders-db}`,
		"peers: {services: [{network: 10.0.0.0/8}]}":           `peers::services::network: unknown key, this section takes cidr, name, port`,
		"peers: {services: [{cidr: 10.0.0.0/8, port: https}]}": `peers::services::port: got "https", takes a whole number`,
		"peers: {dns: {engine: [tcx]}}":                        `peers::dns::engine: got [tcx], takes text`,

		// Durations.
		"collection_interval: 5x":         `collection_interval: got "5x", takes a duration with its unit, such as 10s, 500ms or 24h`,
		"collection_interval: 5":          `collection_interval: got 5, takes a duration with its unit, such as 10s, 500ms or 24h`,
		"collection_interval: 1e3":        `collection_interval: got 1000, takes a duration`,
		"collection_interval: 1d":         `collection_interval: got "1d", takes a duration`,
		"collection_interval: 9999999h":   `collection_interval: got "9999999h", takes a duration`,
		"collection_interval: 2026-01-01": `collection_interval: got 2026-01-01 00:00:00 +0000 UTC, takes a duration`,
		"collection_interval: ''":         `collection_interval: got "", takes a duration`,
		"groups: {rtt_buckets: [1ms, 5]}": `groups::rtt_buckets: got 5, takes a duration with its unit, such as 10s, 500ms or 24h`,

		// Numbers.
		"connections: {limit: many}":                        `connections::limit: got "many", takes a whole number`,
		`connections: {limit: "1000"}`:                      `connections::limit: got "1000", takes a whole number without quotes`,
		"connections: {limit: 1.5}":                         `connections::limit: got 1.5, takes a whole number`,
		"connections: {limit: .nan}":                        `connections::limit: got NaN, takes a whole number`,
		"connections: {limit: .inf}":                        `connections::limit: got +Inf, takes a whole number closer to 0`,
		"connections: {limit: 9223372036854775807}":         `connections::limit: got 9223372036854775807, takes a whole number closer to 0`,
		"connections: {limit: 18446744073709551615}":        `connections::limit: got 18446744073709551615, takes a whole number closer to 0`,
		"connections: {limit: -99999999999999999999999999}": `connections::limit: got -1e+26, takes a whole number closer to 0`,
		"connections: {limit: true}":                        `connections::limit: got true, takes a whole number`,
		"groups: {peer_prefix: {ipv4: /24}}":                `groups::peer_prefix::ipv4: got "/24", takes a whole number`,

		// Truth.
		"connections: {enabled: maybe}":  `connections::enabled: got "maybe", takes true or false`,
		"connections: {enabled: 1}":      `connections::enabled: got 1, takes true or false`,
		"connections: {enabled: 'true'}": `connections::enabled: got "true", takes true or false without quotes`,
		"connections: {enabled: yes}":    `connections::enabled: got "yes", takes true or false`,

		// Sections.
		"connections: [a]":                    `connections: got [a], takes a section with keys: batch_size, enabled, interval, limit, order_by`,
		"connections: true":                   `connections: got true, takes a section with keys: batch_size`,
		"connections: {1: 2}":                 `connections::1: unknown key, this section takes batch_size`,
		"metrics: {tcp.connection.rtt: true}": `metrics::tcp.connection.rtt: got true, takes a section with keys: enabled`,
		"metrics: [tcp.rtt]":                  `metrics: got [tcp.rtt], takes a section with keys: a name that documentation.md lists`,

		// Text.
		"require: [rtt, 5]":                          `require: got 5, takes text in quotes: "5"`,
		"source: 5":                                  `source: got 5, takes text in quotes: "5"`,
		"source: [auto]":                             `source: got [auto], takes text`,
		"filter: {states: [{a: [b, 1]}]}":            `filter::states: got {a: [b, 1]}, takes text`,
		"source: [" + strings.Repeat("é", 200) + "]": `source: got [` + strings.Repeat("é", 49) + "..., takes text",

		// Lists.
		"require: rtt":                                        `require: got "rtt", takes a list, such as [rtt]`,
		"filter: {local_ports: 443}":                          `filter::local_ports: got 443, takes a list, such as [443]`,
		"filter: {local_ports: {443: }}":                      `filter::local_ports: got {443: nothing}, takes a list`,
		"groups: {by: [null]}":                                `groups::by: got an empty item (null, or a variable that is not set), takes text in each`,
		"groups: {by: [tcp.role, '${env:NOT_SET_ANYWHERE}']}": `groups::by: got an empty item (null, or a variable that is not set), takes text in each`,
		"groups: {rtt_buckets: [~]}":                          `groups::rtt_buckets: got an empty item (null, or a variable that is not set), takes a duration`,
		"filter: {local_ports: [null]}":                       `filter::local_ports: got an empty item (null, or a variable that is not set)`,
		"filter: {executables: {include: [null, 5]}}": `filter::executables::include: got an empty item (null, or a variable that is not set), takes text in each
filter::executables::include: got 5, takes text in quotes: "5"`,

		// Items of the collector's own.
		including("[sshd]"):                     "got \"sshd\", takes `- strict: sshd` for exactly this value, or `- regexp: ^ssh` for a regular expression",
		including("[5]"):                        "got 5, takes `- strict: 5` for exactly this value",
		including("[[sshd]]"):                   "got [sshd], takes `- strict: sshd` for exactly this value",
		including("sshd"):                       "got \"sshd\", takes a list of items such as `- strict: sshd`",
		including("{strict: sshd}"):             "got {strict: sshd}, takes a list of items such as `- strict: sshd`",
		including("[null]"):                     "got an empty item (null, or a variable that is not set), takes `- strict: sshd` for exactly this value, or `- regexp: ^ssh` for a regular expression in each",
		including("[{}]"):                       "got an item without a value, takes `- strict: sshd` for exactly this value, or `- regexp: ^ssh` for a regular expression",
		including("[strict: ]"):                 `got an item without a value, takes`,
		including("[strict: '${env:NOT_SET}']"): `got an item without a value, takes`,
		including("[{strict: a, regexp: b}]"):   `got strict: a and regexp: b in one item, takes one of them in each`,
		including("[{regexp: '('}]"):            `metrics_include::regexp: got "(", takes a regular expression: error parsing regexp: missing closing )`,
		including("[{regex: sshd}]"):            `metrics_include::regex: unknown key (did you mean regexp?), this section takes regexp, strict`,
		including("[{strict: 5}]"):              `metrics_include::strict: got 5, takes text in quotes: "5"`,
	} {
		t.Run(yaml, func(t *testing.T) {
			err := resolve(t, yaml).Unmarshal(createDefaultConfig())
			require.ErrorContains(t, err, want)
			for _, internal := range []string{"metricsbuilderconfig", "expected", "internal.", "reflect", "metadata."} {
				assert.NotContains(t, err.Error(), internal)
			}
		})
	}
}

// including has a list of values whose series alone are written.
func including(list string) string {
	return "resource_attributes: {process.executable.name: {metrics_include: " + list + "}}"
}

// TestWhatTheLibraryAccepts shows why values are checked before confmap decodes them.
// If it fails after an update, confmap has become stricter, and unmarshal.go may shrink.
func TestWhatTheLibraryAccepts(t *testing.T) {
	type section struct {
		Limit    int           `mapstructure:"limit"`
		Enabled  bool          `mapstructure:"enabled"`
		Interval time.Duration `mapstructure:"interval"`
		By       []string      `mapstructure:"by"`
	}
	for yaml, want := range map[string]section{
		"limit:":                      {Limit: 0, Enabled: true, Interval: 1, By: []string{"a"}},
		"enabled:":                    {Limit: 1, Enabled: false, Interval: 1, By: []string{"a"}},
		"interval: 5":                 {Limit: 1, Enabled: true, Interval: 5 * time.Nanosecond, By: []string{"a"}},
		"limit: 1.5":                  {Limit: 1, Enabled: true, Interval: 1, By: []string{"a"}},
		"limit: 18446744073709551615": {Limit: -1, Enabled: true, Interval: 1, By: []string{"a"}},
		"by: [null]":                  {Limit: 1, Enabled: true, Interval: 1, By: []string{""}},
		"by: x,y":                     {Limit: 1, Enabled: true, Interval: 1, By: []string{"x", "y"}},
	} {
		t.Run(yaml, func(t *testing.T) {
			got := section{Limit: 1, Enabled: true, Interval: 1, By: []string{"a"}}
			require.NoError(t, resolve(t, yaml).Unmarshal(&got))
			assert.Equal(t, want, got)
		})
	}
}

// FuzzConfig reads anything as a configuration. It must not panic, and what it
// accepts must be fit to start with.
func FuzzConfig(f *testing.F) {
	for _, yaml := range []string{
		"", "connections: {limit: 1e3, enabled: }", "groups: {by: [null], rtt_buckets: [1ms, 5]}", "{connections: {1: 2}, '': [{}]}",
		"filter: {local_ports: [443, 8000-8999, [1], {a: 1}], executables: {include: [/(/, /a/, /, //]}}", "a::b::: 1", "connections: {::: 1}",
		including("[{strict: a, regexp: b}, x, null, {regexp: '('}]"), "metrics: {tcp.rtt: {enabled: 2026-01-01}}", "!!binary x: .nan",
		"collection_interval: 1ns\ntimeout: -1s", "limit: 18446744073709551616", "connections: [[[]]]", "connections::limit: 1\nconnections: 5",
	} {
		f.Add([]byte(yaml))
	}
	for _, path := range paths(reflect.ValueOf(&Config{}).Elem(), "") {
		if strings.HasPrefix(path, "metrics::") && !strings.Contains(path, "tcp.rtt") {
			continue
		}
		for _, value := range []string{"1e3", "-1", "10s", "x", "[null]", "[/x/, 5]", "{a: }", "true"} {
			f.Add([]byte(nest(path, value)))
		}
	}
	f.Fuzz(func(t *testing.T, yaml []byte) {
		retrieved, err := confmap.NewRetrievedFromYAML(yaml)
		if err != nil {
			t.Skip()
		}
		conf, err := retrieved.AsConf()
		if err != nil {
			t.Skip()
		}
		cfg := createDefaultConfig()
		if conf.Unmarshal(cfg) != nil || confmap.Validate(cfg) != nil {
			return
		}
		assert.GreaterOrEqual(t, cfg.CollectionInterval, minInterval)
		assert.Positive(t, cfg.Connections.BatchSize)
		assert.Positive(t, cfg.Groups.Limit)
		assert.GreaterOrEqual(t, cfg.Connections.Limit, 0)
		assert.True(t, cfg.Connections.Enabled || cfg.Groups.Enabled || cfg.System.Enabled)
		for _, bound := range cfg.Groups.RTTBuckets {
			assert.Positive(t, bound)
		}
		again := createDefaultConfig()
		require.NoError(t, conf.Unmarshal(again), "a second time")
		assert.Equal(t, cfg, again)
	})
}
