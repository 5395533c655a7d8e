// SPDX-License-Identifier: Apache-2.0

package distribution

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// pages returns the documentation, by path below the repository.
func pages(t *testing.T) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, pattern := range []string{"*.md", "docs/*.md", "examples/*/*.md", "tools/*/results/*.md"} {
		paths, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			name, err := filepath.Rel(root, path)
			if err != nil {
				t.Fatal(err)
			}
			all[name] = read(t, path)
		}
	}
	if len(all) < 10 {
		t.Fatalf("only %d pages", len(all))
	}
	return all
}

var (
	fenced  = regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$")
	links   = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	inWords = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors returns the anchors of a page's headings, as GitHub makes them.
func anchors(page string) map[string]bool {
	all := make(map[string]bool)
	for _, match := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(page, ""), -1) {
		anchor := strings.ReplaceAll(inWords.ReplaceAllString(strings.ToLower(match[1]), ""), " ", "-")
		for i := 0; all[anchor]; i++ { // of equal headings
			anchor = fmt.Sprintf("%s-%d", strings.TrimSuffix(anchor, fmt.Sprintf("-%d", i)), i+1)
		}
		all[anchor] = true
	}
	return all
}

// TestLinks checks that every link within the repository leads somewhere.
func TestLinks(t *testing.T) {
	all := pages(t)
	for name, page := range all {
		for _, match := range links.FindAllStringSubmatch(fenced.ReplaceAllString(page, ""), -1) {
			target := match[1]
			if strings.HasPrefix(target, "http://") || strings.HasPrefix(target, "https://") {
				continue
			}
			file, anchor, _ := strings.Cut(target, "#")
			to := name
			if file != "" {
				to = filepath.Join(filepath.Dir(name), file)
				if _, err := os.Stat(filepath.Join(root, to)); err != nil {
					t.Errorf("%s: the link %s leads nowhere", name, target)
					continue
				}
			}
			if anchor != "" && !anchors(all[to])[anchor] {
				t.Errorf("%s: %s has no heading for the link %s", name, to, target)
			}
		}
	}
}

// TestReadme checks its length: it is what people read first, and all that some read.
func TestReadme(t *testing.T) {
	if lines := strings.Count(read(t, filepath.Join(root, "README.md")), "\n"); lines > 150 {
		t.Errorf("README.md has %d lines; what is more than 150 belongs into docs/", lines)
	}
}

// TestCodeBlocks has the distribution validate every piece of configuration in the
// documentation, with what it leaves out filled in.
func TestCodeBlocks(t *testing.T) {
	c := own(t)
	checked := 0
	for name, page := range pages(t) {
		for i, match := range fenced.FindAllStringSubmatch(page, -1) {
			if match[1] != "yaml" {
				continue
			}
			var block map[string]any
			if err := yaml.Unmarshal([]byte(match[2]), &block); err != nil {
				t.Errorf("%s, block %d: %v\n%s", name, i+1, err, match[2])
				continue
			}
			complete := completed(block)
			if complete == nil {
				continue
			}
			text, err := yaml.Marshal(complete)
			if err != nil {
				t.Fatal(err)
			}
			checked++
			t.Run(fmt.Sprintf("%s/%d", name, i+1), func(t *testing.T) { c.accepts(t, write(t, string(text))) })
		}
	}
	if checked < 8 {
		t.Errorf("only %d blocks were validated", checked)
	}
}

