// SPDX-License-Identifier: Apache-2.0

package promql

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Every query of docs/findings.md is one, over metrics that the receiver has.
func TestQueriesOfFindings(t *testing.T) {
	text, err := os.ReadFile("../../docs/findings.md")
	require.NoError(t, err)
	documented, err := os.ReadFile("../../documentation.md")
	require.NoError(t, err)
	var names []string
	for _, m := range regexp.MustCompile(`(?m)^### ((?:tcp|system|dns)\.\S+)$`).FindAllStringSubmatch(string(documented), -1) {
		names = append(names, strings.ReplaceAll(m[1], ".", "_"))
	}
	require.NotEmpty(t, names)
	known := func(metric string) bool {
		for _, name := range names {
			rest, ok := strings.CutPrefix(metric, name)
			if ok && regexp.MustCompile(`^(_(bytes|seconds|milliseconds|ratio))?(_(total|count|bucket|sum))?$`).MatchString(rest) {
				return true
			}
		}
		return false
	}
	queries := 0
	prose := regexp.MustCompile("(?s)```.*?```").ReplaceAllString(string(text), "")
	looksLikeOne := regexp.MustCompile(`_total|tcp_listener|tcp_rtt|system_network|dns_(queries|lookup)`)
	for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(prose, -1) {
		query := strings.Join(strings.Fields(m[1]), " ")
		if !looksLikeOne.MatchString(query) || strings.HasPrefix(query, "otelcol_") {
			continue // options, programs, and what the collector says of itself
		}
		expr, err := parser.ParseExpr(query)
		if !assert.NoError(t, err, query) {
			continue
		}
		parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
			if v, ok := node.(*parser.VectorSelector); ok {
				queries++
				assert.True(t, known(v.Name), "%s: the receiver has no metric %s", query, v.Name)
			}
			return nil
		})
	}
	assert.GreaterOrEqual(t, queries, 12)
}
