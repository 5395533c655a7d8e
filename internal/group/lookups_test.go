// SPDX-License-Identifier: Apache-2.0

package group

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/netpulse/tcpstatsreceiver/internal/dns"
)

func lookup(server string, typ, rcode uint16, took time.Duration, name string) *dns.Lookup {
	return &dns.Lookup{Server: netip.MustParseAddrPort(server), Type: typ, RCode: rcode, Duration: took, Name: []byte(name)}
}

// visited are the counts, as text.
func visited(l *Lookups, now time.Time) (all []string) {
	l.Visit(now, func(key *LookupKey, count *LookupCount) {
		what := fmt.Sprintf("%d of type %d", count.Queries, key.Type)
		if count.Duration != nil {
			what = fmt.Sprintf("%d by %v in %gs", count.Duration.Count, key.Server, count.Duration.Sum)
		}
		one := fmt.Sprintf("%d: %s: %d %s", key.Namespace, what, key.RCode, key.Name)
		for _, mark := range []struct {
			is   bool
			text string
		}{{key.TimedOut, " timed out"}, {key.Overflow, " overflow"}, {count.New, " new"}, {count.Ending, " ending"}} {
			if mark.is {
				one += mark.text
			}
		}
		all = append(all, one)
	})
	return all
}

func TestLookups(t *testing.T) {
	l := NewLookups(LookupsConfig{Limit: 10, Expiry: time.Minute}, at(0))
	l.Lookup(lookup("10.0.0.2:53", 1, 0, 250*time.Millisecond, "a.example"))
	l.Lookup(lookup("10.0.0.2:53", 28, 0, 500*time.Millisecond, "b.example"))
	timedOut := lookup("10.0.0.2:53", 1, 0, 5*time.Second, "a.example")
	timedOut.TimedOut = true
	l.Lookup(timedOut)
	elsewhere := lookup("10.0.0.3:53", 1, 3, time.Second, "a.example")
	elsewhere.Namespace = 7
	l.Lookup(elsewhere)
	assert.ElementsMatch(t, []string{
		"0: 1 of type 1: 0  new", "0: 1 of type 1: 0  timed out new", "0: 1 of type 28: 0  new", "7: 1 of type 1: 3  new",
		"0: 2 by 10.0.0.2 in 0.75s: 0  new", "0: 1 by 10.0.0.2 in 5s: 0  timed out new", "7: 1 by 10.0.0.3 in 1s: 3  new",
	}, visited(l, at(10)))

	// What is not used any more ends, and begins anew from the last visit on.
	l.Lookup(elsewhere)
	assert.Contains(t, visited(l, at(69)), "7: 2 of type 1: 3 ")
	all := visited(l, at(70))
	assert.Contains(t, all, "0: 2 by 10.0.0.2 in 0.75s: 0  ending")
	assert.Contains(t, all, "7: 2 of type 1: 3 ")
	assert.Len(t, visited(l, at(80)), 2)
	l.Lookup(lookup("10.0.0.2:53", 28, 0, 500*time.Millisecond, "b.example"))
	l.Visit(at(90), func(key *LookupKey, count *LookupCount) {
		if key.Type == 28 {
			assert.Equal(t, uint64(1), count.Queries)
			assert.Equal(t, at(80), count.Start)
		}
	})
}

func TestLookupsByName(t *testing.T) {
	l := NewLookups(LookupsConfig{Limit: 2, Names: true, Exponential: true, Expiry: time.Minute}, at(0))
	for _, name := range []string{"a.example", "b.example", "a.example", "c.example", "d.example", "b.example"} {
		l.Lookup(lookup("10.0.0.2:53", 1, 0, time.Second, name))
	}
	assert.ElementsMatch(t, []string{
		"0: 2 of type 1: 0 a.example new", "0: 2 of type 1: 0 b.example new", "0: 2 of type 0: 0  overflow new",
		"0: 2 by 10.0.0.2 in 2s: 0 a.example new", "0: 2 by 10.0.0.2 in 2s: 0 b.example new", "0: 2 by invalid IP in 2s: 0  overflow new",
	}, visited(l, at(10)))
	assert.Empty(t, l.Bounds())
	l.Visit(at(11), func(_ *LookupKey, count *LookupCount) {
		if count.Duration != nil {
			assert.NotNil(t, count.Duration.Exponential)
		}
	})
}

func BenchmarkLookups(b *testing.B) {
	l := NewLookups(LookupsConfig{Limit: 2000, Expiry: time.Minute}, at(0))
	one := lookup("10.0.0.2:53", 1, 0, time.Millisecond, "a.example")
	b.ReportAllocs()
	for b.Loop() {
		l.Lookup(one)
	}
}
