// SPDX-License-Identifier: Apache-2.0

package engines

import (
	"context"
	"os/exec"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	"github.com/netpulse/tcpstatsreceiver/internal/capture"
	"github.com/netpulse/tcpstatsreceiver/internal/capture/filter"
	"github.com/netpulse/tcpstatsreceiver/internal/dns"
	"github.com/netpulse/tcpstatsreceiver/internal/netns/netnstest"
)

// A capture of another namespace, from the choice of its engine to the names, with
// a resolver that many hosts have.
func TestAuto(t *testing.T) {
	host, resolver := netnstest.New(t), netnstest.New(t)
	path, err := exec.LookPath("dnsmasq")
	if err != nil {
		t.Skip("dnsmasq is not installed")
	}
	netnstest.Connect(host, resolver, "first", 77)
	server := exec.Command(path, "--no-daemon", "--no-resolv", "--no-hosts", "--conf-file=/dev/null", "--pid-file=", "--user=root",
		"--local-ttl=60", "--address=/one.example/192.0.2.1", "--address=/one.example/2001:db8::1", "--host-record=edge.example,192.0.2.2", "--cname=www.example,edge.example")
	require.NoError(t, resolver.Do(server.Start))
	t.Cleanup(func() {
		_ = server.Process.Kill() // may have ended already
		_ = server.Wait()
	})

	program, err := filter.Port(dns.Port)
	require.NoError(t, err)
	var changes []string
	c := capture.New(All(), capture.Choice{Name: capture.Auto, Require: capture.Direction | capture.KernelFilter}, capture.Options{Filter: program, Do: host.Do}, zaptest.NewLogger(t),
		func(from, to string) { changes = append(changes, from+">"+to) })
	require.NoError(t, c.Open(t.Context()))
	names := dns.NewNames(100)
	watcher := dns.NewWatcher(dns.Options{Names: names})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.Run(ctx, watcher.Packet)
	}()
	stop := func() { cancel(); <-done }
	defer stop()

	name := func(a string) string { return names.Lookup(addr(a), time.Now(), 0) }
	netnstest.Eventually(t, "dnsmasq answers", func() bool {
		m := new(mdns.Msg)
		m.SetQuestion("one.example.", mdns.TypeA)
		client := mdns.Client{Timeout: 100 * time.Millisecond}
		return host.Do(func() error {
			_, _, err := client.Exchange(m, "10.77.0.2:53")
			return err
		}) == nil
	})
	ask(host, "udp", "[fd00:77::2]:53", "one.example.", mdns.TypeAAAA)
	ask(host, "tcp", "10.77.0.2:53", "www.example.", mdns.TypeA)
	netnstest.Eventually(t, "names are known", func() bool {
		return name("192.0.2.1") == "one.example" && name("2001:db8::1") == "one.example" && name("192.0.2.2") == "www.example"
	})
	engine := c.Current()
	assert.Contains(t, capture.Names(All()), engine)
	assert.NotZero(t, c.Stats()[engine].Delivered)
	stop()
	assert.Equal(t, []string{">" + engine}, changes)
	assert.NotZero(t, c.Stats()[engine].Delivered, "after its end as well")
}
