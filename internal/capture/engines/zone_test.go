// SPDX-License-Identifier: Apache-2.0

//go:build linux || freebsd

package engines

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
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

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }
