// SPDX-License-Identifier: Apache-2.0

package engines

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/bpf"

	"github.com/netpulse/tcpstatsreceiver/internal/capture"
	"github.com/netpulse/tcpstatsreceiver/internal/capture/filter"
	"github.com/netpulse/tcpstatsreceiver/internal/capture/packet"
	"github.com/netpulse/tcpstatsreceiver/internal/netns/netnstest"
)

// serve answers queries in a namespace until the test ends.
func serve(p *netnstest.Place, address string) {
	p.T.Helper()
	for _, network := range []string{"udp", "tcp"} {
		started := make(chan struct{})
		server := &dns.Server{Addr: address, Net: network, Handler: zone(p.T), NotifyStartedFunc: func() { close(started) }}
		ended := make(chan error, 1)
		go func() { ended <- p.Do(server.ListenAndServe) }()
		select {
		case <-started:
		case err := <-ended:
			require.NoError(p.T, err)
		case <-time.After(5 * time.Second):
			p.T.Fatal("the server does not start")
		}
		p.T.Cleanup(func() {
			require.NoError(p.T, server.Shutdown())
			require.NoError(p.T, <-ended)
		})
	}
}

// ask sends a query from a namespace and returns the answer.
func ask(p *netnstest.Place, network, server, name string, typ uint16) *dns.Msg {
	p.T.Helper()
	m := new(dns.Msg)
	m.SetQuestion(name, typ)
	m.SetEdns0(1232, false)
	client := dns.Client{Net: network, Timeout: 5 * time.Second}
	var answer *dns.Msg
	require.NoError(p.T, p.Do(func() (err error) {
		answer, _, err = client.Exchange(m, server)
		return err
	}))
	return answer
}

// running is an engine that runs in a namespace.
type running struct {
	capture.Engine
	t testing.TB

	mu   sync.Mutex
	seen []packet.Packet // without data
}

// maxSeen is how many packets are kept.
const maxSeen = 1000

// run opens an engine in a namespace and runs it until the test ends.
func run(p *netnstest.Place, factory capture.Factory, visit func(*packet.Packet)) *running {
	p.T.Helper()
	program, err := filter.Port(53)
	require.NoError(p.T, err)
	return runWith(p, factory, program, visit)
}

// runWith is run with another filter.
func runWith(p *netnstest.Place, factory capture.Factory, program []bpf.Instruction, visit func(*packet.Packet)) *running {
	p.T.Helper()
	r := &running{t: p.T}
	err := p.Do(func() (err error) {
		r.Engine, err = factory.Open(p.T.Context(), capture.Options{Filter: program, Do: p.Do})
		return err
	})
	if err != nil {
		p.T.Skipf("%s does not open: %v", factory.Name, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- r.Run(ctx, func(one *packet.Packet) {
			r.mu.Lock()
			defer r.mu.Unlock()
			if len(r.seen) < maxSeen {
				bare := *one
				bare.Data = nil
				r.seen = append(r.seen, bare)
			}
			visit(one)
		})
	}()
	p.T.Cleanup(func() {
		cancel()
		require.NoError(p.T, <-ended)
		require.NoError(p.T, r.Close())
	})
	return r
}
