// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/detect"
	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// What scrapes show reaches the detectors, and what they find is reported.
func TestFindings(t *testing.T) {
	cfg := testConfig()
	cfg.Detect.Enabled = detect.Names()
	s := &scripted{name: "scripted", sockets: sample(150, tcp.CloseWait)}
	r := newRig(t, cfg, &refusing{}, s)
	for range 5 {
		r.scrapeOnce(t)
	}
	s.sockets = nil
	r.scrapeOnce(t)
	var found []string
	for _, e := range r.logs.All() {
		if rule, ok := e.ContextMap()["security_rule.name"]; ok {
			found = append(found, rule.(string))
		}
	}
	assert.Equal(t, []string{"saturation.close_wait", "saturation.close_wait"}, found)
}

// The details of connections reach the detectors that want them.
func TestFindingsOfDetails(t *testing.T) {
	cfg := testConfig()
	cfg.Detect.Enabled = []string{detect.Stall}
	var found []*event.Finding
	f, err := newFindings(cfg.Detect, func(one *event.Finding) { found = append(found, one) })
	require.NoError(t, err)
	assert.True(t, f.Detailed())
	s := &scripted{name: "scripted", sockets: sample(2, tcp.Listen, tcp.Established)}
	c := &s.sockets[1]
	c.Role = tcp.Client
	c.Fields = c.Fields.With(tcp.FieldSendWindow).With(tcp.FieldUnsent)
	c.Unsent = 100
	cfg.InitialDelay = 0
	st, err := newSteps(cfg, newRig(t, cfg, &refusing{}, s).set, &refusing{}, s.factory())
	require.NoError(t, err)
	st.Listen(f)
	st.AddView(f)
	for range 4 {
		require.NoError(t, st.scrape())
		time.Sleep(time.Millisecond)
	}
	require.NoError(t, st.close())
	require.Len(t, found, 1)
	assert.Equal(t, "stall.zero_window", found[0].Rule)
}

func TestNoFindings(t *testing.T) {
	f, err := newFindings(detect.Default(), nil)
	require.NoError(t, err)
	assert.Nil(t, f)
	bad := detect.Default()
	bad.Enabled = []string{"nothing"}
	_, err = newFindings(bad, nil)
	assert.ErrorContains(t, err, "detect::enabled")
}
