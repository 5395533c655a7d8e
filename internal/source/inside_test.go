// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// place is somewhere to be inside of, and a source and a stream that note where they
// are called.
type place struct {
	closed bool // nobody comes in any more
	inside bool
	calls  []string
	failed error
}

var errNoWayIn = errors.New("no way in")

func (p *place) do(f func() error) error {
	if p.closed {
		return errNoWayIn
	}
	p.inside = true
	defer func() { p.inside = false }()
	return f()
}

func (p *place) note(call string) {
	if p.inside {
		call += " inside"
	}
	p.calls = append(p.calls, call)
}

func (p *place) taken() (calls []string) {
	calls, p.calls = p.calls, nil
	return calls
}

func (p *place) Name() string               { return "noting" }
func (p *place) Capabilities() Capabilities { return Closes }
func (p *place) Sockets(_ context.Context, visit func(*tcp.Socket) error) error {
	p.note("sockets")
	return visit(&tcp.Socket{})
}
func (p *place) Counters(context.Context) (tcp.Counters, error) {
	p.note("counters")
	var some tcp.Counters
	some.Set(tcp.OpensClient, 7)
	return some, p.failed
}
func (p *place) Narrow(*Filter, bool) error   { p.note("narrow"); return p.failed }
func (p *place) Closes() (CloseStream, error) { p.note("closes"); return stream{p}, nil }
func (p *place) Close() error                 { p.note("close"); return p.failed }

type stream struct{ p *place }

func (s stream) Wait() error                                   { s.p.note("wait"); return nil }
func (s stream) Drain(func(*tcp.Notice) error) (uint64, error) { s.p.note("drain"); return 0, nil }
func (s stream) Close() error                                  { s.p.note("close stream"); return nil }

func TestInside(t *testing.T) {
	p := &place{}
	src := Inside(p.do, p)
	assert.Equal(t, "noting", src.Name())

	require.NoError(t, src.Sockets(t.Context(), func(*tcp.Socket) error { p.note("visit"); return nil }))
	assert.Equal(t, []string{"sockets inside", "visit inside"}, p.taken())

	p.failed = errors.New("some are missing")
	counters, err := src.Counters(t.Context())
	assert.Equal(t, p.failed, err)
	opens, ok := counters.Get(tcp.OpensClient)
	assert.True(t, ok)
	assert.EqualValues(t, 7, opens, "what could be read comes with the error")
	assert.Equal(t, []string{"counters inside"}, p.taken())

	assert.Equal(t, p.failed, src.(Narrower).Narrow(nil, false))
	require.NoError(t, Inside(p.do, opened{&kind{}}).(Narrower).Narrow(nil, false), "to no effect")
	p.taken()

	notices, err := src.(CloseNotifier).Closes()
	require.NoError(t, err)
	assert.Equal(t, []string{"closes inside"}, p.taken())
	require.NoError(t, notices.Wait())
	_, err = notices.Drain(nil)
	require.NoError(t, err)
	require.NoError(t, notices.Close())
	assert.Equal(t, []string{"wait", "drain", "close stream"}, p.taken(), "from outside")

	assert.Equal(t, p.failed, src.Close())
	assert.Equal(t, []string{"close inside"}, p.taken())
	p.closed, p.failed = true, nil
	require.ErrorIs(t, src.Close(), errNoWayIn)
	assert.Equal(t, []string{"close"}, p.taken(), "closed all the same")
	require.ErrorIs(t, src.Sockets(t.Context(), nil), errNoWayIn)
	assert.Empty(t, p.taken(), "not read outside")
}
