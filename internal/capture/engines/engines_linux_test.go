// SPDX-License-Identifier: Apache-2.0

package engines

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/capture"
	"github.com/netpulse/tcpstatsreceiver/internal/capture/filter"
	"github.com/netpulse/tcpstatsreceiver/internal/capture/packet"
	"github.com/netpulse/tcpstatsreceiver/internal/dns"
	"github.com/netpulse/tcpstatsreceiver/internal/netns/netnstest"
)

// Each engine sees the names that a host asks for, by each way there is.
func TestNames(t *testing.T) {
	for _, factory := range All() {
		t.Run(factory.Name, func(t *testing.T) { testNames(t, factory) })
	}
}

func testNames(t *testing.T, factory capture.Factory) {
	host, resolver := netnstest.New(t), netnstest.New(t)
	netnstest.Connect(host, resolver, "first", 71)
	serve(resolver, "[::]:53")
	serve(host, "127.0.0.53:53")

	names := dns.NewNames(100)
	var mu sync.Mutex
	var lookups []string
	watcher := dns.NewWatcher(dns.Options{Names: names, Observers: []dns.Observer{func(l *dns.Lookup) {
		mu.Lock()
		defer mu.Unlock()
		lookups = append(lookups, fmt.Sprintf("%s %s of %v by %d: %s", l.Name, dns.TypeName(l.Type), l.Server, l.Protocol, dns.RCodeName(l.RCode)))
		if l.Duration <= 0 || l.Duration > time.Second {
			t.Errorf("%s took %v", l.Name, l.Duration)
		}
	}}})
	engine := run(host, factory, watcher.Packet)
	name := func(address string) string { return names.Lookup(addr(address), time.Now(), 0) }
	becomes := func(address, want string) {
		t.Helper()
		netnstest.Eventually(t, fmt.Sprintf("%s is %s, not %q", address, want, name(address)), func() bool { return name(address) == want })
	}

	ask(host, "udp", "10.71.0.2:53", "one.example.", mdns.TypeA)
	becomes("192.0.2.1", "one.example")
	ask(host, "udp", "[fd00:71::2]:53", "One.Example.", mdns.TypeAAAA)
	becomes("2001:db8::1", "one.example")
	ask(host, "udp", "10.71.0.2:53", "other.example.", mdns.TypeA)
	becomes("192.0.2.1", "other.example")
	ask(host, "udp", "10.71.0.2:53", "www.example.", mdns.TypeA)
	becomes("192.0.2.2", "www.example")
	ask(host, "udp", "[fd00:71::2]:53", "www.example.", mdns.TypeAAAA)
	becomes("2001:db8::2", "www.example")
	ask(host, "tcp", "10.71.0.2:53", "tcp.example.", mdns.TypeA)
	becomes("192.0.2.4", "tcp.example")
	ask(host, "tcp", "[fd00:71::2]:53", "tcp.example.", mdns.TypeAAAA)
	becomes("2001:db8::4", "tcp.example")
	assert.Len(t, ask(host, "tcp", "10.71.0.2:53", "tcp.example.", mdns.TypeTXT).Answer, 200) // in pieces
	ask(host, "udp", "10.71.0.2:53", "nothing.example.", mdns.TypeA)
	ask(host, "udp", "127.0.0.53:53", "local.example.", mdns.TypeA)
	becomes("192.0.2.5", "local.example")

	// An interface that comes later.
	netnstest.Connect(host, resolver, "second", 72)
	ask(host, "udp", "10.72.0.2:53", "later.example.", mdns.TypeA)
	becomes("192.0.2.3", "later.example")
	host.Run("ip link del second")
	ask(host, "udp", "10.71.0.2:53", "one.example.", mdns.TypeA)
	becomes("192.0.2.1", "one.example")

	mu.Lock()
	assert.Contains(t, lookups, "one.example A of 10.71.0.2:53 by 17: NOERROR")
	assert.Contains(t, lookups, "one.example AAAA of [fd00:71::2]:53 by 17: NOERROR")
	assert.Contains(t, lookups, "tcp.example TXT of 10.71.0.2:53 by 6: NOERROR")
	assert.Contains(t, lookups, "nothing.example A of 10.71.0.2:53 by 17: NXDOMAIN")
	assert.Contains(t, lookups, "local.example A of 127.0.0.53:53 by 17: NOERROR")
	mu.Unlock()
	assert.Equal(t, dns.Counts{Queries: 12, Answers: 12}, watcher.Counts(), "each once, on the loopback interface as well")

	// What others ask this host is not what it asks.
	serve(host, "10.71.0.1:53")
	before := watcher.Counts()
	ask(resolver, "udp", "10.71.0.1:53", "edge.example.", mdns.TypeA)
	netnstest.Eventually(t, "a query of others is seen", func() bool { return watcher.Counts().Foreign == 2 })
	before.Foreign = 2
	assert.Equal(t, before, watcher.Counts())
	assert.Equal(t, "www.example", name("192.0.2.2"))
	expire(t, names, "192.0.2.1", "192.0.2.2")

	stats := engine.Stats()
	assert.Zero(t, stats.Dropped)
	assert.Equal(t, stats.Seen, stats.Delivered)
	assert.Greater(t, stats.Bytes, 40*stats.Delivered)
	assert.Zero(t, stats.BlocksInUse)
	engine.mu.Lock()
	defer engine.mu.Unlock()
	for _, p := range engine.seen {
		assert.NotEqual(t, packet.UnknownDirection, p.Direction)
		assert.WithinDuration(t, time.Now(), p.Time, time.Minute)
		assert.NotZero(t, p.Interface)
		assert.NotZero(t, p.Length)
	}
}

