// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"context"
	"net"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestLookups has a real resolver on the loopback interface answer, refuse to know, and
// keep silent: the distribution counts all of it, and how long it took. The name of the
// server that is connected to is on its group and on its own series.
func TestLookups(t *testing.T) {
	path, err := exec.LookPath("dnsmasq")
	if err != nil {
		t.Skip("dnsmasq is not installed")
	}
	if !ownNamespace() {
		t.Skip("the port 53 may be somebody else's here")
	}
	const named = "192.0.2.53" // names of 127.0.0.1 would mislead
	out, err := exec.Command("ip", "address", "add", named+"/32", "dev", "lo").CombinedOutput()
	require.NoError(t, err, "%s", out)
	t.Cleanup(func() {
		assert.NoError(t, exec.Command("ip", "address", "delete", named+"/32", "dev", "lo").Run())
	})
	resolver := exec.Command(path, "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root", "--pid-file=",
		"--bind-interfaces", "--listen-address=127.0.0.53", "--except-interface=nothing", "--host-record=web.example,"+named, "--local=/example/")
	require.NoError(t, resolver.Start())
	t.Cleanup(func() {
		_ = resolver.Process.Kill() // it may have ended already
		_ = resolver.Wait()
	})
	silent, err := net.ListenPacket("udp", "127.0.0.54:53") // it reads nothing
	require.NoError(t, err)
	defer silent.Close()

	c := startCollector(t, every("1s", "connections: {enabled: true, limit: 0, peer_attributes: [server.address]}, "+
		"groups: {by: [tcp.role, server.address]}, peers: {dns: {enabled: true}}, "+
		"metrics: {dns.lookup.duration: {enabled: true}, dns.queries: {enabled: true}}"), 0)
	c.Sink.Next(t)
	ask := func(network, server, name string) error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := (&net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, server+":53")
		}}).LookupNetIP(ctx, "ip4", name)
		return err
	}
	c.await(t, "dnsmasq does not answer", func() bool { return ask("udp", "127.0.0.53", "web.example.") == nil })
	require.NoError(t, ask("tcp", "127.0.0.53", "web.example."))
	for range 3 {
		require.Error(t, ask("udp", "127.0.0.53", "nothing.example."))
	}
	require.Error(t, ask("udp", "127.0.0.54", "silent.example."))

	l, err := net.Listen("tcp", named+":0")
	require.NoError(t, err)
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer conn.Close()

	queries := func(outcome ...string) string {
		labels := map[string]string{"dns.question.type": "A"}
		for i := 0; i < len(outcome); i += 2 {
			labels[outcome[i]] = outcome[i+1]
		}
		return sample("dns.queries", labels)
	}
	duration := func(server string, outcome ...string) string {
		labels := map[string]string{"server.address": server}
		for i := 0; i < len(outcome); i += 2 {
			labels[outcome[i]] = outcome[i+1]
		}
		return sample("dns.lookup.duration", labels)
	}
	s := c.Sink.Next(t)
	for deadline := time.Now().Add(patience); s.Groups[queries("error.type", "timeout")].Number < 1 && time.Now().Before(deadline); {
		s = c.Sink.Next(t)
	}
	nxdomain := []string{"dns.response.code", "NXDOMAIN", "error.type", "NXDOMAIN"}
	answered := s.Groups[queries("dns.response.code", "NOERROR")].Number
	assert.GreaterOrEqual(t, answered, 2.0, "by UDP and by TCP")
	for key, want := range map[string]float64{
		queries(nxdomain...):                                   3,
		queries("error.type", "timeout"):                       1,
		duration("127.0.0.53", "dns.response.code", "NOERROR"): answered,
		duration("127.0.0.53", nxdomain...):                    3,
		duration("127.0.0.54", "error.type", "timeout"):        1,
		sample("tcp.opens", map[string]string{"tcp.role": "client", "server.address": "web.example"}): 1,
	} {
		assert.InDelta(t, want, s.Groups[key].Number, 0, key)
	}
	found := make(map[any]bool)
	for tuple, connection := range s.Connections {
		if tuple.Local.String() == conn.LocalAddr().String() {
			for _, value := range connection.Values {
				found[value.Attributes["server.address"]] = true
			}
		}
	}
	assert.Equal(t, map[any]bool{"web.example": true}, found, "each series of the connection has it")
}
