// SPDX-License-Identifier: Apache-2.0

package engines

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/capture"
	"github.com/netpulse/tcpstatsreceiver/internal/capture/filter"
	"github.com/netpulse/tcpstatsreceiver/internal/capture/packet"
	"github.com/netpulse/tcpstatsreceiver/internal/dns"
)

// listen answers queries on the loopback interface until the test ends.
func listen(t *testing.T, network, address string) {
	t.Helper()
	started := make(chan struct{})
	server := &mdns.Server{Addr: address, Net: network, Handler: zone(t), NotifyStartedFunc: func() { close(started) }}
	ended := make(chan error, 1)
	go func() { ended <- server.ListenAndServe() }()
	select {
	case <-started:
	case err := <-ended:
		t.Skipf("no server on %s: %v", address, err)
	}
	t.Cleanup(func() {
		assert.NoError(t, server.Shutdown())
		assert.NoError(t, <-ended)
	})
}

func exchange(t *testing.T, network, server, name string, typ uint16) {
	t.Helper()
	m := new(mdns.Msg)
	m.SetQuestion(name, typ)
	client := mdns.Client{Net: network, Timeout: 5 * time.Second}
	_, _, err := client.Exchange(m, server)
	require.NoError(t, err)
}

// The engine sees the names that are asked for over the loopback interface.
func TestNames(t *testing.T) {
	program, err := filter.Port(53)
	require.NoError(t, err)
	engine, err := All()[0].Open(t.Context(), capture.Options{Filter: program})
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		t.Skip(err)
	}
	require.NoError(t, err)
	defer func() { assert.NoError(t, engine.Close()) }()
	assert.Equal(t, All()[0].Capabilities, engine.Capabilities())

	names := dns.NewNames(100)
	watcher := dns.NewWatcher(dns.Options{Names: names, Local: dns.NewLocal(nil)})
	for _, network := range []string{"udp", "tcp"} {
		listen(t, network, "127.0.0.1:53")
	}
	listen(t, "udp", "[::1]:53")
	for round := range 2 { // running can be interrupted and go on
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- engine.Run(ctx, func(p *packet.Packet) {
				assert.NotZero(t, p.Interface)
				assert.WithinDuration(t, time.Now(), p.Time, time.Minute)
				watcher.Packet(p)
			})
		}()
		exchange(t, "udp", "127.0.0.1:53", "one.example.", mdns.TypeA)
		exchange(t, "udp", "[::1]:53", "www.example.", mdns.TypeAAAA)
		exchange(t, "tcp", "127.0.0.1:53", "tcp.example.", mdns.TypeA)
		conn, err := net.Dial("udp", "127.0.0.1:5353")
		require.NoError(t, err)
		_, err = conn.Write([]byte("another port"))
		require.NoError(t, err)
		require.NoError(t, conn.Close())
		want := uint64(3 * (round + 1))
		for end := time.Now().Add(5 * time.Second); watcher.Counts().Answers < want && time.Now().Before(end); {
			time.Sleep(5 * time.Millisecond)
		}
		cancel()
		require.NoError(t, <-ended)
		assert.Equal(t, dns.Counts{Queries: want, Answers: want}, watcher.Counts())
	}
	assert.Equal(t, "one.example", names.Lookup(addr("192.0.2.1"), time.Now(), 0))
	assert.Equal(t, "www.example", names.Lookup(addr("2001:db8::2"), time.Now(), 0))
	assert.Equal(t, "tcp.example", names.Lookup(addr("192.0.2.4"), time.Now(), 0))
	expire(t, names, "192.0.2.1", "192.0.2.4")
	stats := engine.Stats()
	assert.Zero(t, stats.Dropped)
	assert.Equal(t, stats.Seen, stats.Delivered)
	assert.Greater(t, stats.Bytes, 40*stats.Delivered)
}
