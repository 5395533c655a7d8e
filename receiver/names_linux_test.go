// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/receiver/receivertest"

	"github.com/netpulse/tcpstatsreceiver/internal/capture"
	"github.com/netpulse/tcpstatsreceiver/internal/capture/engines"
	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/netns/netnstest"
	"github.com/netpulse/tcpstatsreceiver/internal/source/sockdiag"
)

// resolvers are programs that answer queries at the two addresses of a namespace:
// web.example has both addresses, other.example the first, and www.example is, behind
// front.example, another name of web.example.
var resolvers = map[string]func(p *netnstest.Place, addr4, addr6 string){
	"a server of Go": resolveInGo,
	"dnsmasq": func(p *netnstest.Place, addr4, addr6 string) {
		program(p, "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root", "--pid-file=",
			"--bind-interfaces", "--listen-address="+addr4, "--listen-address="+addr6, "--local-ttl=1",
			"--host-record=web.example,"+addr4+","+addr6, "--host-record=other.example,"+addr4,
			"--cname=www.example,front.example", "--cname=front.example,web.example")
	},
	"unbound": func(p *netnstest.Place, addr4, addr6 string) {
		path := filepath.Join(p.T.TempDir(), "unbound.conf")
		require.NoError(p.T, os.WriteFile(path, fmt.Appendf(nil, `
server:
  interface: %[1]s
  interface: %[2]s
  access-control: 0.0.0.0/0 allow
  access-control: ::0/0 allow
  do-daemonize: no
  use-syslog: no
  chroot: ""
  username: ""
  pidfile: ""
  module-config: "iterator"
  local-zone: "example." static
  local-data: "web.example. 1 IN A %[1]s"
  local-data: "web.example. 1 IN AAAA %[2]s"
  local-data: "other.example. 1 IN A %[1]s"
  local-data: "www.example. 1 IN A %[1]s"
remote-control:
  control-enable: no
`, addr4, addr6), 0o600))
		program(p, "unbound", "-d", "-c", path) // it follows no aliases of its own data
	},
}

// program runs a program in a namespace until the test ends.
func program(p *netnstest.Place, name string, args ...string) {
	p.T.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		p.T.Skip(name + " is not installed")
	}
	cmd := exec.Command(path, args...)
	require.NoError(p.T, p.Do(cmd.Start))
	p.T.Cleanup(func() {
		_ = cmd.Process.Kill() // may have ended already
		_ = cmd.Wait()
	})
}

// resolveInGo is a server that compresses names and follows aliases.
func resolveInGo(p *netnstest.Place, addr4, addr6 string) {
	records := make(map[string][]mdns.RR)
	for _, line := range []string{
		"web.example. 1 A " + addr4, "web.example. 1 AAAA " + addr6, "other.example. 1 A " + addr4,
		"www.example. 1 CNAME front.example.", "front.example. 1 CNAME web.example.",
	} {
		rr, err := mdns.NewRR(line)
		require.NoError(p.T, err)
		records[rr.Header().Name] = append(records[rr.Header().Name], rr)
	}
	handler := mdns.HandlerFunc(func(w mdns.ResponseWriter, r *mdns.Msg) {
		m := new(mdns.Msg)
		m.SetReply(r)
		m.Compress = true
		for name := mdns.CanonicalName(r.Question[0].Name); name != ""; {
			of := records[name]
			name = ""
			for _, rr := range of {
				if alias, ok := rr.(*mdns.CNAME); ok {
					name = alias.Target
				} else if rr.Header().Rrtype != r.Question[0].Qtype {
					continue
				}
				m.Answer = append(m.Answer, rr)
			}
		}
		_ = w.WriteMsg(m) // the client notices
	})
	for _, network := range []string{"udp", "tcp"} {
		for _, addr := range []string{addr4, addr6} {
			started := make(chan struct{})
			server := &mdns.Server{Addr: net.JoinHostPort(addr, "53"), Net: network, Handler: handler, NotifyStartedFunc: func() { close(started) }}
			ended := make(chan error, 1)
			go func() { ended <- p.Do(server.ListenAndServe) }()
			select {
			case <-started:
			case err := <-ended:
				require.NoError(p.T, err)
			}
			p.T.Cleanup(func() {
				require.NoError(p.T, server.Shutdown())
				require.NoError(p.T, <-ended)
			})
		}
	}
}

