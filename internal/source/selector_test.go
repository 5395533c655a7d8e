// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// kind is a kind of source whose opening can be made to fail.
type kind struct {
	name    string
	rank    int
	gives   Capabilities
	here    Capabilities // what an opened one gives, if less
	openErr error
	opened  int
	closed  int
}

func (k *kind) factory() Factory {
	return Factory{Name: k.name, Rank: k.rank, Capabilities: k.gives, Open: func(context.Context) (Source, error) {
		if k.openErr != nil {
			return nil, k.openErr
		}
		k.opened++
		return opened{k}, nil
	}}
}

type opened struct{ kind *kind }

func (o opened) Name() string { return o.kind.name }
func (o opened) Capabilities() Capabilities {
	if o.kind.here != 0 {
		return o.kind.here
	}
	return o.kind.gives
}
func (o opened) Sockets(context.Context, func(*tcp.Socket) error) error { return nil }
func (o opened) Counters(context.Context) (tcp.Counters, error)         { return tcp.Counters{}, nil }
func (o opened) Close() error                                           { o.kind.closed++; return nil }

type fixture struct {
	best, middle, last *kind
	logs               *observer.ObservedLogs
	changes            []string
	now                time.Time
	*Selector
}

func newFixture(choice Choice) *fixture {
	core, logs := observer.New(zap.DebugLevel)
	f := &fixture{
		best:   &kind{name: "best", rank: 3, gives: RTT | Bytes | Closes},
		middle: &kind{name: "middle", rank: 2, gives: RTT | Bytes},
		last:   &kind{name: "last", rank: 1, gives: Processes},
		logs:   logs,
		now:    time.Unix(1_700_000_000, 0),
	}
	f.Selector = NewSelector(f.factories(), choice, zap.New(core), func(from, to string) { f.changes = append(f.changes, from+">"+to) })
	return f
}

func (f *fixture) factories() []Factory {
	return []Factory{f.last.factory(), f.best.factory(), f.middle.factory()} // in no order
}

func (f *fixture) open(t *testing.T) {
	t.Helper()
	require.NoError(t, f.Open(context.Background(), f.now))
}

func (f *fixture) lines() (lines []string) {
	for _, e := range f.logs.TakeAll() {
		lines = append(lines, e.Level.String()+": "+e.Message)
	}
	return lines
}

func TestSelectorTakesTheBestThatOpens(t *testing.T) {
	f := newFixture(Choice{Name: Auto})
	f.best.openErr = errors.New("no device (kldload it)")
	f.open(t)
	assert.Equal(t, "middle", f.Current().Name())
	entries := f.logs.All()
	require.Len(t, entries, 1, "one line says it all")
	assert.Equal(t, "TCP sockets are read by middle", entries[0].Message)
	fields := entries[0].ContextMap()
	assert.Equal(t, "rtt, bytes", fields["gives"])
	assert.Equal(t, []any{"best: no device (kldload it)", "last: ranks lower, gives processes"}, fields["others"])
	require.NoError(t, f.Close())
	assert.Equal(t, 1, f.middle.closed)
	assert.Nil(t, f.Current())
	require.NoError(t, f.Close(), "closing twice is fine")
}

func TestSelectorSaysWhatIsLacking(t *testing.T) {
	factories := []Factory{(&kind{name: "plain", rank: 1, gives: Processes}).factory()}
	factories[0].Lacks = "RTT needs the module"
	core, logs := observer.New(zap.DebugLevel)
	s := NewSelector(factories, Choice{Name: Auto}, zap.New(core), func(_, _ string) {})
	require.NoError(t, s.Open(context.Background(), time.Unix(0, 0)))
	assert.Equal(t, "RTT needs the module", logs.All()[0].ContextMap()["lacks"])
	require.NoError(t, s.Close())
	assert.EqualError(t, Choice{Name: Auto, Require: RTT}.Check(factories),
		"require: got rtt, which no source that `source: auto` allows gives (plain: gives processes, not rtt (RTT needs the module))")
}

func TestSelectorTakesTheNamedOneOnly(t *testing.T) {
	f := newFixture(Choice{Name: "last"})
	f.open(t)
	assert.Equal(t, "last", f.Current().Name())
	assert.False(t, f.TryBetter(context.Background(), f.now.Add(time.Hour)))

	f = newFixture(Choice{Name: "best"})
	f.best.openErr = errors.New("permission denied")
	err := f.Open(context.Background(), f.now)
	assert.EqualError(t, err, "no source of TCP sockets can be opened: best: permission denied; last: not asked for; middle: not asked for")
}

func TestSelectorHonoursRequire(t *testing.T) {
	f := newFixture(Choice{Name: Auto, Require: Bytes})
	f.best.here = RTT // an old kernel
	f.open(t)
	assert.Equal(t, "middle", f.Current().Name())
	assert.Equal(t, 1, f.best.closed, "the one that did not do is closed")
	assert.Contains(t, f.logs.All()[0].ContextMap()["others"], "best: gives rtt here, not bytes")
	assert.Contains(t, f.logs.All()[0].ContextMap()["others"], "last: gives processes, not bytes")
}

