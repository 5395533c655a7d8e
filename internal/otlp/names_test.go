// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// The rules of docs/metrics.md: tcp.connection.* is of single connections alone, and
// only what counts is plural.
func TestNames(t *testing.T) {
	w := newWriter(everything())
	single := make(map[string]bool)
	for _, in := range w.instruments {
		single[in.name] = true
	}
	snake := regexp.MustCompile(`^[a-z][a-z0-9]*([._][a-z0-9]+)*$`)
	assert.NotEmpty(t, single)
	for name, m := range w.prototypes {
		assert.Equal(t, single[name], strings.HasPrefix(name, "tcp.connection."), name)
		assert.Regexp(t, snake, name)
		assert.NotRegexp(t, `(_total|_seconds|_bytes|\.total)$`, name, "backends add that")
		if m.Type() == pmetric.MetricTypeSum && !m.Sum().IsMonotonic() {
			last := name[strings.LastIndexByte(name, '.')+1:]
			assert.Contains(t, []string{"count", "usage", "limit"}, last, "%s rises and falls", name)
		}
	}
}

func TestValuesAreWrittenWithUnderscores(t *testing.T) {
	value := regexp.MustCompile(`^(_OTHER|[a-z][a-z0-9]*(_[a-z0-9]+)*)$`)
	var all []fmt.Stringer
	for f := tcp.NoFailure + 1; f < tcp.NumFailures; f++ {
		all = append(all, f)
	}
	for c := range tcp.NumCauses {
		all = append(all, c)
	}
	for s := range tcp.NumStates {
		all = append(all, s)
	}
	for r := range tcp.NumRetransmitTypes {
		all = append(all, r)
	}
	for _, v := range all {
		assert.Regexp(t, value, v.String())
	}
	writer := newWriter(everything())
	writer.Group(nil, bounds)
	for _, n := range writer.groups.numbers {
		for _, p := range n.points {
			if p.key != "" {
				assert.Regexp(t, value, p.attribute, n.prototype.Name())
			}
		}
	}
}
