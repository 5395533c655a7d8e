package engines

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/capture"
	"github.com/netpulse/tcpstatsreceiver/internal/capture/filter"
	"github.com/netpulse/tcpstatsreceiver/internal/capture/packet"
	"github.com/netpulse/tcpstatsreceiver/internal/netns/netnstest"
)

// zone is what the test's server answers, and which names are aliases.
func zone(t testing.TB) dns.HandlerFunc {
	records := make(map[string][]dns.RR)
	for _, line := range []string{
		"one.example. 60 A 192.0.2.1", "one.example. 60 AAAA 2001:db8::1",
		"other.example. 60 A 192.0.2.1",
		"www.example. 30 CNAME front.example.", "front.example. 60 CNAME edge.example.", "edge.example. 60 A 192.0.2.2", "edge.example. 60 AAAA 2001:db8::2",
		"later.example. 60 A 192.0.2.3", "tcp.example. 60 A 192.0.2.4", "tcp.example. 60 AAAA 2001:db8::4", "local.example. 60 A 192.0.2.5",
	} {
		rr, err := dns.NewRR(line)
		require.NoError(t, err)
		records[rr.Header().Name] = append(records[rr.Header().Name], rr)
	}
	for i := range 200 { // more than a datagram holds
		rr, err := dns.NewRR(fmt.Sprintf("tcp.example. 60 TXT \"%0200d\"", i))
		require.NoError(t, err)
		records["tcp.example."] = append(records["tcp.example."], rr)
	}
	return func(w dns.ResponseWriter, r *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(r)
		m.Compress = true
		question := r.Question[0]
		name := strings.ToLower(question.Name)
		if len(records[name]) == 0 {
			m.Rcode = dns.RcodeNameError
		}
		for next := name; next != ""; {
			name, next = next, ""
			for _, rr := range records[name] {
				if cname, ok := rr.(*dns.CNAME); ok {
					m.Answer = append(m.Answer, rr)
					next = cname.Target
				} else if rr.Header().Rrtype == question.Qtype {
					m.Answer = append(m.Answer, rr)
				}
			}
		}
		if edns := r.IsEdns0(); edns != nil {
			m.SetEdns0(1232, false)
		}
		if err := w.WriteMsg(m); err != nil {
			t.Errorf("answer %s: %v", question.Name, err)
		}
	}
}

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
	r := &running{t: p.T}
	err = p.Do(func() (err error) {
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

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }
