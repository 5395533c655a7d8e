// SPDX-License-Identifier: Apache-2.0

// Command registry writes the names of the receiver's metrics and attributes as a
// registry for OpenTelemetry's weaver: `make generate` runs it.
//
//	registry metadata.yaml docs/registry/tcp_stats.yaml
package main

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// metadata is what is read of metadata.yaml.
type metadata struct {
	ResourceAttributes map[string]attribute `yaml:"resource_attributes"`
	Attributes         map[string]attribute `yaml:"attributes"`
	Metrics            map[string]metric    `yaml:"metrics"`
}

type attribute struct {
	NameOverride string   `yaml:"name_override"`
	Description  string   `yaml:"description"`
	Type         string   `yaml:"type"`
	Enum         []string `yaml:"enum"`
}

type metric struct {
	Stability             string                    `yaml:"stability"`
	Description           string                    `yaml:"description"`
	ExtendedDocumentation string                    `yaml:"extended_documentation"`
	Unit                  string                    `yaml:"unit"`
	Gauge                 *struct{}                 `yaml:"gauge"`
	Sum                   *struct{ Monotonic bool } `yaml:"sum"`
	Attributes            []string                  `yaml:"attributes"`
}

// group is a group of weaver's schemas/semconv.schema.json.
type group struct {
	ID         string `yaml:"id"`
	Type       string `yaml:"type"`
	Name       string `yaml:"metric_name,omitempty"`
	Stability  string `yaml:"stability,omitempty"`
	Brief      string `yaml:"brief"`
	Note       string `yaml:"note,omitempty"`
	Instrument string `yaml:"instrument,omitempty"`
	Unit       string `yaml:"unit,omitempty"`
	Attributes []any  `yaml:"attributes,omitempty"`
}

type definition struct {
	ID        string `yaml:"id"`
	Type      any    `yaml:"type"`
	Stability string `yaml:"stability"`
	Brief     string `yaml:"brief"`
}

type enum struct {
	Members []member `yaml:"members"`
}

type member struct {
	ID        string `yaml:"id"`
	Value     string `yaml:"value"`
	Stability string `yaml:"stability"`
}

type reference struct {
	Ref   string `yaml:"ref"`
	Level string `yaml:"requirement_level"`
}

// stability of all names: those of an alpha receiver.
const stability = "alpha"

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: registry metadata.yaml out.yaml")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "registry:", err)
		os.Exit(1)
	}
}

func run(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	var m metadata
	if err := yaml.Unmarshal(text, &m); err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	var out bytes.Buffer
	out.WriteString("# Generated from metadata.yaml by `make generate`.\n")
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := encoder.Encode(map[string][]group{"groups": groups(&m)}); err != nil {
		return err
	}
	return os.WriteFile(to, out.Bytes(), 0o644)
}

func groups(m *metadata) []group {
	used := make(map[string]bool)
	for _, metric := range m.Metrics {
		for _, key := range metric.Attributes {
			used[key] = true
		}
	}
	definitions := make(map[string]attribute)
	for _, key := range slices.Sorted(maps.Keys(m.Attributes)) {
		if used[key] {
			define(definitions, m.name(key), m.Attributes[key])
		}
	}
	resource := group{ID: "entity.tcp_stats.resource", Type: "attribute_group", Brief: "Attributes of the resources that the receiver writes metrics under."}
	for _, key := range slices.Sorted(maps.Keys(m.ResourceAttributes)) {
		define(definitions, key, m.ResourceAttributes[key])
		resource.Attributes = append(resource.Attributes, reference{key, "recommended"})
	}
	registry := group{ID: "registry.tcp_stats", Type: "attribute_group", Brief: "Every attribute of the receiver's metrics and their resources. Those of OpenTelemetry's semantic conventions have the same meaning here."}
	for _, name := range slices.Sorted(maps.Keys(definitions)) {
		registry.Attributes = append(registry.Attributes, definitionOf(name, definitions[name]))
	}
	all := []group{registry, resource}
	for _, name := range slices.Sorted(maps.Keys(m.Metrics)) {
		metric := m.Metrics[name]
		g := group{ID: "metric." + name, Type: "metric", Name: name, Stability: stability, Brief: metric.Description,
			Note: metric.ExtendedDocumentation, Instrument: metric.instrument(), Unit: metric.Unit}
		for _, key := range metric.Attributes {
			g.Attributes = append(g.Attributes, reference{m.name(key), "required"})
		}
		all = append(all, g)
	}
	return all
}

// name is what an attribute is called in telemetry.
func (m *metadata) name(key string) string {
	if override := m.Attributes[key].NameOverride; override != "" {
		return override
	}
	return key
}

// define adds an attribute. One name may be defined for several metrics, each with
// values of its own.
func define(definitions map[string]attribute, name string, a attribute) {
	before, known := definitions[name]
	if !known {
		definitions[name] = a
		return
	}
	for _, value := range a.Enum {
		if !slices.Contains(before.Enum, value) {
			before.Enum = append(before.Enum, value)
		}
	}
	definitions[name] = before
}

func definitionOf(name string, a attribute) definition {
	d := definition{ID: name, Type: a.Type, Stability: stability, Brief: a.Description}
	if a.Type == "bool" {
		d.Type = "boolean"
	}
	if len(a.Enum) > 0 {
		var e enum
		for _, value := range a.Enum {
			e.Members = append(e.Members, member{ID: strings.TrimPrefix(value, "_"), Value: value, Stability: stability})
		}
		d.Type = e
	}
	return d
}

// instrument is the metric's kind. mdatagen has no histograms that compile, so they
// are called gauges, and their text says what they are.
func (m *metric) instrument() string {
	switch {
	case strings.Contains(m.ExtendedDocumentation, "Written as a cumulative histogram"):
		return "histogram"
	case m.Sum == nil:
		return "gauge"
	case m.Sum.Monotonic:
		return "counter"
	}
	return "updowncounter"
}
