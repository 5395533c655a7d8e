// SPDX-License-Identifier: Apache-2.0

package record

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/netns"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

var learned = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// recorder is one whose time stands still, and all that it has recorded since.
func recorder(t *testing.T, cfg Config) (r *Recorder, all func() []Record) {
	t.Helper()
	q := NewQueue(0, func(Reason, int) { t.Error("dropped") })
	r = NewRecorder(cfg, q, func(ns uint64) netns.Place { return netns.Place{Namespace: ns, Name: "blue"} })
	r.now = func() time.Time { return learned }
	return r, func() []Record {
		batch, _, _ := q.take(true, nil)
		return batch
	}
}

func everyKind() (all Kinds) {
	for k := range NumKinds {
		all = all.With(k)
	}
	return all
}

func connection() *event.Connection {
	return &event.Connection{
		ID: tcp.Identity{Cookie: 7, Namespace: 8}, Role: tcp.Client, Slot: 3, State: tcp.Established,
		Local: netip.MustParseAddrPort("192.0.2.1:40000"), Peer: netip.MustParseAddrPort("198.51.100.7:443"),
		Traits:    &event.Traits{CongestionControl: "cubic"},
		BytesSent: 100, BytesReceived: 200, Retransmits: 2, SmoothedRTT: 12 * time.Millisecond,
		Fields:   tcp.Fields(0).With(tcp.FieldBytesSent).With(tcp.FieldBytesReceived).With(tcp.FieldRetransmits).With(tcp.FieldSmoothedRTT),
		Process:  &process.Process{PID: 4711, Executable: "curl"},
		PeerInfo: &event.Peer{Name: "www.example"},
	}
}

func TestAnEndHasItsLastValues(t *testing.T) {
	r, all := recorder(t, Config{Kinds: everyKind()})
	c := connection()
	n := &tcp.Notice{Socket: tcp.Socket{BytesRetransmitted: 50, MinRTT: time.Millisecond, SendMSS: 1448, CongestionControl: "bbr"}}
	n.Fields = c.Fields.With(tcp.FieldBytesRetransmitted).With(tcp.FieldMinRTT).With(tcp.FieldSendMSS)
	start, over := learned.Add(-3*time.Second), learned.Add(-time.Second)
	r.Progress(&event.Progress{Connection: c, Was: event.NoState, Is: tcp.Established, First: true})
	r.Ended(&event.Ended{Connection: c, Established: true, Cause: tcp.PeerClose, At: over, Exact: true, Start: start, Handshake: time.Millisecond, Last: n})
	got := all()
	require.Len(t, got, 1)
	assert.Equal(t, Record{
		Kind: End, Role: tcp.Client, Cause: tcp.PeerClose,
		ID: c.ID, Local: c.Local, Peer: c.Peer, Place: netns.Place{Namespace: 8, Name: "blue"}, Process: c.Process, PeerInfo: c.PeerInfo,
		At: over, Observed: learned, Start: start, Duration: 2 * time.Second, Handshake: time.Millisecond,
		Fields: n.Fields, CongestionControl: "bbr",
		Values: Values{BytesSent: 100, BytesReceived: 200, Retransmits: 2, SmoothedRTT: 12 * time.Millisecond, BytesRetransmitted: 50, MinRTT: time.Millisecond, SendMSS: 1448},
	}, got[0])
}

// What nobody has told is left out, and what an earlier sample had is not.
func TestAnEndWithoutANotice(t *testing.T) {
	r, all := recorder(t, Config{Kinds: everyKind()})
	c := connection()
	r.Progress(&event.Progress{Connection: c, Was: event.NoState, Is: tcp.Established, First: true})
	c.Fields = 0 // TIME_WAIT has none
	r.Progress(&event.Progress{Connection: c, Was: tcp.Established, Is: tcp.TimeWait})
	r.Ended(&event.Ended{Connection: c, Established: true, Cause: tcp.LocalClose, At: learned})
	got := all()
	require.Len(t, got, 1)
	assert.True(t, got[0].Has(tcp.FieldBytesSent))
	assert.EqualValues(t, 100, got[0].BytesSent)
	assert.Negative(t, got[0].Duration, "not known")
	assert.Zero(t, got[0].Start)
	assert.Equal(t, "cubic", got[0].CongestionControl)

	// The slot is another's afterwards.
	r.Progress(&event.Progress{Connection: c, Was: tcp.TimeWait, Is: event.NoState, Gone: true})
	other := connection()
	other.Fields = 0
	r.Ended(&event.Ended{Connection: other, Established: true, At: learned})
	assert.Zero(t, all()[0].Fields)
}

