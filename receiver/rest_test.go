// SPDX-License-Identifier: Apache-2.0

//go:build linux || freebsd

package receiver

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/receiver/receivertest"

	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
)

// A real connection with which nothing happens rests with every source: none of the
// kernel's numbers that are compared moves by itself. What happens is written at once.
func TestIdleConnectionsRest(t *testing.T) {
	_ = namespacesSupported(t) // loads FreeBSD's module, where it is named
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer client.Close()
	server, err := l.Accept()
	require.NoError(t, err)
	defer server.Close()
	exchange := func() {
		_, err := client.Write([]byte("something"))
		require.NoError(t, err)
		_, err = server.Read(make([]byte, 100))
		require.NoError(t, err)
		time.Sleep(500 * time.Millisecond) // until it is acknowledged, delayed or not
	}

	for _, factory := range sources() {
		t.Run(factory.Name, func(t *testing.T) {
			cfg := createDefaultConfig()
			cfg.Source = factory.Name
			cfg.Connections.Enabled, cfg.Connections.Limit, cfg.Connections.UnchangedInterval = true, 0, 24*time.Hour
			cfg.Process.RefreshInterval = 0
			cfg.Filter.LocalPorts = []any{client.LocalAddr().(*net.TCPAddr).Port, l.Addr().(*net.TCPAddr).Port}
			cfg.Filter.PeerPorts = cfg.Filter.LocalPorts
			next := &refusing{}
			s, err := newSteps(cfg, receivertest.NewNopSettings(metadata.Type), next, factory)
			if err != nil {
				t.Skipf("%s cannot be opened: %v", factory.Name, err)
			}
			defer func() { require.NoError(t, s.close()) }()
			exchange()
			written := func() (ages int) {
				next.Reset()
				require.NoError(t, s.scrape())
				for _, md := range next.AllMetrics() {
					for _, rm := range md.ResourceMetrics().All() {
						for _, m := range rm.ScopeMetrics().At(0).Metrics().All() {
							if m.Name() == "tcp.connection.age" {
								ages += m.Gauge().DataPoints().Len()
							}
						}
					}
				}
				return ages
			}
			both := written()
			require.Equal(t, 2, both, "both ends")
			for range 5 {
				time.Sleep(300 * time.Millisecond)
				assert.Zero(t, written(), "nothing has happened")
			}
			exchange()
			again := written()
			if factory.Name == "procfs" || factory.Name == "sysctl" {
				return // they have nothing that an exchange must change
			}
			assert.Equal(t, 2, again, "something has happened")
			assert.Zero(t, written())
		})
	}
}