// Connections and groups have the name that was asked for last before they opened,
// whichever way it was asked and whatever captures packets.
func TestNamesByEveryEngine(t *testing.T) {
	for name, resolve := range resolvers {
		for _, factory := range engines.All() {
			t.Run(name+"/"+factory.Name, func(t *testing.T) { testNamesBy(t, resolve, factory) })
		}
	}
}

func testNamesBy(t *testing.T, resolve func(*netnstest.Place, string, string), factory capture.Factory) {
	const addr4, addr6, port = "10.95.0.2", "fd00:95::2", webPort + 1
	host, other := netnstest.New(t), netnstest.New(t)
	netnstest.Connect(host, other, "first", 95)
	resolve(other, addr4, addr6)
	accept(other, port)
	ask := func(network, server, name string, typ uint16) error {
		m := new(mdns.Msg)
		m.SetQuestion(name, typ)
		m.SetEdns0(1232, false)
		return host.Do(func() error {
			answer, _, err := (&mdns.Client{Net: network, Timeout: 2 * time.Second}).Exchange(m, net.JoinHostPort(server, "53"))
			if err == nil && len(answer.Answer) == 0 {
				err = fmt.Errorf("nothing about %s: %v", name, answer)
			}
			return err
		})
	}
	netnstest.Eventually(t, "the server answers", func() bool { return ask("tcp", addr6, "web.example.", mdns.TypeAAAA) == nil })

	next := &refusing{}
	s := allSpacesWith(t, receivertest.NewNopSettings(metadata.Type), next, sockdiag.Factory(), func(cfg *Config) {
		cfg.Groups.By = []string{"server.address"}
		cfg.Connections.Enabled, cfg.Connections.PeerAttributes = true, []string{"server.address"}
		cfg.Peers.DNS = DNSConfig{Enabled: true, Engine: factory.Name}
		cfg.System.Enabled = false
		cfg.Filter.PeerPorts = []any{port}
	})
	require.NoError(t, s.scrape())
	want := make(map[string]int64)
	for _, step := range []struct {
		network, server, name string
		typ                   uint16
		to, opened            string
	}{
		{"udp", addr4, "web.example.", mdns.TypeA, addr4, "web.example"},
		{"udp", addr6, "web.example.", mdns.TypeAAAA, addr6, "web.example"},
		{"tcp", addr6, "www.example.", mdns.TypeA, addr4, "www.example"},
		{"tcp", addr4, "other.example.", mdns.TypeA, addr4, "other.example"},
		{"udp", addr6, "WEB.example.", mdns.TypeA, addr4, "web.example"}, // and over again
		{"", "", "", 0, addr6, "web.example"},                            // not asked for again
	} {
		if step.network != "" {
			require.NoError(t, ask(step.network, step.server, step.name, step.typ))
		}
		time.Sleep(150 * time.Millisecond) // engines may hand packets over in blocks
		conn, err := dialIn(host, net.JoinHostPort(step.to, fmt.Sprint(port)))
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, conn.Close()) })
		want[step.opened]++
		next.Reset()
		require.NoError(t, s.scrape())
		assert.Equal(t, want, groupsOf(next, "server.address"), "%+v", step)
	}
	series := make(map[string]int64)
	for name, n := range countOf(next, "tcp.connection.rtt", "server.address") {
		series[name] = int64(n)
	}
	assert.Equal(t, want, series)
}

// accept accepts connections in a namespace, over IPv4 and IPv6, until the test ends.
func accept(p *netnstest.Place, port int) {
	p.T.Helper()
	var l net.Listener
	require.NoError(p.T, p.Do(func() (err error) {
		l, err = net.Listen("tcp", fmt.Sprintf("[::]:%d", port))
		return err
	}))
	p.T.Cleanup(func() { assert.NoError(p.T, l.Close()) })
	go func() {
		for {
			conn, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(io.Discard, conn) // until the client closes
			}()
		}
	}()
}

func dialIn(p *netnstest.Place, address string) (conn net.Conn, err error) {
	err = p.Do(func() (err error) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		conn, err = new(net.Dialer).DialContext(ctx, "tcp", address)
		return err
	})
	return conn, err
}
