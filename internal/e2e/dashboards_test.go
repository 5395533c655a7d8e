// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// expressions are those of examples/grafana and examples/prometheus, by where they are.
// Names of recording rules are replaced by what these record.
func expressions(t *testing.T) map[string]string {
	t.Helper()
	all := make(map[string]string)
	dashboards, err := filepath.Glob("../../examples/grafana/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, dashboards)
	for _, path := range dashboards {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		var dashboard struct {
			Panels []struct {
				Title   string
				Targets []struct{ RefID, Expr string }
			}
		}
		require.NoError(t, json.Unmarshal(text, &dashboard), path)
		require.NotEmpty(t, dashboard.Panels, path)
		for _, panel := range dashboard.Panels {
			require.NotEmpty(t, panel.Targets, "%s: %s", path, panel.Title)
			for _, target := range panel.Targets {
				// What a reader would have chosen: everything.
				all[filepath.Base(path)+": "+panel.Title+" "+target.RefID] = strings.NewReplacer(
					`="$host"`, `=~".*"`, "$host", ".*", "$process", ".+", "$port", ".*", "$__rate_interval", "1m").Replace(target.Expr)
			}
		}
	}
	recorded := make(map[string]string)
	for _, name := range []string{"recording.yaml", "alerts.yaml"} {
		text, err := os.ReadFile("../../examples/prometheus/" + name)
		require.NoError(t, err)
		var file struct {
			Groups []struct {
				Rules []struct{ Record, Alert, Expr string }
			}
		}
		require.NoError(t, yaml.Unmarshal(text, &file), name)
		for _, rule := range file.Groups[0].Rules {
			expression := strings.ReplaceAll(rule.Expr, "[5m]", "[1m]")
			for from, to := range recorded {
				expression = strings.ReplaceAll(expression, from, "("+to+")")
			}
			if rule.Record != "" {
				recorded[rule.Record] = expression
			}
			all[name+": "+rule.Record+rule.Alert] = expression
		}
	}
	return all
}

// quiet are expressions that have no answer where nothing is wrong, or nothing was
// found: alerts, and findings.
func quiet(name string) bool {
	return strings.HasPrefix(name, "alerts.yaml") || strings.Contains(name, "Findings")
}

// answerDashboards runs every expression of the examples on what a Prometheus has of a
// real run.
func answerDashboards(t *testing.T, p *Prometheus, at time.Time) {
	t.Helper()
	for name, expression := range expressions(t) {
		got, err := p.query(expression, at)
		if assert.NoError(t, err, name) && !quiet(name) {
			assert.NotEmpty(t, got, "%s\n%s", name, expression)
		}
	}
}

// TestAlerts has promtool run examples/prometheus/alerts_test.yaml.
func TestAlerts(t *testing.T) {
	promtool := filepath.Join(filepath.Dir(prometheusBinary(t)), "promtool")
	if _, err := os.Stat(promtool); err != nil {
		t.Skipf("there is no promtool beside Prometheus: make prometheus builds both: %v", err)
	}
	command := exec.Command(promtool, "test", "rules", "alerts_test.yaml")
	command.Dir = "../../examples/prometheus"
	output, err := command.CombinedOutput()
	assert.NoError(t, err, "%s", output)
}
