// SPDX-License-Identifier: Apache-2.0

//go:build linux || freebsd

package e2e

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Documented is what documentation.md says that there is.
type Documented struct {
	Metrics    []string
	Attributes []string          // of resources
	Text       map[string]string // of each metric
}

var (
	metricSection  = regexp.MustCompile(`(?ms)^### ((?:tcp|system)\.\S+)$(.*?)^#{2,3} `)
	attributeTable = regexp.MustCompile(`(?m)^\| ([a-z]+\.[a-z_.]+) \|`)
)

// documented reads documentation.md.
func documented(t *testing.T) Documented {
	t.Helper()
	file, err := os.ReadFile("../../documentation.md")
	require.NoError(t, err)
	metrics, rest, ok := strings.Cut(string(file), "\n## Resource Attributes\n")
	require.True(t, ok)
	resource, _, ok := strings.Cut(rest, "\n## Internal Telemetry\n")
	require.True(t, ok)

	d := Documented{Text: make(map[string]string)}
	for text := metrics + "\n## "; ; {
		at := metricSection.FindStringSubmatchIndex(text)
		if at == nil {
			break
		}
		name := text[at[2]:at[3]]
		d.Metrics = append(d.Metrics, name)
		d.Text[name] = text[at[4]:at[5]]
		text = text[at[5]:] // the next heading has ended this section
	}
	for _, m := range attributeTable.FindAllStringSubmatch(resource, -1) {
		d.Attributes = append(d.Attributes, m[1])
	}
	require.NotEmpty(t, d.Metrics)
	require.NotEmpty(t, d.Attributes)
	return d
}

// atEvents are the metrics that are made when something happens that the cast does
// not bring about: an end, a failure, a finding, a drop, a closed window.
var atEvents = map[string]bool{
	"system.network.tcp.rtt": true, "system.network.tcp.connection.duration": true, "system.network.tcp.connection.failures": true,
	"tcp.aborts": true, "tcp.failures": true, "tcp.findings": true, "tcp.handshake.duration": true, "tcp.duration": true,
	"tcp.listener.drops": true, "tcp.zero_windows": true, "tcp.retransmit.events": true, "tcp.queueing_delay": true,
}

// everyState is a filter that lets every state through: unless one names them, what
// is in time_wait or syn_received has no series of its own.
const everyState = "filter: {states: [established, syn_sent, syn_received, fin_wait_1, fin_wait_2, " +
	"time_wait, close_wait, last_ack, closing, listen, closed]}, "

// quick is how often tests scrape that wait for many scrapes.
const quick = "200ms"

// every is a configuration of the receiver that scrapes every so often, and looks
// for the processes of new sockets each time, with more settings put in.
func every(interval, more string) string {
	return everyWithRefresh(interval, "0s", more)
}

func everyWithRefresh(interval, refresh, more string) string {
	return fmt.Sprintf("{initial_delay: 0s, collection_interval: %s, process: {refresh_interval: %s}, %s}", interval, refresh, more)
}

// everything switches on all metrics and attributes of resources.
func everything(t *testing.T) string {
	t.Helper()
	d := documented(t)
	enabled := func(names []string) string {
		return "{" + strings.Join(names, ": {enabled: true}, ") + ": {enabled: true}}"
	}
	return fmt.Sprintf("metrics: %s, resource_attributes: %s", enabled(d.Metrics), enabled(d.Attributes))
}
