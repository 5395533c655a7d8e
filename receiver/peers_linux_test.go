// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/netns/netnstest"
	"github.com/netpulse/tcpstatsreceiver/internal/peer"
	"github.com/netpulse/tcpstatsreceiver/internal/source/sockdiag"
)

// Each end of a connection within the host has the other's process.
func TestProcessesOfBothEnds(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("bash is not installed")
	}
	l, port := listenTCP(t)
	client := exec.Command(bash, "-c", fmt.Sprintf("exec 3<>/dev/tcp/127.0.0.1/%d; echo ok; read line", port))
	stdin, err := client.StdinPipe()
	require.NoError(t, err)
	stdout, err := client.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, client.Start())
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = client.Wait() // ends with its input, in error
	})
	conn, err := l.Accept()
	require.NoError(t, err)
	defer conn.Close()
	_, err = bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)

	cfg := createDefaultConfig()
	cfg.Groups.By = []string{"tcp.role", "tcp.peer.process.pid"}
	cfg.Process.RefreshInterval = 0
	cfg.System.Enabled = false
	cfg.Filter.States = []string{"established", "listen"}
	cfg.Filter.LocalPorts = []any{port, conn.RemoteAddr().(*net.TCPAddr).Port}
	cfg.Filter.PeerPorts = cfg.Filter.LocalPorts // connections of others may have the same local port
	next := &refusing{}
	s, err := newSteps(cfg, receivertest.NewNopSettings(metadata.Type), next, sockdiag.Factory())
	require.NoError(t, err)
	defer func() { require.NoError(t, s.close()) }()
	require.NoError(t, s.scrape())
	byRoleAndPID := make(map[string]bool)
	for _, md := range next.AllMetrics() {
		for _, m := range md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().All() {
			if m.Name() != "tcp.count" {
				continue
			}
			for _, dp := range m.Sum().DataPoints().All() {
				attrs := dp.Attributes().AsRaw()
				byRoleAndPID[fmt.Sprint(attrs["tcp.role"], " ", attrs["tcp.peer.process.pid"])] = true
			}
		}
	}
	assert.Equal(t, map[string]bool{fmt.Sprint("server ", client.Process.Pid): true, fmt.Sprint("client ", os.Getpid()): true}, byRoleAndPID)
}

// Each end of a connection between two namespaces has the process that has the other
// end.
func TestProcessesAcrossNamespaces(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("bash is not installed")
	}
	host, other := netnstest.New(t), netnstest.New(t)
	netnstest.Connect(host, other, "first", 92)
	var l net.Listener
	require.NoError(t, other.Do(func() (err error) {
		l, err = net.Listen("tcp", "10.92.0.2:0")
		return err
	}))
	defer l.Close()
	client := exec.Command(bash, "-c", fmt.Sprintf("exec 3<>/dev/tcp/10.92.0.2/%d; echo ok; read line", l.Addr().(*net.TCPAddr).Port))
	stdin, err := client.StdinPipe()
	require.NoError(t, err)
	stdout, err := client.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, host.Do(client.Start))
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = client.Wait() // ends with its input, in error
	})
	conn, err := l.Accept()
	require.NoError(t, err)
	defer conn.Close()
	_, err = bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)

	next := &refusing{}
	s := allSpaces(t, next, sockdiag.Factory(), func(cfg *Config) {
		cfg.Groups.By = []string{"tcp.role", "network.local.address", "tcp.peer.process.pid"}
		cfg.Process.Attribution = true
		cfg.System.Enabled = false
	})
	require.NoError(t, s.scrape())
	found := make(map[string]bool)
	for _, md := range next.AllMetrics() {
		for _, m := range md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().All() {
			if m.Name() != "tcp.count" {
				continue
			}
			for _, dp := range m.Sum().DataPoints().All() {
				attrs := dp.Attributes().AsRaw()
				if local, _ := attrs["network.local.address"].(string); strings.HasPrefix(local, "10.92.") {
					found[fmt.Sprint(local, " ", attrs["tcp.role"], " ", attrs["tcp.peer.process.pid"])] = true
				}
			}
		}
	}
	assert.True(t, found[fmt.Sprint("10.92.0.1 client ", os.Getpid())], "%v", found)
	assert.True(t, found[fmt.Sprint("10.92.0.2 server ", client.Process.Pid)], "%v", found)
}

// webPort is where the test's server listens.
const webPort = 18053

