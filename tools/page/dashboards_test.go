// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Each plot is of a panel that exists, its variables have values, and no two are one
// picture.
func TestPlots(t *testing.T) {
	names := make(map[string]bool)
	for _, p := range plots() {
		expression, err := p.expression("../../examples/grafana")
		require.NoError(t, err, p.title)
		assert.NotContains(t, expression, "$", p.title)
		assert.False(t, names[p.name], p.name)
		names[p.name] = true
		manual, err := os.ReadFile("../../docs/dashboards.md")
		require.NoError(t, err)
		assert.Contains(t, string(manual), "(images/"+p.name+")", "docs/dashboards.md shows each plot")
	}
}

func TestPanelExpression(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "d.json"), []byte(`{"panels": [
		{"title": "one", "targets": [{"expr": "rate(x{host=\"$host\"}[$__rate_interval])", "legendFormat": "{{host}}"}]},
		{"title": "two", "targets": [{"expr": "a{p=\"$port\"}", "legendFormat": "opened, {{role}}"}, {"expr": "b", "legendFormat": "{{role}} closed"}]},
		{"title": "none"}]}`), 0o600))
	variables := map[string]string{"host": "h", "__rate_interval": "8s", "port": "443"}
	for _, test := range []struct {
		title, want, err string
		without          string // a variable
	}{
		{title: "one", want: `rate(x{host="h"}[8s])`},
		{title: "two", want: `label_replace(a{p="443"}, "legend", "opened", "", "")` + "\nor\n" + `label_replace(b, "legend", "closed", "", "")`},
		{title: "two", without: "port", err: "variable without a value"},
		{title: "none", err: "no panel"},
		{title: "three", err: "no panel"},
	} {
		given := make(map[string]string)
		for name, value := range variables {
			if name != test.without {
				given[name] = value
			}
		}
		p, err := readPanel(dir, "d.json", test.title)
		var got string
		if err == nil {
			got, err = p.expression(given)
		}
		if test.err != "" {
			require.ErrorContains(t, err, test.err, test.title)
			continue
		}
		require.NoError(t, err, test.title)
		assert.Equal(t, test.want, got)
	}
	_, err := readPanel(dir, "missing.json", "one")
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "broken.json"), []byte("{"), 0o600))
	_, err = readPanel(dir, "broken.json", "one")
	require.ErrorContains(t, err, "broken.json")

}
