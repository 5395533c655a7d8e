// SPDX-License-Identifier: Apache-2.0

package page

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/netpulse/tcpstatsreceiver/internal/engine"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/table"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// detailed is how many connections have their Details.
func (r *rig) detailed() (n int) {
	r.page.scrape.Later(func(func(tcp.Identity) *table.Connection) {
		for c := range r.page.scrape.Connections() {
			if c.Details != nil && c.State != tcp.Listen {
				n++
			}
		}
	})
	return n
}

// rows are what connections.json has.
func (r *rig) rows() (all []map[string]any) {
	w := r.get("http://localhost/connections.json")
	require.Equal(r.tb, http.StatusOK, w.Code, w.Body)
	require.NoError(r.tb, json.Unmarshal(w.Body.Bytes(), &all))
	return all
}

// ago has the last request come a while ago.
func (r *rig) ago(d time.Duration) { r.page.lastAsked.Store(time.Now().Add(-d).UnixNano()) }

// While nobody looks, nothing is kept of a connection that is only for those who
// look. The first request is answered with all values all the same, and some time
// after the last the memory is given back.
func TestDetailsAreKeptForThoseWhoLook(t *testing.T) {
	const n = 50
	r := newRig(t, append(crowd(n), listening(80, 1, 9))...)
	r.scrape()
	r.scrape()
	assert.Zero(t, r.detailed())
	for i := range r.source.sockets[:n] {
		r.source.sockets[i].BytesSent += 5000
		r.source.sockets[i].SegmentsSent += 7
	}
	began := r.page.dumped
	rows := r.rows()
	assert.Equal(t, n, r.detailed())
	require.Len(t, rows, n)
	elapsed := r.page.dumped.Sub(began).Seconds()
	assert.GreaterOrEqual(t, elapsed, leastElapsed.Seconds(), "or the rates mean nothing")
	for i, row := range rows {
		assert.EqualValues(t, 107, row["segments_sent"], "read now, not with the next scrape")
		assert.EqualValues(t, 1000*i+5000, row["bytes_sent"])
		assert.InDelta(t, 5000/elapsed, row["out_bytes_per_second"], 1, "since the last dump")
		assert.NotEqual(t, "0001-01-01T00:00:00Z", row["first_seen"])
	}

	r.source.sockets[3].BytesSent += 300
	r.scrape()
	assert.EqualValues(t, 8300, r.rows()[3]["bytes_sent"])
	assert.Zero(t, r.rows()[4]["out_bytes_per_second"])
	r.ago(lookingFor + time.Second)
	r.scrape()
	assert.Equal(t, n, r.detailed(), "somebody may look again soon")
	assert.Nil(t, r.page.newest, "nothing is copied for them")
	began = r.page.dumped
	assert.Len(t, r.rows(), n)
	assert.Equal(t, began, r.page.dumped, "what is there is not read again")
	r.ago(detailsFor + time.Second)
	r.scrape()
	assert.Zero(t, r.detailed())
	assert.Len(t, r.rows(), n)
	assert.Equal(t, n, r.detailed())
}

// The page that a browser opens has all rows at once, too.
func TestTheFirstViewerHasAllRows(t *testing.T) {
	r := newRig(t, crowd(20)...)
	r.scrape()
	v, first := r.page.join(context.Background(), kindRows, "")
	require.NotNil(t, v)
	defer r.page.leave(v)
	require.Len(t, first, 1)
	assert.Equal(t, 20, r.detailed())
	for i := range r.source.sockets {
		assert.Contains(t, string(first[0]), `"`+idOf(r.source.sockets[i].ID)+`"`)
	}
}

// Many who come at once, with scrapes and without, all get all rows.
func TestManyFirstRequests(t *testing.T) {
	r := newRig(t, crowd(20)...)
	r.scrape()
	for range 3 {
		r.ago(detailsFor + time.Second)
		r.scrape()
		require.Zero(t, r.detailed())
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() { assert.Len(t, r.rows(), 20) })
		}
		r.scrape()
		all.Wait()
	}
}

