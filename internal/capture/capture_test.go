// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/netpulse/tcpstatsreceiver/internal/capture/packet"
)

// kind is a kind of engine whose opening and running can be made to fail.
type kind struct {
	name    string
	rank    int
	gives   Capabilities
	here    Capabilities // what an opened one gives, if less
	openErr atomic.Value // a refusal
	runErr  chan error
	opened  int
	closed  int
}

type refusal struct{ err error }

func (k *kind) refuse(err error) { k.openErr.Store(refusal{err}) }

func (k *kind) factory() Factory {
	return Factory{Name: k.name, Rank: k.rank, Capabilities: k.gives, Open: func(context.Context, Options) (Engine, error) {
		if r, ok := k.openErr.Load().(refusal); ok && r.err != nil {
			return nil, r.err
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

func (o opened) Run(ctx context.Context, visit func(*packet.Packet)) error {
	visit(&packet.Packet{})
	select {
	case <-ctx.Done():
		return nil
	case err := <-o.kind.runErr:
		return err
	}
}
func (o opened) Stats() Stats {
	return Stats{Seen: 2, Delivered: 1, Bytes: 10, BlocksInUse: 1, Blocks: 4}
}
func (o opened) Close() error { o.kind.closed++; return nil }

type fixture struct {
	best, middle, last *kind
	logs               *observer.ObservedLogs
	changes            []string
	packets            int
	*Capture
}

func newFixture(choice Choice) *fixture {
	core, logs := observer.New(zap.DebugLevel)
	f := &fixture{
		best:   &kind{name: "best", rank: 3, gives: Direction | KernelFilter | ZeroCopy, runErr: make(chan error)},
		middle: &kind{name: "middle", rank: 2, gives: Direction | KernelFilter, runErr: make(chan error)},
		last:   &kind{name: "last", rank: 1, gives: Timestamps, runErr: make(chan error)},
		logs:   logs,
	}
	f.Capture = New(f.factories(), choice, Options{}, zap.New(core), func(from, to string) { f.changes = append(f.changes, from+">"+to) })
	return f
}

func (f *fixture) factories() []Factory {
	return []Factory{f.last.factory(), f.best.factory(), f.middle.factory()} // in no order
}

// run opens and runs the capture until the test ends.
func (f *fixture) run(t *testing.T) (stop func()) {
	t.Helper()
	require.NoError(t, f.Open(t.Context()))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.Run(ctx, func(*packet.Packet) { f.packets++ })
	}()
	return func() { cancel(); <-done }
}

func TestChoice(t *testing.T) {
	f := newFixture(Choice{Name: Auto})
	assert.Equal(t, []string{"best", "middle", "last"}, Names(f.factories()))
	for _, test := range []struct {
		choice Choice
		want   string
	}{
		{Choice{Name: Auto}, ""},
		{Choice{Name: "last", Require: Timestamps}, ""},
		{Choice{Name: "pcap"}, `engine: got "pcap", takes auto, best, middle, last`},
		{Choice{Name: "last", Require: Direction}, "require: got direction, which no engine that `engine: last` allows gives (last: gives timestamps, not direction; best: not asked for; middle: not asked for)"},
		{Choice{Name: Auto, Require: Direction | Timestamps}, "require: got direction, timestamps, which no engine that `engine: auto` allows gives (last: gives timestamps, not direction; best: gives direction, kernel_filter, zero_copy, not timestamps; middle: gives direction, kernel_filter, not timestamps)"},
	} {
		err := test.choice.Check(f.factories())
		if test.want == "" {
			assert.NoError(t, err)
		} else {
			assert.EqualError(t, err, test.want)
		}
	}
	_, err := ParseCapability("speed")
	require.EqualError(t, err, `got "speed", takes direction, kernel_filter, zero_copy, timestamps`)
	c, err := ParseCapability("zero_copy")
	require.NoError(t, err)
	assert.Equal(t, ZeroCopy, c)
	assert.Equal(t, "none", Capabilities(0).String())
}

func TestOpenTakesTheBest(t *testing.T) {
	f := newFixture(Choice{Name: Auto})
	f.best.refuse(errors.New("not permitted"))
	require.NoError(t, f.Open(t.Context()))
	assert.Equal(t, "middle", f.Current())
	assert.Equal(t, []string{">middle"}, f.changes)
	entry := f.logs.All()[0]
	assert.Equal(t, "packets are captured by middle", entry.Message)
	assert.Equal(t, []any{"best: not permitted", "last: ranks lower, gives timestamps"}, entry.ContextMap()["others"])
	f.Close()
	assert.Equal(t, 1, f.middle.closed)
}

func TestOpenRequires(t *testing.T) {
	f := newFixture(Choice{Name: Auto, Require: ZeroCopy})
	f.best.here = Direction
	require.EqualError(t, f.Open(t.Context()), "no engine that captures packets can be opened: best: gives direction here, not zero_copy; "+
		"last: gives timestamps, not zero_copy; middle: gives direction, kernel_filter, not zero_copy")
	assert.Equal(t, f.best.opened, f.best.closed)
}

func TestFallbackAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(Choice{Name: Auto})
		stop := f.run(t)
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		f.best.refuse(errors.New("gone"))
		f.best.runErr <- errors.New("interface lost")
		synctest.Wait()
		assert.Equal(t, "middle", f.Current())
		assert.Equal(t, []string{">best", "best>middle"}, f.changes)

		time.Sleep(minRetry - time.Second)
		synctest.Wait()
		f.best.refuse(nil)
		assert.Equal(t, "middle", f.Current())
		time.Sleep(2 * time.Second)
		synctest.Wait()
		assert.Equal(t, "best", f.Current())
		assert.Equal(t, "packets are captured by best again", f.logs.All()[2].Message)

		// Lost soon after it came back: the next return takes longer.
		f.best.refuse(errors.New("gone"))
		f.best.runErr <- errors.New("interface lost")
		synctest.Wait()
		f.best.refuse(nil)
		time.Sleep(2*minRetry - time.Second)
		synctest.Wait()
		assert.Equal(t, "middle", f.Current())
		time.Sleep(2 * time.Second)
		synctest.Wait()
		assert.Equal(t, "best", f.Current())

		stats := f.Stats()
		assert.Equal(t, Stats{Seen: 6, Delivered: 3, Bytes: 30, BlocksInUse: 1, Blocks: 4}, stats["best"])
		assert.Equal(t, Stats{Seen: 4, Delivered: 2, Bytes: 20}, stats["middle"])
		stop()
		for _, k := range []*kind{f.best, f.middle, f.last} {
			assert.Equal(t, k.opened, k.closed, k.name)
		}
		assert.Empty(t, f.Current())
		assert.Zero(t, f.Stats()["best"].Blocks)
	})
}

