package engines

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/netpulse/tcpstatsreceiver/internal/capture"
	"github.com/netpulse/tcpstatsreceiver/internal/capture/filter"
	"github.com/netpulse/tcpstatsreceiver/internal/capture/packet"
	"github.com/netpulse/tcpstatsreceiver/internal/netns"
)

// place is a network namespace of the test's own.
type place struct {
	t   testing.TB
	pid int
	*netns.Namespace
}

// newPlace makes a namespace, which goes with the test.
func newPlace(t testing.TB) *place {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces are made by root alone")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("ip of iproute2 is not installed")
	}
	cmd := exec.Command("sleep", "300")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if err := cmd.Start(); err != nil {
		t.Skipf("no network namespace can be made: %v", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // may have ended already
		_ = cmd.Wait()
	})
	var st unix.Stat_t
	require.NoError(t, unix.Stat(fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid), &st))
	ns, err := netns.Open("/proc", int32(cmd.Process.Pid), st.Ino)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, ns.Close()) })
	p := &place{t: t, pid: cmd.Process.Pid, Namespace: ns}
	p.run("ip link set lo up")
	return p
}

// run runs commands in the namespace, one a line.
func (p *place) run(commands string) {
	p.t.Helper()
	for line := range strings.Lines(commands) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		var out []byte
		err := p.Do(func() (err error) {
			out, err = exec.Command(words[0], words[1:]...).CombinedOutput()
			return err
		})
		require.NoError(p.t, err, "%s: %s", line, out)
	}
}

// connect joins two namespaces by a pair of interfaces of that name, with the
// addresses 10.n.0.1 and fd00:n::1, and 10.n.0.2 and fd00:n::2.
func connect(a, b *place, name string, n int) {
	a.t.Helper()
	a.run(fmt.Sprintf("ip link add %s type veth peer name %s netns %d", name, name, b.pid))
	for i, p := range []*place{a, b} {
		p.run(fmt.Sprintf(`ip addr add 10.%d.0.%d/24 dev %s
			ip addr add fd00:%d::%d/64 dev %s nodad
			ip link set %s up`, n, i+1, name, n, i+1, name, name))
	}
	// Packets to an address that was not resolved yet wait, or are dropped.
	eventually(a.t, "the other end answers", func() bool {
		err := a.Do(func() error {
			conn, err := net.DialTimeout("tcp", fmt.Sprintf("10.%d.0.2:1", n), time.Second)
			if err == nil {
				err = conn.Close()
			}
			return err
		})
		return errors.Is(err, unix.ECONNREFUSED)
	})
}

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
func serve(p *place, address string) {
	p.t.Helper()
	for _, network := range []string{"udp", "tcp"} {
		started := make(chan struct{})
		server := &dns.Server{Addr: address, Net: network, Handler: zone(p.t), NotifyStartedFunc: func() { close(started) }}
		ended := make(chan error, 1)
		go func() { ended <- p.Do(server.ListenAndServe) }()
		select {
		case <-started:
		case err := <-ended:
			require.NoError(p.t, err)
		case <-time.After(5 * time.Second):
			p.t.Fatal("the server does not start")
		}
		p.t.Cleanup(func() {
			require.NoError(p.t, server.Shutdown())
			require.NoError(p.t, <-ended)
		})
	}
}

// ask sends a query from a namespace and returns the answer.
func ask(p *place, network, server, name string, typ uint16) *dns.Msg {
	p.t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(name, typ)
	m.SetEdns0(1232, false)
	client := dns.Client{Net: network, Timeout: 5 * time.Second}
	var answer *dns.Msg
	require.NoError(p.t, p.Do(func() (err error) {
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

// run opens an engine in a namespace and runs it until the test ends.
func run(p *place, factory capture.Factory, visit func(*packet.Packet)) *running {
	p.t.Helper()
	program, err := filter.Port(53)
	require.NoError(p.t, err)
	r := &running{t: p.t}
	err = p.Do(func() (err error) {
		r.Engine, err = factory.Open(p.t.Context(), capture.Options{Filter: program, Do: p.Do})
		return err
	})
	if err != nil {
		p.t.Skipf("%s does not open: %v", factory.Name, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- r.Run(ctx, func(one *packet.Packet) {
			r.mu.Lock()
			defer r.mu.Unlock()
			bare := *one
			bare.Data = nil
			r.seen = append(r.seen, bare)
			visit(one)
		})
	}()
	p.t.Cleanup(func() {
		cancel()
		require.NoError(p.t, <-ended)
		require.NoError(p.t, r.Close())
	})
	return r
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 5 s: %s", what)
		}
	}
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }
