// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/netns"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// spanning is a scripted source that reads the network stacks of jails, too.
type spanning struct {
	telling
	stacks []source.Stack
	unable error // of Stacks
	refuse error // of Span
	spans  bool
}

func (s *spanning) Capabilities() source.Capabilities {
	return s.telling.Capabilities() | source.Namespaces
}

func (s *spanning) factory() source.Factory {
	f := s.telling.factory()
	f.Capabilities = s.Capabilities()
	open := f.Open
	f.Open = func(ctx context.Context) (source.Source, error) {
		_, err := open(ctx)
		return s, err
	}
	return f
}

func (s *spanning) Span() error {
	s.spans = s.refuse == nil
	return s.refuse
}

func (s *spanning) Stacks(context.Context) ([]source.Stack, error) { return s.stacks, s.unable }

func (s *spanning) Closes() (source.CloseStream, error) {
	if !s.spans {
		return nil, errors.New("asked for before the stacks were")
	}
	return s.telling.Closes()
}

// jail is a network stack that has accepted so many connections.
func jail(id, cookie uint64, name string, accepted uint64) source.Stack {
	s := source.Stack{Place: netns.Place{Namespace: id, Name: name}, Cookie: cookie, States: tcp.States{tcp.Listen: 4}}
	s.Counters.Set(tcp.OpensServer, accepted)
	return s
}

// inJail puts a socket into a network stack.
func inJail(jail uint64, s tcp.Socket) tcp.Socket {
	s.ID.Namespace = jail
	return s
}

// stacksRig reads every network stack.
func stacksRig(t *testing.T, src *spanning, others ...interface{ factory() source.Factory }) *rig {
	t.Helper()
	cfg := groupConfig("network.namespace.id")
	cfg.NetworkNamespaces = allNamespaces
	cfg.Process.RefreshInterval = 0
	cfg.System.Enabled = true
	r := newRig(t, cfg, &refusing{}, append([]interface{ factory() source.Factory }{src}, others...)...)
	return r
}

// scrapeAnew scrapes, and forgets what was written before.
func (r *rig) scrapeAnew(t *testing.T) {
	t.Helper()
	r.sink.Reset()
	r.scrapeOnce(t)
}

// group returns what a sum says of each network stack, as id: value. A series that began
// with a value has a 0 before it, if there was time for one since the last scrape.
func (r *rig) group(name string) (all []string) {
	last := make(map[any]any)
	for _, p := range r.points(name) {
		last[p["network.namespace.id"]] = p["value"]
	}
	for id, value := range last {
		all = append(all, fmt.Sprint(id, ": ", value))
	}
	slices.Sort(all)
	return all
}

// points returns the data points of a sum that was written, with the attributes of their resource.
func (r *rig) points(name string) (all []map[string]any) {
	for _, md := range r.sink.AllMetrics() {
		for _, rm := range md.ResourceMetrics().All() {
			for _, m := range rm.ScopeMetrics().At(0).Metrics().All() {
				if m.Name() != name {
					continue
				}
				for _, dp := range m.Sum().DataPoints().All() {
					attrs := dp.Attributes().AsRaw()
					for k, v := range rm.Resource().Attributes().All() {
						attrs[k] = v.AsRaw()
					}
					if !dp.Flags().NoRecordedValue() {
						attrs["value"] = dp.IntValue()
						all = append(all, attrs)
					}
				}
			}
		}
	}
	return all
}

// The same identities in several network stacks, in one dump and one stream of
// notices: each connection is counted where it is, and the counters of each stack
// have its jail's name.
func TestStacks(t *testing.T) {
	src := &spanning{telling: telling{scripted: scripted{name: "a"}}, stacks: []source.Stack{jail(7, 1, "web", 40)}}
	src.sockets = []tcp.Socket{established(1, 5), inJail(7, established(1, 6))}
	r := stacksRig(t, src)
	r.scrapeAnew(t)
	assert.True(t, src.spans)

	src.stacks = []source.Stack{jail(7, 1, "web", 42), jail(9, 2, "db", 3)}
	src.sockets = []tcp.Socket{established(1, 105), inJail(7, established(1, 206)), inJail(9, established(1, 300)), inJail(7, established(2, 10))}
	src.tell(ended(inJail(9, established(5, 0)), 1000, 0), ended(inJail(7, established(6, 0)), 2000, 0), ended(established(7, 0), 4000, 0))
	r.scrapeAnew(t)
	assert.Equal(t, []string{"7: 2", "9: 2", "<nil>: 1"}, r.group("tcp.opens"))
	sent := map[any]int64{}
	for _, p := range r.points("tcp.io") {
		if p["network.io.direction"] == "transmit" {
			sent[p["network.namespace.id"]] += p["value"].(int64)
		}
	}
	assert.Equal(t, map[any]int64{nil: 4100, int64(7): 2210, int64(9): 1300}, sent)

	names := map[any]any{}
	for _, p := range r.points("system.network.tcp.connection.opens") {
		if p["tcp.role"] == "server" {
			names[p["network.namespace.name"]] = p["value"]
		}
	}
	assert.Equal(t, map[any]any{nil: int64(12), "web": int64(42), "db": int64(3)}, names)
	for _, p := range r.points("system.network.connection.count") {
		if p["network.namespace.id"] == int64(7) && p["network.connection.state"] == "listen" {
			assert.Equal(t, int64(4), p["value"], "by the kernel's own count")
		}
	}
	assert.Empty(t, r.logs.FilterMessageSnippet("partial").All())
}

