package distribution

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// TestExamples checks that every example is one that the distribution takes.
func TestExamples(t *testing.T) {
	c := own(t)
	paths, err := filepath.Glob(filepath.Join(root, "examples", "*.yaml"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("examples: %v, %v", paths, err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			if filepath.Base(path) == "kubernetes.yaml" {
				path = configMap(t, path)
			}
			c.accepts(t, path)
		})
	}
}

// configMap writes the collector's configuration in a Kubernetes manifest to a
// file.
func configMap(t *testing.T, path string) string {
	t.Helper()
	docs := yaml.NewDecoder(strings.NewReader(read(t, path)))
	for {
		var doc struct {
			Kind string
			Data map[string]string
		}
		if err := docs.Decode(&doc); err != nil {
			t.Fatalf("no ConfigMap in %s: %v", path, err)
		}
		if doc.Kind == "ConfigMap" {
			return write(t, doc.Data["config.yaml"])
		}
	}
}

// TestAllOptions checks that examples/all-options.yaml has every option, with its
// default.
func TestAllOptions(t *testing.T) {
	c := own(t)
	path := filepath.Join(root, "examples", "all-options.yaml")
	var file struct {
		Receivers map[string]any
	}
	if err := yaml.Unmarshal([]byte(read(t, path)), &file); err != nil {
		t.Fatal(err)
	}
	written := flat(file.Receivers)
	got := c.effective(t, path)
	want := c.effective(t, pipeline(t, "receivers: {tcp_stats: }"))

	for key, value := range want {
		if _, ok := written[key]; !ok {
			t.Errorf("%s is not in %s; its default is %v", key, path, value)
		}
		if got[key] != value {
			t.Errorf("%s: %s has %v, the default is %v", key, path, got[key], value)
		}
	}
}

// effective returns the receiver's configuration with the defaults of what a file
// does not say, each key with its whole path.
func (c collector) effective(t *testing.T, config string) map[string]any {
	t.Helper()
	stdout, stderr, err := c.command(t, config, "print-config", "--format", "json", "--mode", "unredacted")
	if err != nil {
		t.Fatalf("print-config %s: %v\n%s", config, err, stderr)
	}
	var printed struct {
		Receivers map[string]any `json:"receivers"`
	}
	if err := json.Unmarshal([]byte(stdout), &printed); err != nil {
		t.Fatalf("print-config %s: %v\n%s", config, err, stdout)
	}
	return flat(printed.Receivers)
}

// flat brings nested maps into one, with :: between the keys. Empty lists, maps and
// nothing are the same: no value.
func flat(nested map[string]any) map[string]any {
	all := make(map[string]any)
	var add func(prefix string, value any)
	add = func(prefix string, value any) {
		switch v := value.(type) {
		case map[string]any:
			if len(v) == 0 {
				all[prefix] = nil
			}
			for key, value := range v {
				add(prefix+"::"+key, value)
			}
		case []any:
			if len(v) == 0 {
				all[prefix] = nil
				return
			}
			text, _ := json.Marshal(v)
			all[prefix] = string(text)
		default:
			all[prefix] = v
		}
	}
	for key, value := range nested {
		add(key, value)
	}
	return all
}

// TestBadInput checks that mistakes are named before anything runs.
func TestBadInput(t *testing.T) {
	c := own(t)
	for _, test := range []struct {
		receiver string
		words    []string
	}{
		{`{source: nonsense}`, []string{`source: got "nonsense", takes auto, `}},
		{`{require: [speed]}`, []string{`require: got "speed", takes rtt, bytes, `}},
		{`{colection_interval: 1s}`, []string{"colection_interval"}},
		{`{collection_interval: 0s}`, []string{"collection_interval: got 0s, takes more than 0s"}},
		{`{collection_interval: soon}`, []string{`collection_interval: got "soon", takes a duration`}},
		{`{timeout: -1s}`, []string{"timeout: got -1s, takes 0s or more"}},
		{`{process: {refresh_interval: -1s}}`, []string{"process: refresh_interval: got -1s, takes"}},
		{`{filter: {states: [open]}}`, []string{`filter: states: got "open", takes one of`}},
		{`{filter: {local_ports: [70000]}}`, []string{`filter: local_ports: got "70000", takes a port`}},
		{`{filter: {peer_ports: [9-1]}}`, []string{`filter: peer_ports: got "9-1", takes a port`}},
		{`{filter: {peer_cidrs: {include: [10.0.0.0/40]}}}`, []string{`filter: peer_cidrs::include: got "10.0.0.0/40", takes a network`}},
		{`{filter: {executables: {exclude: ["/(/"]}}}`, []string{`filter: executables::exclude: got "/(/", takes a regular expression`}},
		{`{connections: {limit: -1}}`, []string{"connections: limit: got -1, takes"}},
		{`{connections: {order_by: size}}`, []string{`connections: order_by: got "size", takes one of io, retransmits, rtt, age`}},
		{`{connections: {batch_size: 0}}`, []string{"connections: batch_size: got 0, takes"}},
		{`{connections: {interval: 15s}}`, []string{"connections::interval: got 15s, takes a multiple of collection_interval (10s)"}},
		{`{groups: {by: [server.name]}}`, []string{`groups: by: got "server.name", takes one of`}},
		{`{groups: {limit: 0}}`, []string{"groups: limit: got 0, takes"}},
		{`{groups: {histogram: linear}}`, []string{`groups: histogram: got "linear", takes explicit or exponential`}},
		{`{groups: {rtt_buckets: [2ms, 1ms]}}`, []string{"groups: rtt_buckets: got"}},
		{`{system: {interval: 7s}}`, []string{"system::interval: got 7s, takes a multiple of collection_interval (10s)"}},
		{`{metrics: {tcp.connection.speed: {enabled: true}}}`, []string{"tcp.connection.speed"}},
	} {
		t.Run(test.receiver, func(t *testing.T) {
			c.refuses(t, pipeline(t, "receivers: {tcp_stats: "+test.receiver+"}"), test.words...)
		})
	}
}
