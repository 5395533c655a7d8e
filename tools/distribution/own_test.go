// SPDX-License-Identifier: Apache-2.0

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