// A name that is asked for in a namespace is that of the server that is connected
// to there.
func TestNamesOfServers(t *testing.T) {
	host, resolver := netnstest.New(t), netnstest.New(t)
	netnstest.Connect(host, resolver, "first", 93)
	resolveInGo(resolver, "10.93.0.2", "fd00:93::2")
	accept(resolver, webPort)

	next := &refusing{}
	telemetry := componenttest.NewTelemetry()
	t.Cleanup(func() { assert.NoError(t, telemetry.Shutdown(context.Background())) })
	set := receivertest.NewNopSettings(metadata.Type)
	set.TelemetrySettings = telemetry.NewTelemetrySettings()
	s := allSpacesWith(t, set, next, sockdiag.Factory(), func(cfg *Config) {
		cfg.Groups.By = []string{"tcp.role", "server.address", "network.peer.address"}
		cfg.Peers.DNS.Enabled = true
		cfg.Connections.Enabled, cfg.Connections.PeerAttributes = true, []string{"server.address"}
		cfg.Metrics.DNSQueries.Enabled, cfg.Metrics.DNSLookupDuration.Enabled = true, true
		cfg.Filter.LocalPorts, cfg.Filter.PeerPorts = nil, []any{webPort}
	})
	require.NoError(t, s.scrape())
	dial := func() net.Conn {
		t.Helper()
		conn, err := dialIn(host, fmt.Sprintf("10.93.0.2:%d", webPort))
		require.NoError(t, err)
		return conn
	}
	seen := func() map[string]int64 {
		next.Reset()
		require.NoError(t, s.scrape())
		assert.NotContains(t, groupsOf(next, "network.peer.address"), "web.example")
		return groupsOf(next, "server.address")
	}
	unnamed := dial()
	defer unnamed.Close()
	assert.Equal(t, map[string]int64{"10.93.0.2": 1}, seen(), "nobody has asked for a name")

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	m := new(mdns.Msg)
	m.SetQuestion("web.example.", mdns.TypeA)
	require.NoError(t, host.Do(func() error {
		_, _, err := new(mdns.Client).ExchangeContext(ctx, m, "10.93.0.2:53")
		return err
	}))
	time.Sleep(200 * time.Millisecond) // engines may hand packets over in blocks
	named := dial()
	defer named.Close()
	want := map[string]int64{"10.93.0.2": 1, "web.example": 1}
	assert.Equal(t, want, seen())
	assert.Equal(t, want, seen(), "it stays")
	assert.Equal(t, map[string]int{"": 1, "web.example": 1}, countOf(next, "tcp.connection.rtt", "server.address"), "on series of single connections, too")
	lookups := map[string]any{"dns.question.type": "A", "dns.response.code": "NOERROR"}
	assert.Equal(t, int64(1), numbers(next, "dns.queries", lookups)[int64(host.ID())])
	// The host's own namespace is read as well, and whatever asks for names there.
	assert.Equal(t, 1, countOf(next, "dns.lookup.duration", "server.address")["10.93.0.2"])
	packets, err := telemetry.GetMetric("otelcol_receiver_tcpstats_capture_packets")
	require.NoError(t, err)
	var counted int64
	for _, dp := range packets.Data.(metricdata.Sum[int64]).DataPoints {
		counted += dp.Value
	}
	assert.GreaterOrEqual(t, counted, int64(2), "the query and its answer")
}

// countOf returns how many points of a gauge or of a histogram there are by the value of
// an attribute, "" for those without it.
func countOf(next *refusing, name, attribute string) map[string]int {
	counts := make(map[string]int)
	count := func(attrs pcommon.Map) {
		value, _ := attrs.AsRaw()[attribute].(string)
		counts[value]++
	}
	for _, md := range next.AllMetrics() {
		for _, rm := range md.ResourceMetrics().All() {
			for _, m := range rm.ScopeMetrics().At(0).Metrics().All() {
				switch {
				case m.Name() != name:
				case m.Type() == pmetric.MetricTypeHistogram:
					for _, dp := range m.Histogram().DataPoints().All() {
						count(dp.Attributes())
					}
				default:
					for _, dp := range m.Gauge().DataPoints().All() {
						count(dp.Attributes())
					}
				}
			}
		}
	}
	return counts
}

// The address behind a translated one is known, and who has it on this host.
func TestTranslatedPeers(t *testing.T) {
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("nft of nftables is not installed")
	}
	host, other := netnstest.New(t), netnstest.New(t)
	netnstest.Connect(host, other, "first", 94)
	host.Run(fmt.Sprintf(`ip route add 10.99.0.0/16 dev first
		nft add table inet test
		nft add chain inet test output { type nat hook output priority -100 ; }
		nft add rule inet test output ip daddr 10.99.0.1 tcp dport 443 dnat ip to 10.94.0.2:%d`, webPort))
	if err := host.Do(func() error {
		translations, err := peer.OpenTranslations()
		if err != nil {
			return err
		}
		return translations.Close()
	}); err != nil {
		t.Skip(err)
	}
	var l net.Listener
	require.NoError(t, other.Do(func() (err error) {
		l, err = net.Listen("tcp", fmt.Sprintf("10.94.0.2:%d", webPort))
		return err
	}))
	defer l.Close()

	next := &refusing{}
	s := allSpaces(t, next, sockdiag.Factory(), func(cfg *Config) {
		cfg.Groups.By = []string{"server.address", "tcp.peer.translated.address", "tcp.peer.translated.port", "tcp.peer.process.pid"}
		cfg.Process.Attribution = true
		cfg.Peers.NAT = true
		cfg.System.Enabled = false
	})
	require.NoError(t, s.scrape())
	var client net.Conn
	require.NoError(t, host.Do(func() (err error) {
		client, err = net.DialTimeout("tcp", "10.99.0.1:443", 5*time.Second)
		return err
	}))
	defer client.Close()
	server, err := l.Accept()
	require.NoError(t, err)
	defer server.Close()

	next.Reset()
	require.NoError(t, s.scrape())
	var found []map[string]any
	for _, md := range next.AllMetrics() {
		for _, m := range md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().All() {
			if m.Name() != "tcp.opens" {
				continue
			}
			for _, dp := range m.Sum().DataPoints().All() {
				if attrs := dp.Attributes().AsRaw(); attrs["server.address"] == "10.99.0.1" && dp.IntValue() == 1 {
					found = append(found, attrs)
				}
			}
		}
	}
	assert.Equal(t, []map[string]any{{
		"server.address": "10.99.0.1", "tcp.peer.translated.address": "10.94.0.2", "tcp.peer.translated.port": int64(webPort),
		"tcp.peer.process.pid": int64(os.Getpid()),
	}}, found)
}