// After a shutdown nothing is read any more.
func TestNothingIsReadAfterTheEnd(t *testing.T) {
	s := &scripted{crowd(3)}
	r := &rig{tb: t, source: s, engine: newEngine(t, s, false), page: New(Config{History: time.Minute, Interval: time.Second})}
	r.engine.Listen(r.page)
	r.engine.AddView(r.page)
	require.NoError(t, r.engine.Open(context.Background()))
	r.scrape()
	require.NoError(t, r.engine.Close())
	err := r.page.scrape.WithDetails(context.Background(), func(*engine.Scrape) { t.Error("called") })
	require.ErrorIs(t, err, engine.ErrClosed)
	assert.Equal(t, http.StatusServiceUnavailable, r.get("http://localhost/connections.json").Code)
}

// partial is a source that leaves out connections with which nothing has happened.
type partial struct {
	*scripted
	moved  []tcp.Socket
	parts  int
	wholes int
	closed chan struct{}
}

func (s *partial) Capabilities() source.Capabilities {
	return source.RTT | source.Bytes | source.Closes
}

func (s *partial) Sockets(ctx context.Context, visit func(*tcp.Socket) error) error {
	s.wholes++
	return s.scripted.Sockets(ctx, visit)
}

func (s *partial) Moved(_ context.Context, visit func(*tcp.Socket) error) (bool, error) {
	s.parts++
	for _, one := range s.moved {
		if err := visit(&one); err != nil {
			return false, err
		}
	}
	return false, nil
}

func (s *partial) Closes() (source.CloseStream, error) { return noCloses{s.closed}, nil }

// noCloses is a stream that has no notices.
type noCloses struct{ closed chan struct{} }

func (s noCloses) Wait() error {
	<-s.closed
	return os.ErrClosed
}
func (s noCloses) Drain(func(*tcp.Notice) error) (uint64, error) { return 0, nil }
func (s noCloses) Close() error {
	close(s.closed)
	return nil
}

// A source that can leave out what has not moved does so while nobody looks, and is
// read whole for those who do: what has not moved has details, too.
func TestWhatHasNotMovedHasDetails(t *testing.T) {
	s := &partial{scripted: &scripted{crowd(10)}, closed: make(chan struct{})}
	r := newRigOf(t, s.scripted, s)
	r.scrape()
	s.moved = []tcp.Socket{socket(2)}
	s.moved[0].SegmentsSent = 200
	r.scrape()
	r.scrape()
	require.Equal(t, [2]int{1, 2}, [2]int{s.wholes, s.parts})
	s.sockets[2].SegmentsSent, s.sockets[2].Retransmits = 200, 3
	rows := r.rows()
	require.Len(t, rows, 10)
	for i, row := range rows {
		want := 100
		if i == 2 {
			want = 200
		}
		assert.EqualValues(t, want, row["segments_sent"])
	}
	assert.Equal(t, [2]int{2, 2}, [2]int{s.wholes, s.parts})
	r.scrape()
	assert.Equal(t, [2]int{3, 2}, [2]int{s.wholes, s.parts}, "their times go on")
	r.ago(detailsFor + time.Second)
	r.scrape()
	assert.Equal(t, [2]int{3, 3}, [2]int{s.wholes, s.parts})
	assert.Zero(t, r.detailed())
}

// A connection whose process was found late ends with it, as its row was shown.
func TestAnEndHasTheProcessOfItsRow(t *testing.T) {
	r := newRig(t, socket(1), socket(2))
	r.scrape()
	require.Len(t, r.rows(), 2)
	holder := &process.Process{PID: 7, Executable: "late"}
	r.page.scrape.Later(func(find func(tcp.Identity) *table.Connection) { find(socket(1).ID).Owner.Process = holder })
	r.scrape()
	assert.Equal(t, "late", r.rows()[0]["process"])
	r.source.sockets = nil
	r.scrape()
	ends, _ := r.page.recent.last()
	require.Len(t, ends, 2)
	by := make(map[uint64]*process.Process)
	for _, e := range ends {
		by[e.ID.Cookie] = e.process
	}
	assert.Equal(t, map[uint64]*process.Process{socket(1).ID.Cookie: holder, socket(2).ID.Cookie: nil}, by)
}