// Nothing but what the filter takes is seen, and running can be interrupted and go
// on.
func TestEngines(t *testing.T) {
	for _, factory := range All() {
		t.Run(factory.Name, func(t *testing.T) {
			host, other := netnstest.New(t), netnstest.New(t)
			netnstest.Connect(host, other, "first", 73)
			program, err := filter.Port(53)
			require.NoError(t, err)
			var engine capture.Engine
			err = host.Do(func() (err error) {
				engine, err = factory.Open(t.Context(), capture.Options{Filter: program, Do: host.Do})
				return err
			})
			if err != nil {
				t.Skipf("%s does not open: %v", factory.Name, err)
			}
			defer func() { assert.NoError(t, engine.Close()) }()
			assert.Equal(t, factory.Capabilities, engine.Capabilities())
			assert.Equal(t, factory.Name, engine.Name())

			send := func(to string, length int) {
				require.NoError(t, host.Do(func() error {
					conn, err := net.Dial("udp", to)
					if err != nil {
						return err
					}
					_, err = conn.Write(make([]byte, length))
					return errors.Join(err, conn.Close())
				}))
			}
			lengths := []int{1, 471, 472, 473, 1400, 5000, 40000}
			for round := 1; round <= 3; round++ {
				// What comes while it does not run waits.
				for _, length := range lengths {
					send("10.73.0.2:53", length)
					send("10.73.0.2:5353", length)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				var got []int
				require.NoError(t, engine.Run(ctx, func(p *packet.Packet) {
					var s packet.Segment
					if err := packet.Decode(p, &s); err != nil {
						t.Error(err)
					}
					// The longer ones leave in fragments, of which the first is seen.
					if s.Destination.Port() != 53 || s.Missing != 0 || p.Direction != packet.Outbound || s.Fragment != (len(s.Payload) > 1450) && s.Fragment != (len(s.Payload) == 1472) {
						t.Errorf("%+v of %+v", s, p)
					}
					if got = append(got, len(s.Payload)); len(got) == len(lengths) {
						cancel()
					}
				}))
				cancel()
				assert.Equal(t, []int{1, 471, 472, 473, 1400, 1472, 1472}, got)
				stats := engine.Stats()
				assert.Equal(t, uint64(round*len(lengths)), stats.Seen)
				assert.Equal(t, uint64(round*len(lengths)), stats.Delivered)
				assert.Zero(t, stats.Dropped)
			}
		})
	}
}

// Packets that are not read in time are dropped and counted.
func TestDrops(t *testing.T) {
	for _, factory := range All() {
		t.Run(factory.Name, func(t *testing.T) {
			host, other := netnstest.New(t), netnstest.New(t)
			netnstest.Connect(host, other, "first", 74)
			require.NoError(t, other.Do(func() error {
				// Without a socket the packets would be refused.
				conn, err := net.ListenPacket("udp", ":53")
				if err == nil {
					t.Cleanup(func() { assert.NoError(t, conn.Close()) })
				}
				return err
			}))
			block := make(chan struct{})
			release := sync.OnceFunc(func() { close(block) })
			engine := run(host, factory, func(*packet.Packet) { <-block })
			t.Cleanup(release)
			const packets = 3000
			require.NoError(t, host.Do(func() error {
				conn, err := net.Dial("udp", "10.74.0.2:53")
				if err != nil {
					return err
				}
				for range packets {
					if _, err := conn.Write(make([]byte, 1400)); err != nil {
						return errors.Join(err, conn.Close())
					}
				}
				return conn.Close()
			}))
			netnstest.Eventually(t, "packets are dropped", func() bool { return engine.Stats().Dropped > 0 })
			release()
			netnstest.Eventually(t, "the others are delivered", func() bool {
				stats := engine.Stats()
				return stats.Seen >= packets && stats.Delivered+stats.Dropped == stats.Seen
			})
			t.Logf("%+v", engine.Stats())
		})
	}
}

// The privileges that the documentation names are enough, and without them the
// error says what to grant.
func TestPrivileges(t *testing.T) {
	program, err := filter.Port(53)
	require.NoError(t, err)
	needs := map[string]struct {
		capabilities []int
		advice       string
	}{
		"tcx":        {[]int{unix.CAP_BPF, unix.CAP_NET_ADMIN}, "grant CAP_BPF and CAP_NET_ADMIN"},
		"tpacket_v3": {[]int{unix.CAP_NET_RAW}, "grant CAP_NET_RAW"},
		"af_packet":  {[]int{unix.CAP_NET_RAW}, "grant CAP_NET_RAW"},
	}
	for _, factory := range All() {
		t.Run(factory.Name, func(t *testing.T) {
			host := netnstest.New(t)
			open := func() (capture.Engine, error) {
				return factory.Open(t.Context(), capture.Options{Filter: program, Do: host.Do})
			}
			require.NoError(t, host.Do(func() error {
				netnstest.WithOnly(t, nil, func() {
					_, err := open()
					assert.ErrorIs(t, err, unix.EPERM)
					assert.ErrorContains(t, err, needs[factory.Name].advice)
				})
				netnstest.WithOnly(t, needs[factory.Name].capabilities, func() {
					engine, err := open()
					if assert.NoError(t, err) {
						assert.NoError(t, engine.Close())
					}
				})
				return nil
			}))
		})
	}
}

func TestRefused(t *testing.T) {
	for _, factory := range All() {
		t.Run(factory.Name, func(t *testing.T) {
			host := netnstest.New(t)
			err := host.Do(func() error {
				engine, err := factory.Open(t.Context(), capture.Options{})
				if err == nil {
					return engine.Close()
				}
				return err
			})
			assert.Error(t, err, "a filter of no instructions")
		})
	}
}
