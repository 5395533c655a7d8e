// SPDX-License-Identifier: Apache-2.0

package kmod

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

var embryo = tcp.Socket{State: tcp.SynReceived}

// fakeHost has no numbers, and one handshake.
type fakeHost struct{}

func (fakeHost) Embryos(_ context.Context, count uint64, visit func(*tcp.Socket) error) error {
	if count != 9 {
		return fmt.Errorf("asked for %d", count)
	}
	return visit(&embryo)
}

func (fakeHost) CountersOf(stats, _ []byte) (tcp.Counters, tcp.States, error) {
	var counters tcp.Counters
	counters.Set(tcp.OpensClient, uint64(len(stats)))
	return counters, tcp.States{tcp.Listen: 3}, nil
}

func (fakeHost) Confined() bool { return false }

func (fakeHost) Counters(context.Context) (tcp.Counters, error) { return tcp.Counters{}, nil }
func (fakeHost) States(context.Context) (tcp.States, error) {
	return tcp.States{}, nil
}

// device makes a file that reads as the device does.
func device(t testing.TB, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tcpstats")
	require.NoError(t, os.WriteFile(path, content, 0o600))
	return path
}

func open(t testing.TB, path string) *Source {
	t.Helper()
	s, err := Open(context.Background(), path, fakeHost{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func count(t testing.TB, s *Source) (n int) {
	t.Helper()
	require.NoError(t, s.Sockets(context.Background(), func(*tcp.Socket) error { n++; return nil }))
	return n
}

func TestEachReadIsAWalk(t *testing.T) {
	s := open(t, device(t, fixture(t)))
	assert.Equal(t, "kmod", s.Name())
	assert.Equal(t, source.RTT|source.Bytes|source.Processes, s.Capabilities(), "no device of ends")
	for range 3 {
		assert.Equal(t, 5, count(t, s), "the records, and a handshake that the trailer speaks of")
	}
}

// A buffer is never too small for what the header announces.
func TestRecordsAsLongAsCanBe(t *testing.T) {
	path := device(t, emit(t, emitter(t), "walk", fmt.Sprint(65535-recordLenV1)))
	assert.Equal(t, 5, count(t, open(t, path)))
}

func TestAnUnfinishedReadLeavesNothing(t *testing.T) {
	s := open(t, device(t, fixture(t)))
	stop := errors.New("stop")
	require.Equal(t, stop, s.Sockets(context.Background(), func(*tcp.Socket) error { return stop }))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorIs(t, s.Sockets(ctx, func(*tcp.Socket) error { return nil }), context.Canceled)
	assert.Equal(t, 5, count(t, s))
}

func TestErrorsSayWhatToDo(t *testing.T) {
	for _, err := range []error{syscall.ENXIO, syscall.EIO} {
		assert.ErrorContains(t, advice(err), "(the module was unloaded; kldload tcpstats)")
	}
	for want, err := range map[string]error{
		"(kldload tcpstats)": fs.ErrNotExist,
		"(add the user to group network, or show the device in the jail; see docs/freebsd.md)": fs.ErrPermission,
		"(raise net.inet.tcp.tcpstats.max_records)":                                            syscall.ENOBUFS,
		"open /dev/tcpstats: " + syscall.EINVAL.Error():                                        syscall.EINVAL,
	} {
		err = &fs.PathError{Op: "open", Path: Device, Err: err}
		assert.ErrorContains(t, advice(err), want)
		assert.ErrorIs(t, advice(err), err)
	}
}

func TestOpenTriesTheDevice(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "tcpstats")
	_, err := Open(context.Background(), missing, fakeHost{})
	require.ErrorContains(t, err, "(kldload tcpstats)")

	text := device(t, make([]byte, 4096))
	_, err = Open(context.Background(), text, fakeHost{})
	require.ErrorContains(t, err, "read "+text+": magic 0x0, wants 0x53504354: unknown layout")
}

// worse stands for the sysctl source.
type worse struct{ fakeHost }

func (worse) Name() string                                           { return "worse" }
func (worse) Capabilities() source.Capabilities                      { return source.Processes }
func (worse) Sockets(context.Context, func(*tcp.Socket) error) error { return nil }
func (worse) Close() error                                           { return nil }

// The device goes and comes back: one line for each, and no scrape is lost.
func TestLossOfTheDevice(t *testing.T) {
	ctx, now := context.Background(), time.Unix(1_700_000_000, 0)
	path := device(t, fixture(t))
	core, logs := observer.New(zap.InfoLevel)
	factories := []source.Factory{
		{Name: "worse", Rank: rank - 10, Capabilities: source.Processes, Open: func(context.Context) (source.Source, error) { return worse{}, nil }},
		factory(path, func(context.Context) (Host, error) { return fakeHost{}, nil }),
	}
	selector := source.NewSelector(factories, source.Choice{Name: source.Auto}, zap.New(core), func(string, string) {})
	require.NoError(t, selector.Open(ctx, now))
	t.Cleanup(func() { require.NoError(t, selector.Close()) })
	require.Equal(t, "kmod", selector.Current().Name())

	visit := func(*tcp.Socket) error { return nil }
	require.NoError(t, os.Truncate(path, 0)) // as after kldunload: nothing to read
	require.NoError(t, os.Rename(path, path+".gone"))
	err := selector.Current().Sockets(ctx, visit)
	require.Error(t, err)
	require.True(t, selector.Failed(ctx, now, err), "there is one to go on with at once")
	require.Equal(t, "worse", selector.Current().Name())
	require.NoError(t, selector.Current().Sockets(ctx, visit))

	require.NoError(t, os.WriteFile(path, fixture(t), 0o600))
	require.True(t, selector.TryBetter(ctx, now.Add(time.Hour)))
	require.Equal(t, "kmod", selector.Current().Name())
	require.NoError(t, selector.Current().Sockets(ctx, visit))
	selector.Succeeded()

	var lines []string
	for _, e := range logs.TakeAll() {
		lines = append(lines, e.Message)
	}
	assert.Equal(t, []string{
		"TCP sockets are read by kmod",
		"TCP sockets are read by worse now: kmod is lost",
		"TCP sockets are read by kmod again",
	}, lines)
}

func TestReadingAllocatesNothing(t *testing.T) {
	s := open(t, device(t, fixture(t)))
	ctx, visit := context.Background(), func(*tcp.Socket) error { return nil }
	assert.Zero(t, testing.AllocsPerRun(100, func() { _ = s.Sockets(ctx, visit) }))
}