// A worse engine goes on while better ones are tried in vain.
func TestBetterInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(Choice{Name: Auto})
		f.best.refuse(errors.New("not permitted"))
		stop := f.run(t)
		time.Sleep(time.Hour)
		assert.Equal(t, []string{">middle"}, f.changes)
		assert.Equal(t, 1, f.middle.opened)
		assert.Len(t, f.logs.All(), 1)
		stop()
	})
}

func TestNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(Choice{Name: "middle"})
		stop := f.run(t)
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		f.middle.refuse(errors.New("not permitted"))
		f.middle.runErr <- errors.New("lost")
		synctest.Wait()
		assert.Empty(t, f.Current())
		assert.Equal(t, []string{">middle", "middle>"}, f.changes)
		f.middle.refuse(nil)
		time.Sleep(minRetry + time.Second)
		synctest.Wait()
		assert.Equal(t, "middle", f.Current())
		stop()
	})
}

// Engines that open but do not run must not be opened as fast as the machine can.
func TestAllFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(Choice{Name: Auto})
		for _, k := range []*kind{f.best, f.middle, f.last} {
			close(k.runErr) // nil: it ends without an error
		}
		stop := f.run(t)
		time.Sleep(time.Hour)
		stop()
		assert.Less(t, f.best.opened+f.middle.opened+f.last.opened, 30)
		assert.Greater(t, f.best.opened, 2)
	})
}
