// SPDX-License-Identifier: Apache-2.0

//go:build linux || freebsd

package e2e

import (
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// ownPrefix begins the names of what the receiver tells of itself.
const ownPrefix = "otelcol_receiver_tcpstats_"

// pages are both pages of a collector, and the scrapes around the reading of them.
type pages struct {
	shown, own Page
	all        []*Scrape // since the collector runs
	around     []*Scrape // each that can have made the pages
	from, to   progress  // before the first of these and after the last
}

// progress is what has come by OTLP.
type progress struct{ scrapes, points int }

func readPages(t *testing.T, c *Collector) *pages {
	t.Helper()
	now := func() progress { return progress{c.Sink.Count(), c.Sink.Points()} }
	p := &pages{from: now()}
	c.Sink.Next(t)
	p.shown, p.own = c.Page(t), c.Telemetry(t)
	c.Sink.Next(t)
	p.all, p.to = c.Sink.Scrapes(0), now()
	p.around = p.all[p.from.scrapes:]
	return p
}

// prometheus compares the Prometheus page with what was sent by OTLP: a value that
// was the same in each scrape around is on it.
func (p *pages) prometheus(t *testing.T) {
	ever := make(map[string]bool)
	for _, s := range p.all {
		for key := range onPages(s) {
			ever[key] = true
		}
	}
	steady := onPages(p.around[0])
	for _, s := range p.around[1:] {
		now := onPages(s)
		maps.DeleteFunc(steady, func(key string, value float64) bool {
			other, ok := now[key]
			return !ok || other != value
		})
	}
	for key, value := range steady {
		shown, ok := p.shown[key]
		if assert.True(t, ok, "%s is not on the page", key) {
			assert.Equal(t, value, shown, key)
		}
	}
	require.NotEmpty(t, steady)
	t.Logf("%d series compared", len(steady))
	for key := range p.shown {
		histogram := strings.Contains(key, "_seconds_count{") || strings.Contains(key, "_seconds_sum{")
		if strings.HasPrefix(key, "system_") && !histogram || strings.Contains(key, `network_local_port="`) {
			assert.True(t, ever[key], "%s is on the page and was not sent by OTLP", key)
		}
	}
}

// onPages is all that is to be on the page after a scrape.
func onPages(s *Scrape) map[string]float64 {
	all := make(map[string]float64)
	add := func(values map[string]Value, resource map[string]any) {
		for key, v := range values {
			metric, _, _ := strings.Cut(key, " ")
			all[onPage(metric, v, resource)] = v.Number
		}
	}
	for _, c := range s.Connections {
		add(c.Values, c.Resource)
	}
	for _, l := range s.Listeners {
		add(l.Values, l.Resource)
	}
	add(s.System, nil)
	add(s.Beneath, nil)
	for state, n := range s.States {
		all[sample("system_network_connection_count", map[string]string{"network_connection_state": state, "network_transport": "tcp"})] = float64(n)
	}
	return all
}

// telemetry compares what the receiver tells of itself with what it sent. merged is
// how many sockets without a process are in the series of another.
func (p *pages) telemetry(t *testing.T, source string, merged int) {
	of := func(name string, labels ...string) float64 {
		t.Helper()
		all := map[string]string{}
		for i := 0; i < len(labels); i += 2 {
			all[labels[i]] = labels[i+1]
		}
		value, ok := p.own[sample(ownPrefix+name, all)]
		assert.True(t, ok, "%s%v is not there", name, labels)
		return value
	}
	var sockets, unattributed []float64
	for _, s := range p.around {
		all, without := int64(0), merged
		for _, n := range s.States {
			all += n
		}
		for _, c := range s.Connections {
			if c.pid() == 0 {
				without++
			}
		}
		for _, l := range s.Listeners {
			if pid(l.Resource) == 0 {
				without++
			}
		}
		sockets, unattributed = append(sockets, float64(all)), append(unattributed, float64(without))
	}
	if counted := of("sockets", "source", source); runtime.GOOS == "linux" {
		assert.Contains(t, sockets, counted, "sockets in the scrapes around")
	} else {
		// States are counted apart from the dump: a connection may come or go between.
		assert.GreaterOrEqual(t, counted, slices.Min(sockets)-2, "sockets in the scrapes around")
		assert.LessOrEqual(t, counted, slices.Max(sockets)+2, "sockets in the scrapes around")
	}
	if ownNamespace() { // else listeners of others, too, may be in one series
		assert.Contains(t, unattributed, of("unattributed_sockets", "error_type", "no_owner")+
			of("unattributed_sockets", "error_type", "no_permission")+
			of("unattributed_sockets", "error_type", "pending"), "sockets without a process in the scrapes around")
	}
	assert.EqualValues(t, 1, of("source_info", "source", source))
	// What the collector's own count has: it needs no other.
	total := func(name string) (sum float64) {
		for key, value := range p.own {
			if strings.HasPrefix(key, name) {
				sum += value
			}
		}
		return sum
	}
	accepted := total("otelcol_receiver_accepted_metric_points")
	assert.GreaterOrEqual(t, accepted, float64(p.from.points))
	assert.LessOrEqual(t, accepted, float64(p.to.points))
	missed := total(ownPrefix + "missed_ticks")
	for _, phase := range []string{"dump", "attribute", "select", "write", "system"} {
		count := of("scrape_duration_count", "source", source, "phase", phase)
		assert.Greater(t, count, float64(p.from.scrapes), phase)
		// What was read when the pipeline was not ready was not written.
		assert.LessOrEqual(t, count, float64(p.to.scrapes)+missed, phase)
	}
	for key := range p.own {
		assert.False(t, strings.HasPrefix(key, ownPrefix+"source_errors") || strings.HasPrefix(key, ownPrefix+"dropped_series"), key)
	}
}

// source is the telemetry's word on a source.
func (c *Collector) source(t *testing.T, name string) float64 {
	t.Helper()
	return c.Telemetry(t)[sample(ownPrefix+"source_info", map[string]string{"source": name})]
}

// noSecrets looks for command lines and environments of processes in everything
// that the collector let out.
func (p *pages) noSecrets(t *testing.T, c *Collector) {
	out := append(c.Sink.Raw(), c.log.String())
	for _, page := range []Page{p.shown, p.own} {
		out = slices.AppendSeq(out, maps.Keys(page))
	}
	for _, text := range out {
		require.NotContains(t, text, secret)
		require.NotContains(t, text, "--password")
	}
}