// completed makes a piece of a collector's configuration a whole one, or returns nil of
// YAML of other programs.
func completed(block map[string]any) map[string]any {
	sections := []string{"receivers", "processors", "exporters", "extensions", "connectors", "service"}
	if len(block) == 0 {
		return nil
	}
	for key := range block {
		if !slices.Contains(sections, key) {
			return nil
		}
	}
	if list, ok := block["receivers"].([]any); ok && len(list) > 0 {
		return nil // the builder's manifest
	}
	section := func(name string) map[string]any {
		if existing, ok := block[name].(map[string]any); ok {
			return existing
		}
		made := make(map[string]any)
		block[name] = made
		return made
	}
	receivers, exporters, service := section("receivers"), section("exporters"), section("service")
	if _, ok := receivers["tcp_stats"]; !ok && len(receivers) == 0 {
		receivers["tcp_stats"] = nil
	}
	if _, ok := service["pipelines"]; !ok {
		exporters["nop"] = nil
		one := map[string]any{
			"receivers": slices.Sorted(maps.Keys(receivers)), "exporters": slices.Sorted(maps.Keys(exporters)),
			"processors": slices.Sorted(maps.Keys(section("processors"))),
		}
		service["pipelines"] = map[string]any{"metrics": one}
	}
	// What a pipeline names and the piece does not have, the text around it has.
	for _, pipeline := range service["pipelines"].(map[string]any) {
		for _, kind := range []string{"receivers", "processors", "exporters"} {
			names, _ := pipeline.(map[string]any)[kind].([]any)
			for _, name := range names {
				known := section(kind)
				if _, ok := known[name.(string)]; ok {
					continue
				}
				known[name.(string)] = map[string]any{
					"otlp_grpc": map[string]any{"endpoint": "localhost:4317"},
					"file":      map[string]any{"path": "./out.jsonl"},
					"batch":     nil,
				}[name.(string)]
			}
		}
	}
	return block
}

// A row of a table of options: its key, and its default in backquotes or in words.
var option = regexp.MustCompile("(?m)^\\| `([a-z_.0-9]+)` \\| (`([^`]*)`|[a-z ]+) \\|")

// TestConfigurationReference compares docs/configuration.md with the defaults that the
// receiver has.
func TestConfigurationReference(t *testing.T) {
	c := own(t)
	defaults := c.effective(t, pipeline(t, "receivers: {tcp_stats: }"))
	page := read(t, filepath.Join(root, "docs", "configuration.md"))
	documented := make(map[string]bool)
	for _, row := range option.FindAllStringSubmatch(page, -1) {
		key := "tcp_stats::" + strings.ReplaceAll(row[1], ".", "::")
		documented[key] = true
		got, ok := defaults[key]
		if !ok {
			// A key that has keys below it, none of which is set.
			if row[2] != "none" {
				t.Errorf("%s is no option", row[1])
			}
			continue
		}
		var want any
		if err := yaml.Unmarshal([]byte(row[3]), &want); err != nil {
			t.Errorf("%s: the default %s: %v", row[1], row[2], err)
			continue
		}
		if want, got := plain(want), plain(got); want != got {
			t.Errorf("%s: the default is %s, and documented is %s", row[1], got, want)
		}
	}
	for key := range defaults {
		section := strings.Split(key, "::")[1]
		if section == "metrics" || section == "resource_attributes" || strings.HasPrefix(key, "tcp_stats::page::") {
			continue // in documentation.md, and options of any server
		}
		if strings.HasPrefix(key, "tcp_stats::detect::") && strings.Count(key, "::") > 2 && section == "detect" && !strings.Contains(key, "ignore") {
			continue // thresholds are in docs/findings.md
		}
		if !documented[key] {
			t.Errorf("docs/configuration.md lacks %s; its default is %v", strings.ReplaceAll(strings.TrimPrefix(key, "tcp_stats::"), "::", "."), defaults[key])
		}
	}
}

// plain writes a value as both sides do: durations in nanoseconds, and nothing of what
// is empty.
func plain(value any) string {
	switch v := value.(type) {
	case string:
		if duration, err := time.ParseDuration(v); err == nil {
			return fmt.Sprint(float64(duration))
		}
		var list []any
		if strings.HasPrefix(v, "[") && yaml.Unmarshal([]byte(v), &list) == nil {
			return plain(list)
		}
		return v
	case []any:
		var items []string
		for _, item := range v {
			items = append(items, plain(item))
		}
		return strings.Join(items, " ")
	case int:
		return fmt.Sprint(float64(v))
	case nil:
		return ""
	}
	return fmt.Sprint(value)
}