// An end whose time is not exact gives no duration but what the kernel counted.
func TestADurationIsNotGuessed(t *testing.T) {
	r, all := recorder(t, Config{Kinds: everyKind()})
	aged := &tcp.Notice{Socket: tcp.Socket{Age: 5 * time.Second, Fields: tcp.Fields(0).With(tcp.FieldAge)}}
	r.Ended(&event.Ended{Connection: connection(), Established: true, At: learned, Start: learned.Add(-7 * time.Second)})
	r.Ended(&event.Ended{Connection: connection(), Established: true, At: learned, Start: learned.Add(-5 * time.Second), Last: aged})
	got := all()
	assert.Negative(t, got[0].Duration)
	assert.Equal(t, 5*time.Second, got[1].Duration)
}

func TestKindsAndShortConnections(t *testing.T) {
	r, all := recorder(t, Config{Kinds: Kinds(0).With(End).With(Failure), MinDuration: 2 * time.Second})
	ended := func(established bool, cause tcp.Cause, lived time.Duration) *event.Ended {
		return &event.Ended{Connection: connection(), Established: established, Cause: cause, At: learned, Exact: lived > 0, Start: learned.Add(-lived)}
	}
	r.Opened(&event.Opened{Connection: connection()})
	assert.Empty(t, all(), "nobody asks for start")
	r.Ended(ended(true, tcp.LocalClose, time.Second))
	assert.Empty(t, all(), "short, and it ended well")
	r.Ended(ended(true, tcp.PeerReset, time.Second))
	r.Ended(ended(true, tcp.LocalClose, 2*time.Second))
	r.Ended(ended(true, tcp.LocalClose, 0))
	r.Ended(ended(false, tcp.UnknownCause, 0))
	got := all()
	require.Len(t, got, 4)
	assert.True(t, got[0].Abnormal())
	assert.Equal(t, 2*time.Second, got[1].Duration)
	assert.Negative(t, got[2].Duration, "how long is not known, so it is not short")
	assert.Equal(t, [2]any{Failure, tcp.OtherFailure}, [2]any{got[3].Kind, got[3].Failure})
}

func TestProgressOfWhatLives(t *testing.T) {
	r, all := recorder(t, Config{Kinds: everyKind(), ProgressInterval: time.Minute})
	now := learned
	r.now = func() time.Time { return now }
	c := connection()
	find := func(id tcp.Identity) *event.Connection {
		assert.Equal(t, c.ID, id)
		return c
	}
	due := func() []Record {
		r.Due(now, find)
		return all()
	}
	r.Progress(&event.Progress{Connection: c, Was: event.NoState, Is: tcp.SynSent, First: true})
	r.Progress(&event.Progress{Connection: c, Was: tcp.SynSent, Is: tcp.Established})
	r.Opened(&event.Opened{Connection: c})
	got := all()
	require.Len(t, got, 1)
	assert.Equal(t, Start, got[0].Kind)
	assert.Equal(t, learned, got[0].At)

	assert.Empty(t, due())
	now = now.Add(time.Minute)
	c.BytesSent = 1000
	got = due()
	require.Len(t, got, 1)
	assert.Equal(t, Progress, got[0].Kind)
	assert.EqualValues(t, 1000, got[0].BytesSent)
	assert.Empty(t, due())
	r.Progress(&event.Progress{Connection: c, Was: tcp.Established, Is: tcp.CloseWait})
	now = now.Add(time.Minute)
	assert.Len(t, due(), 1)
	r.Ended(&event.Ended{Connection: c, Established: true, At: now})
	assert.Len(t, all(), 1)
	now = now.Add(time.Hour)
	assert.Empty(t, due(), "it is over")
}

func TestNames(t *testing.T) {
	for k := range NumKinds {
		got, err := ParseKind(k.String())
		require.NoError(t, err)
		assert.Equal(t, k, got)
	}
	_, err := ParseKind("close")
	assert.EqualError(t, err, `got "close", takes one of start, progress, end, failure`)
}
