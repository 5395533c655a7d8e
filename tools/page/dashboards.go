// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// panel is what a plot needs of a panel of a dashboard.
type panel struct {
	Title   string
	Targets []struct{ Expr, LegendFormat string }
}

// readPanel reads the panel with a title from a dashboard of a folder.
func readPanel(dir, dashboard, title string) (panel, error) {
	path := filepath.Join(dir, dashboard)
	text, err := os.ReadFile(path)
	if err != nil {
		return panel{}, err
	}
	var file struct{ Panels []panel }
	if err := json.Unmarshal(text, &file); err != nil {
		return panel{}, fmt.Errorf("%s: %w", path, err)
	}
	for _, p := range file.Panels {
		if p.Title == title && len(p.Targets) > 0 {
			return p, nil
		}
	}
	return panel{}, fmt.Errorf("%s has no panel %q with an expression", path, title)
}

// labels are those parts of a legend that Grafana replaces by a label's value.
var labels = regexp.MustCompile(`{{[^}]*}}`)

// expression returns the panel's expression with values for Grafana's variables.
// Prometheus' page plots one expression at a time, so several are joined. Each then has
// the words of its legend in a label named legend, or they could not be distinguished.
func (p panel) expression(variables map[string]string) (string, error) {
	var pairs []string
	for name, value := range variables {
		pairs = append(pairs, "$"+name, value)
	}
	replacer := strings.NewReplacer(pairs...)
	var all []string
	for _, target := range p.Targets {
		one := replacer.Replace(target.Expr)
		if strings.Contains(one, "$") {
			return "", fmt.Errorf("%s: %s has a variable without a value", p.Title, one)
		}
		if len(p.Targets) > 1 {
			words := strings.Trim(labels.ReplaceAllString(target.LegendFormat, ""), " ,")
			one = fmt.Sprintf(`label_replace(%s, "legend", %q, "", "")`, one, words)
		}
		all = append(all, one)
	}
	return strings.Join(all, "\nor\n"), nil
}