func TestSelectorFallsBackAndComesBack(t *testing.T) {
	ctx := context.Background()
	f := newFixture(Choice{Name: Auto})
	f.open(t)
	f.lines()

	f.best.openErr = errors.New("module unloaded")
	require.True(t, f.Failed(ctx, f.now, errors.New("device gone")), "the next one goes on at once")
	assert.Equal(t, "middle", f.Current().Name())
	assert.Equal(t, []string{"warn: TCP sockets are read by middle now: best is lost"}, f.lines())

	f.best.openErr = nil
	assert.False(t, f.TryBetter(ctx, f.now.Add(time.Second)), "not before it is due")
	assert.Empty(t, f.lines())
	f.now = f.now.Add(2*minRetry + time.Second)
	assert.True(t, f.TryBetter(ctx, f.now))
	assert.Equal(t, "best", f.Current().Name())
	assert.Equal(t, 1, f.middle.closed)
	assert.Empty(t, f.lines(), "not read yet")
	f.Succeeded()
	f.Succeeded()
	assert.Equal(t, []string{"info: TCP sockets are read by best again"}, f.lines())
	assert.Equal(t, []string{">best", "best>middle", "middle>best"}, f.changes)
	assert.False(t, f.TryBetter(ctx, f.now.Add(time.Hour)), "there is none better")
}

func TestSelectorReopensBeforeItGivesUp(t *testing.T) {
	ctx := context.Background()
	f := newFixture(Choice{Name: Auto})
	f.open(t)
	f.lines()
	for range maxFailures - 1 {
		assert.False(t, f.Failed(ctx, f.now, errors.New("no buffer space")), "not twice in one scrape")
		assert.Equal(t, "best", f.Current().Name())
	}
	assert.Equal(t, maxFailures, f.best.opened)
	assert.Empty(t, f.lines(), "nothing changed")
	assert.Equal(t, []string{">best"}, f.changes, "the same, opened anew, is no change")
	assert.True(t, f.Failed(ctx, f.now, errors.New("no buffer space")))
	assert.Equal(t, "middle", f.Current().Name())
	assert.Equal(t, f.best.opened, f.best.closed)

	f.Succeeded()
	assert.False(t, f.Failed(ctx, f.now, errors.New("hiccup")))
	assert.Equal(t, "middle", f.Current().Name())
}

func TestSelectorDoesNotFlap(t *testing.T) {
	ctx := context.Background()
	f := newFixture(Choice{Name: Auto})
	f.open(t)
	var waits []time.Duration
	for range 8 {
		for range maxFailures {
			f.Failed(ctx, f.now, errors.New("opens, but does not read"))
		}
		lost := f.now
		for !f.TryBetter(ctx, f.now) {
			f.now = f.now.Add(time.Minute)
		}
		waits = append(waits, f.now.Sub(lost))
	}
	for i := 1; i < len(waits); i++ {
		assert.GreaterOrEqual(t, waits[i], waits[i-1])
	}
	assert.Equal(t, maxRetry, waits[len(waits)-1])
}

func TestSelectorWithoutAnySource(t *testing.T) {
	ctx := context.Background()
	f := newFixture(Choice{Name: "middle"})
	f.open(t)
	f.lines()
	f.middle.openErr = errors.New("gone")
	assert.False(t, f.Failed(ctx, f.now, errors.New("lost")))
	assert.Nil(t, f.Current())
	assert.Equal(t, []string{"error: TCP sockets cannot be read by middle any more, and nothing else opens; each scrape tries again"}, f.lines())
	assert.Equal(t, []string{">middle", "middle>"}, f.changes)

	f.now = f.now.Add(10 * time.Second)
	assert.False(t, f.TryBetter(ctx, f.now))
	f.middle.openErr = nil
	f.now = f.now.Add(10 * time.Second)
	assert.True(t, f.TryBetter(ctx, f.now), "each scrape tries")
	assert.Equal(t, "middle", f.Current().Name())
	f.Succeeded()
	assert.Equal(t, []string{"info: TCP sockets are read by middle again"}, f.lines())
}

// scrape is what the receiver does at each scrape with sources that open but cannot
// be read.
func (f *fixture) scrape(reads ...string) {
	ctx := context.Background()
	f.now = f.now.Add(time.Minute)
	f.TryBetter(ctx, f.now)
	for f.Current() != nil {
		if slices.Contains(reads, f.Current().Name()) {
			f.Succeeded()
			return
		}
		if !f.Failed(ctx, f.now, errors.New("no buffer space")) {
			return
		}
	}
}

