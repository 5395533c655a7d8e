// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/config/confignet"

	"github.com/netpulse/tcpstatsreceiver/internal/engine"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// The page is served while the receiver runs, and shows what its source has.
func TestPageIsServed(t *testing.T) {
	cfg := testConfig()
	cfg.Connections.Enabled, cfg.System.Enabled = false, false // the page alone
	cfg.CollectionInterval, cfg.Page.Endpoint = minInterval, "127.0.0.1:0"
	require.NoError(t, cfg.Validate())
	r := newRig(t, cfg, &refusing{}, &scripted{name: "a", sockets: sample(3, tcp.Established)})
	require.NoError(t, r.Start(context.Background(), componenttest.NewNopHost()))
	url := r.page.URL()
	client := &http.Client{}
	defer client.CloseIdleConnections()
	get := func() (all []map[string]any) {
		answer, err := client.Get(url + "connections.json")
		require.NoError(t, err)
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		_ = json.Unmarshal(body, &all) // before the first scrape it is no JSON
		return all
	}
	require.Eventually(t, func() bool { return len(get()) == 3 }, 5*time.Second, 10*time.Millisecond)
	assert.EqualValues(t, 1000, get()[0]["rtt_us"])

	require.NoError(t, r.Shutdown(context.Background()))
	_, err := client.Get(url)
	assert.Error(t, err)
}

// probe is a view that looks whether connections have their Details.
type probe struct{ details []bool }

func (*probe) Needs(int64) engine.Needs { return engine.Needs{Sockets: true} }

func (p *probe) Scrape(s *engine.Scrape) func(context.Context) error {
	p.details = append(p.details, s.Details)
	return nil
}

// All of each connection is remembered for series of connections, and for a page only
// while somebody looks at it.
func TestDetailsForThePage(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"no page": func(c *Config) { c.Page.Endpoint = "" },
		"a page":  func(c *Config) { c.Page.Endpoint = "127.0.0.1:0" },
		"series":  func(c *Config) { c.Connections.Enabled = true },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig()
			cfg.Connections.Enabled, cfg.Groups.Enabled = false, true
			change(cfg)
			r := newRig(t, cfg, &refusing{}, &scripted{name: "a", sockets: sample(3, tcp.Established)})
			e, err := r.newEngine()
			require.NoError(t, err)
			defer r.tcpStats.telemetry.Shutdown()
			p := &probe{}
			e.AddView(p)
			require.NoError(t, e.Open(context.Background()))
			defer func() { require.NoError(t, e.Close()) }()
			require.NoError(t, e.Once(context.Background(), 0))
			assert.Equal(t, []bool{name == "series"}, p.details)
			if name != "a page" {
				return
			}
			w := httptest.NewRecorder()
			r.page.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://localhost/connections.json", nil))
			require.Equal(t, http.StatusOK, w.Code)
			require.NoError(t, e.Once(context.Background(), 1))
			assert.Equal(t, []bool{false, true}, p.details)
		})
	}
}

// A port that another program has stops the start, with what to change; nothing is
// left open.
func TestPageCannotBeServed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	cfg := testConfig()
	cfg.Page.Endpoint, cfg.Page.Transport = l.Addr().String(), confignet.TransportTypeTCP
	src := &scripted{name: "a", sockets: sample(1, tcp.Established)}
	r := newRig(t, cfg, &refusing{}, src)
	err = r.Start(context.Background(), componenttest.NewNopHost())
	require.ErrorContains(t, err, "page::endpoint: listen tcp "+l.Addr().String())
	require.ErrorContains(t, err, "set page::endpoint to a free one")
	assert.Equal(t, src.opened, src.closed)
	require.NoError(t, r.Shutdown(context.Background()))
}
