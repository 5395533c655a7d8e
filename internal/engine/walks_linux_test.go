// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.uber.org/zap"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/source/bpf"
	"github.com/netpulse/tcpstatsreceiver/internal/source/sockdiag"
	"github.com/netpulse/tcpstatsreceiver/internal/source/sourcetest"
)

// walks counts walks over all descriptors.
type walks struct {
	process.Holders
	n int
}

func (w *walks) Each(ctx context.Context, visit func(pid, fd int32, inode uint64) error) error {
	w.n++
	return w.Holders.Each(ctx, visit)
}

// deafListener wants to hear of everything and does nothing with it.
type deafListener struct{}

func (deafListener) Progress(*event.Progress) {}
func (deafListener) Opened(*event.Opened)     {}
func (deafListener) Ended(*event.Ended)       {}

// A connection that took the descriptor of one that has ended is found there,
// without a walk over the descriptors of all processes: also where dumps leave out
// what has not changed, so that only its notice says that the other has ended.
func TestWhoTakesAPlaceIsFoundThere(t *testing.T) {
	for _, factory := range []source.Factory{bpf.Factory(), sockdiag.Factory()} {
		t.Run(factory.Name, func(t *testing.T) {
			require.NoError(t, sourcetest.NewNamespace(t).Do(func() error {
				testPlaces(t, factory)
				return nil
			}))
		})
	}
}

func testPlaces(t *testing.T, factory source.Factory) {
	holders, err := bpf.OpenHolders()
	if err != nil {
		t.Skipf("holders cannot be listed: %v", err)
	}
	counted := &walks{Holders: holders}
	telemetry, err := metadata.NewTelemetryBuilder(componenttest.NewNopTelemetrySettings())
	require.NoError(t, err)
	defer telemetry.Shutdown()
	e := New(Config{
		Source: source.Choice{Name: factory.Name, Require: source.Closes}, Factories: []source.Factory{factory}, Boot: time.Now(),
		Attribution: true, OpenHolders: func() process.Holders { return counted }, Logger: zap.NewNop(), Telemetry: telemetry,
	})
	e.Listen(deafListener{})
	if err := e.Open(t.Context()); err != nil {
		t.Skipf("%v", err)
	}
	defer func() { assert.NoError(t, e.Close()) }()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	connect := func() (ends [2]net.Conn) {
		ends[0], err = net.Dial("tcp4", l.Addr().String())
		require.NoError(t, err)
		ends[1], err = l.Accept()
		require.NoError(t, err)
		return ends
	}
	hangUp := func(ends [2]net.Conn) {
		require.NoError(t, errors.Join(ends[0].(*net.TCPConn).SetLinger(0), ends[0].Close(), ends[1].Close()))
	}
	ends := connect()
	scrape := func() { require.NoError(t, e.Once(t.Context(), 1)) }
	scrape()
	require.Equal(t, 1, counted.n, "the first")
	scrape()
	for range 5 {
		hangUp(ends)
		time.Sleep(20 * time.Millisecond) // the kernel sends notices from a work queue
		ends = connect()
		scrape()
	}
	assert.Equal(t, 1, counted.n)
	for c := range e.own.table.All() {
		assert.NotNil(t, c.Owner.Process, "%v %v", c.State, c.Local)
	}
	hangUp(ends)
}