// What goes with its jail has ended, and so has what another jail's with the same id
// takes the place of.
func TestAStackGoes(t *testing.T) {
	src := &spanning{telling: telling{scripted: scripted{name: "a"}}, stacks: []source.Stack{jail(7, 1, "web", 40)}}
	src.sockets = []tcp.Socket{inJail(7, established(1, 6))}
	r := stacksRig(t, src)
	r.scrapeAnew(t)
	src.stacks = []source.Stack{jail(7, 2, "web2", 1)}
	src.sockets = []tcp.Socket{inJail(7, established(1, 500))}
	src.tell(ended(inJail(7, established(2, 0)), 5, 5))
	r.scrapeAnew(t)
	assert.Equal(t, []string{"7: 2"}, r.group("tcp.closes"))
	assert.Equal(t, []string{"7: 2"}, r.group("tcp.opens"), "the same identity is another connection")

	// One comes and goes between two scrapes: only notices tell.
	src.stacks, src.sockets = nil, nil
	src.tell(ended(inJail(11, established(1, 0)), 9, 9))
	r.scrapeAnew(t)
	r.scrapeAnew(t)
	assert.Contains(t, r.group("tcp.opens"), "11: 1")
	for _, p := range r.points("system.network.tcp.connection.opens") {
		assert.NotContains(t, p, "network.namespace.id")
	}
}

// A list that cannot be read ends nothing.
func TestStacksThatCannotBeListed(t *testing.T) {
	src := &spanning{telling: telling{scripted: scripted{name: "a"}}, stacks: []source.Stack{jail(7, 1, "web", 40)}}
	src.sockets = []tcp.Socket{inJail(7, established(1, 6))}
	r := stacksRig(t, src)
	r.scrapeAnew(t)
	src.stacks, src.unable = nil, errors.New("no list")
	r.scrapeAnew(t)
	require.Len(t, r.logs.FilterMessageSnippet("partial").All(), 1)
	src.stacks, src.unable = []source.Stack{jail(7, 1, "web", 41)}, nil
	src.stacks[0].Err = errors.New("another layout")
	src.sockets = []tcp.Socket{inJail(7, established(1, 16))}
	r.scrapeAnew(t)
	assert.Equal(t, []string{"7: 0"}, r.group("tcp.closes"))
	for _, p := range r.points("tcp.io") {
		if p["network.io.direction"] == "transmit" {
			assert.Equal(t, int64(10), p["value"])
		}
	}
}

// Without a source that reads them there are none, which is said once; when it is
// back, so are they, and what was there meanwhile is not new.
func TestStacksComeAndGoWithTheSource(t *testing.T) {
	src := &spanning{telling: telling{scripted: scripted{name: "a", rank: 2}}, stacks: []source.Stack{jail(7, 1, "web", 40)}}
	src.sockets = []tcp.Socket{inJail(7, established(1, 6))}
	r := stacksRig(t, src, &scripted{name: "worse", rank: 1})
	r.scrapeAnew(t)
	src.openErr, src.results = errors.New("unloaded"), []error{errors.New("unloaded")}
	for range 3 {
		r.scrapeAnew(t)
	}
	lines := r.logs.FilterMessageSnippet("only the collector's own network stack is read").All()
	require.Len(t, lines, 1)
	assert.Contains(t, lines[0].ContextMap()["error"], "source worse: it does not read other network stacks here")
	for _, p := range r.points("system.network.tcp.connection.opens") {
		assert.NotContains(t, p, "network.namespace.id")
	}
	_, closes := r.sums("tcp.closes")
	assert.Zero(t, closes)
}