// What fails at every scrape is said once when it begins, and once when it is over.
func TestSelectorSaysEachThingOnce(t *testing.T) {
	t.Run("the only one", func(t *testing.T) {
		f := newFixture(Choice{Name: "middle"})
		f.open(t)
		f.lines()
		for range 100 {
			f.scrape()
			require.NotNil(t, f.Current(), "it opens, so it is tried")
		}
		assert.Equal(t, []string{"error: TCP sockets cannot be read by middle any more, and nothing else opens; each scrape tries again"}, f.lines())
		assert.Equal(t, []string{">middle"}, f.changes)
		f.scrape("middle")
		f.scrape("middle")
		assert.Equal(t, []string{"info: TCP sockets are read by middle again"}, f.lines())
		assert.Equal(t, []string{">middle"}, f.changes)
	})
	t.Run("the only one, which does not open either", func(t *testing.T) {
		f := newFixture(Choice{Name: "middle"})
		f.open(t)
		f.lines()
		for range 20 {
			f.middle.openErr = errors.New("gone")
			f.scrape()
			f.middle.openErr = nil
			f.scrape()
		}
		assert.Len(t, f.lines(), 1)
		f.scrape("middle")
		assert.Equal(t, []string{"info: TCP sockets are read by middle again"}, f.lines())
	})
	t.Run("all", func(t *testing.T) {
		f := newFixture(Choice{Name: Auto})
		f.open(t)
		f.lines()
		for range 100 {
			f.scrape()
		}
		assert.Equal(t, []string{"warn: TCP sockets are read by middle now: best is lost", "error: TCP sockets cannot be read by any source; each scrape tries again"}, f.lines())
		for range 200 {
			f.scrape("middle")
		}
		assert.Equal(t, []string{"info: TCP sockets are read by middle again"}, f.lines(), "the best is tried from time to time, to no avail")
	})
	t.Run("the best", func(t *testing.T) {
		f := newFixture(Choice{Name: Auto})
		f.open(t)
		f.lines()
		for range 500 {
			f.scrape("middle")
		}
		assert.Equal(t, []string{"warn: TCP sockets are read by middle now: best is lost"}, f.lines())
		for range 100 {
			f.scrape("middle", "best")
		}
		assert.Equal(t, []string{"info: TCP sockets are read by best again"}, f.lines())
	})
}

// A source that hiccups now and then is not punished for it when it is lost.
func TestSelectorForgivesHiccups(t *testing.T) {
	ctx := context.Background()
	f := newFixture(Choice{Name: Auto})
	f.open(t)
	for range 10 {
		f.Failed(ctx, f.now, errors.New("hiccup"))
		f.Succeeded()
	}
	f.best.openErr = errors.New("module unloaded")
	require.True(t, f.Failed(ctx, f.now, errors.New("device gone")))
	f.best.openErr = nil
	assert.True(t, f.TryBetter(ctx, f.now.Add(2*minRetry)))
}

func TestChoiceCheck(t *testing.T) {
	factories := newFixture(Choice{Name: Auto}).factories()
	for name, tt := range map[string]struct {
		choice Choice
		err    string
	}{
		"auto":      {Choice{Name: Auto}, ""},
		"named":     {Choice{Name: "last", Require: Processes}, ""},
		"unknown":   {Choice{Name: "ebpf"}, `source: got "ebpf", takes auto, best, middle, last`},
		"unmet":     {Choice{Name: Auto, Require: Namespaces}, "require: got namespaces, which no source that `source: auto` allows gives (last: gives processes, not namespaces; best: gives rtt, bytes, closes, not namespaces; middle: gives rtt, bytes, not namespaces)"},
		"named bad": {Choice{Name: "last", Require: RTT}, "require: got rtt, which no source that `source: last` allows gives (last: gives processes, not rtt; best: not asked for; middle: not asked for)"},
	} {
		t.Run(name, func(t *testing.T) {
			err := tt.choice.Check(factories)
			if tt.err == "" {
				assert.NoError(t, err)
			} else {
				assert.EqualError(t, err, tt.err)
			}
		})
	}
	assert.NoError(t, Choice{Name: Auto}.Check(nil), "a system without sources starts")
	assert.EqualError(t, Choice{Name: "best"}.Check(nil), `source: got "best", takes auto`)
}

func TestLossesAndPartials(t *testing.T) {
	var losses Losses
	require.NoError(t, losses.Err())
	losses.Decode(errors.New("first"))
	losses.Decode(errors.New("second"))
	losses.Truncated(errors.New("third"))
	err := losses.Err()
	assert.EqualError(t, err, "2 not readable (decode), the first: first\n1 not readable (truncated), the first: third")
	var types []string
	for _, p := range Partials(errors.Join(errors.New("other"), err)) {
		types = append(types, p.Type)
	}
	assert.Equal(t, []string{ErrorDecode, ErrorTruncated}, types)
	assert.Empty(t, Partials(errors.New("other")))
	assert.Empty(t, Partials(nil))
	losses.Reset()
	require.NoError(t, losses.Err())
}
