// SPDX-License-Identifier: Apache-2.0

//go:build linux || freebsd

package engines

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/dns"
)

// zone is what the test's server answers, and which names are aliases.
func zone(t testing.TB) mdns.HandlerFunc {
	records := make(map[string][]mdns.RR)
	for _, line := range []string{
		"one.example. 60 A 192.0.2.1", "one.example. 60 AAAA 2001:db8::1",
		"other.example. 60 A 192.0.2.1",
		"www.example. 30 CNAME front.example.", "front.example. 60 CNAME edge.example.", "edge.example. 60 A 192.0.2.2", "edge.example. 60 AAAA 2001:db8::2",
		"later.example. 60 A 192.0.2.3", "tcp.example. 60 A 192.0.2.4", "tcp.example. 60 AAAA 2001:db8::4", "local.example. 60 A 192.0.2.5",
	} {
		rr, err := mdns.NewRR(line)
		require.NoError(t, err)
		records[rr.Header().Name] = append(records[rr.Header().Name], rr)
	}
	for i := range 200 { // more than a datagram holds
		rr, err := mdns.NewRR(fmt.Sprintf("tcp.example. 60 TXT \"%0200d\"", i))
		require.NoError(t, err)
		records["tcp.example."] = append(records["tcp.example."], rr)
	}
	return func(w mdns.ResponseWriter, r *mdns.Msg) {
		m := new(mdns.Msg)
		m.SetReply(r)
		m.Compress = true
		question := r.Question[0]
		name := strings.ToLower(question.Name)
		if len(records[name]) == 0 {
			m.Rcode = mdns.RcodeNameError
		}
		for next := name; next != ""; {
			name, next = next, ""
			for _, rr := range records[name] {
				if cname, ok := rr.(*mdns.CNAME); ok {
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

// expire checks that names which were seen expire half an hour later, TTLs being shorter,
// but for those of an address that a connection uses.
func expire(t *testing.T, names *dns.Names, used, unused string) {
	t.Helper()
	now := time.Now()
	name := names.Lookup(addr(used), now, 0)
	require.NotEmpty(t, name)
	require.NotEmpty(t, names.Lookup(addr(unused), now, 0))
	require.True(t, names.Hold(addr(used)))
	now = now.Add(31 * time.Minute)
	for range 2 { // before they are dropped, and after
		assert.Empty(t, names.Lookup(addr(unused), now, 0))
		assert.Equal(t, name, names.Lookup(addr(used), now, 0))
		names.Expire(now)
	}
	names.Release(addr(used))
	assert.Empty(t, names.Lookup(addr(used), now, 0))
}
