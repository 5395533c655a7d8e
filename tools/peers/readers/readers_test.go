// SPDX-License-Identifier: Apache-2.0

//go:build linux

package readers

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/capture"
	"github.com/netpulse/tcpstatsreceiver/internal/capture/engines"
	"github.com/netpulse/tcpstatsreceiver/internal/capture/filter"
	"github.com/netpulse/tcpstatsreceiver/internal/capture/packet"
	"github.com/netpulse/tcpstatsreceiver/internal/dns"
	"github.com/netpulse/tcpstatsreceiver/internal/netns/netnstest"
	"github.com/netpulse/tcpstatsreceiver/internal/netns/netnstest/traffic"
)

func TestMain(m *testing.M) { traffic.Main(m) }

// device is the interface that the host sends with.
const device = "outside"

// world is a host that asks, and another that answers.
func world(t testing.TB) (host, other *netnstest.Place) {
	t.Helper()
	host, other = netnstest.New(t), netnstest.New(t)
	netnstest.Connect(host, other, device, traffic.Network)
	return host, other
}

// reading is an engine that runs, and the watcher behind it.
type reading struct {
	capture.Engine
	*dns.Watcher
	t      testing.TB
	cancel func()
	ended  chan error
}

// read opens an engine on a host and runs it.
func read(host *netnstest.Place, factory capture.Factory) (*reading, error) {
	host.T.Helper()
	program, err := filter.Port(dns.Port)
	require.NoError(host.T, err)
	r := &reading{
		Watcher: dns.NewWatcher(dns.Options{Names: dns.NewNames(dns.DefaultNames), Local: dns.NewLocal(host.Do)}),
		t:       host.T, ended: make(chan error, 1),
	}
	err = host.Do(func() (err error) {
		r.Engine, err = factory.Open(host.T.Context(), capture.Options{Filter: program, Do: host.Do})
		return err
	})
	if err != nil {
		return nil, err
	}
	var ctx context.Context
	ctx, r.cancel = context.WithCancel(context.Background())
	go func() { r.ended <- r.Run(ctx, func(p *packet.Packet) { r.Packet(p) }) }()
	return r, nil
}

// stop ends it.
func (r *reading) stop() {
	r.t.Helper()
	r.cancel()
	require.NoError(r.t, <-r.ended)
	require.NoError(r.t, r.Close())
}

// Each reader sees every query, and next to nothing but DNS.
func TestReaders(t *testing.T) {
	for _, factory := range append(engines.All(), All(device)...) {
		t.Run(factory.Name, func(t *testing.T) {
			host, other := world(t)
			r, err := read(host, factory)
			if err != nil {
				t.Skipf("it does not open: %v", err)
			}
			defer r.stop()
			assert.Equal(t, factory.Name, r.Name())
			assert.Equal(t, factory.Capabilities, r.Capabilities())
			const rate = 200 // little enough for every buffer, on a busy machine as well
			stopAnswers := traffic.Start(other, traffic.Load{Role: traffic.Answer, Port: dns.Port})
			stopOthers := traffic.Start(host, traffic.Load{Role: traffic.Send, Port: 9999, Rate: rate})
			stop := traffic.Start(host, traffic.Load{Role: traffic.Ask, Port: dns.Port, Rate: rate})
			netnstest.Eventually(t, "100 answers are seen", func() bool { return r.Counts().Answers >= 100 })
			sent, _ := stop()
			stopOthers()
			stopAnswers()
			defer func() {
				if t.Failed() {
					t.Logf("%d sent, %+v, %+v", sent, r.Counts(), r.Stats())
				}
			}()
			netnstest.Eventually(t, "all queries are seen", func() bool { return r.Counts().Queries == uint64(sent) })
			counts := r.Counts()
			assert.Equal(t, dns.Counts{Queries: uint64(sent), Answers: counts.Answers}, counts)
			// gopacket binds its sockets before they have the filter, so a few packets may
			// have come before that.
			const unfiltered = 10
			for range 2 { // reading the counters changes nothing
				stats := r.Stats()
				assert.InDelta(t, counts.Queries+counts.Answers, stats.Seen, unfiltered)
				assert.InDelta(t, stats.Seen, stats.Delivered, unfiltered)
				assert.Zero(t, stats.Dropped)
				assert.Greater(t, stats.Bytes, 40*stats.Delivered)
			}
		})
	}
}
