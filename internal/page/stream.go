// SPDX-License-Identifier: Apache-2.0

package page

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// kinds of messages; a viewer gets those that it asked for.
type kind uint8

const (
	kindOpened kind = 1 << iota // the page has no use for them
	kindEvents                  // ended, finding, skipped
	kindScrape                  // totals and status of a scrape
	kindRows                    // a scrape with what changed of connections, for the page
)

// message is one server-sent event, or several that happened together, encoded once
// for all viewers.
type message struct {
	seq  uint64
	kind kind
	text []byte
}

// Bounds of what a stream keeps for viewers that come back and for those that are
// slow.
const (
	keptMessages = 256
	keptBytes    = 16 << 20
	viewerQueue  = 32 // messages; a viewer that is further behind is dropped
)

// stream is the messages that go to all viewers.
type stream struct {
	epoch string // tells its messages from those of a collector before

	mu      sync.Mutex
	seq     uint64
	kept    []*message // the last ones
	bytes   int        // of kept
	changed difference
	shown   *snapshot // that the next difference is to
	viewers map[*viewer]struct{}
}

// viewer is somebody who reads the stream.
type viewer struct {
	kinds kind
	queue chan *message
}

// publish sends a snapshot to all viewers.
func (p *Page) publish(n *snapshot) {
	s := &p.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	b := append(appendInt([]byte(`{"t":`), n.time.UnixMilli()), ',')
	b = appendScrape(b, n)
	s.send(kindScrape, "scrape", append(b[:len(b):len(b)], '}'))
	b = append(b, ',')
	b = s.changed.append(b, n, false)
	s.send(kindRows, "rows", append(b, '}'))
	s.shown = n
}

// flush sends the events that have happened.
func (p *Page) flush() {
	events, skipped, findings := p.recent.take()
	if len(events)+len(findings) == 0 {
		return
	}
	s := &p.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	// Thousands may have come: they are one message, or they would fill the queues.
	var opened, others []byte
	for i := range events {
		if events[i].end {
			others = appendEvent(others, "ended", appendHappened(nil, &events[i]))
		} else {
			opened = appendEvent(opened, "opened", appendHappened(nil, &events[i]))
		}
	}
	for _, f := range findings {
		others = appendEvent(others, "finding", appendJSON(nil, f))
	}
	if skipped > 0 {
		others = appendEvent(others, "skipped", fmt.Appendf(nil, `{"events":%d}`, skipped))
	}
	if len(opened) > 0 {
		s.give(kindOpened, opened)
	}
	if len(others) > 0 {
		s.give(kindEvents, others)
	}
}

// appendEvent appends a server-sent event; its id comes with the message.
func appendEvent(b []byte, name string, data []byte) []byte {
	b = append(append(b, "event: "...), name...)
	b = append(append(b, "\ndata: "...), data...)
	return append(b, "\n\n"...)
}

// send gives an event to those who want it. s.mu is held.
func (s *stream) send(k kind, name string, data []byte) {
	s.give(k, appendEvent(nil, name, data))
}

// give gives a message to those who want it. A viewer whose queue is full is
// dropped: it comes back and gets everything anew. The id is the last event's, so
// that who is cut off before gets the whole message again. s.mu is held.
func (s *stream) give(k kind, text []byte) {
	s.seq++
	m := &message{seq: s.seq, kind: k}
	m.text = append(m.text, text[:len(text)-1]...)
	m.text = append(append(m.text, "id: "...), s.epoch...)
	m.text = strconv.AppendUint(append(m.text, '-'), s.seq, 10)
	m.text = append(m.text, "\n\n"...)
	s.kept = append(s.kept, m)
	s.bytes += len(m.text)
	for len(s.kept) > keptMessages || s.bytes > keptBytes && len(s.kept) > 1 {
		s.bytes -= len(s.kept[0].text)
		s.kept[0] = nil
		s.kept = s.kept[1:]
	}
	for v := range s.viewers {
		if v.kinds&k == 0 {
			continue
		}
		select {
		case v.queue <- m:
		default:
			delete(s.viewers, v)
			close(v.queue)
		}
	}
}

// join adds a viewer. It returns what the viewer has missed since the message
// that it had last or, where that is not known any more, begins anew; nil if
// there are too many viewers.
func (p *Page) join(ctx context.Context, kinds kind, lastID string) (*viewer, [][]byte) {
	p.asked()
	var newest *snapshot
	if kinds&kindRows != 0 {
		newest = p.current(ctx)
	}
	s := &p.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.viewers) >= maxViewers {
		return nil, nil
	}
	if s.viewers == nil {
		s.viewers = make(map[*viewer]struct{})
	}
	v := &viewer{kinds: kinds, queue: make(chan *message, viewerQueue)}
	s.viewers[v] = struct{}{}
	p.viewers.Store(int32(len(s.viewers)))
	p.watched.Store(true)
	if missed, ok := s.since(lastID); ok {
		var texts [][]byte
		for _, m := range missed {
			if m.kind&kinds != 0 {
				texts = append(texts, m.text)
			}
		}
		return v, texts
	}
	first := []byte("retry: 1000\n")
	if kinds&kindRows == 0 {
		return v, [][]byte{fmt.Appendf(first, "event: hello\nid: %s-%d\ndata: {}\n\n", s.epoch, s.seq)}
	}
	// Differences go on from what the others were sent last.
	if s.shown == nil || len(s.viewers) == 1 && newest != nil && newest.time.After(s.shown.time) {
		if newest == nil {
			newest = &snapshot{point: p.sampler.history.last(), status: status{Host: p.hostname, Lacks: []string{}, Interval: p.cfg.Interval.Seconds(), History: p.cfg.History.Seconds()}}
		}
		s.forget()
		s.changed = difference{}
		s.changed.append(nil, newest, false)
		s.shown = newest
	}
	first = fmt.Appendf(first, "event: full\nid: %s-%d\ndata: ", s.epoch, s.seq)
	first = append(first, p.everything(s)...)
	return v, [][]byte{append(first, "\n\n"...)}
}

// everything is what a page needs to begin with. s.mu is held.
func (p *Page) everything(s *stream) []byte {
	b := appendInt([]byte(`{"t":`), s.shown.time.UnixMilli())
	b = appendText(append(b, `,"epoch":`...), s.epoch)
	b = append(b, `,"states":[`...)
	for state := range tcp.NumStates {
		b = appendText(comma(b, int(state)), state.String())
	}
	b = appendJSON(append(b, `],"history":`...), p.sampler.history.all())
	ends, findings := p.recent.last()
	b = append(b, `,"ended":[`...)
	for i := range ends {
		b = appendHappened(comma(b, i), &ends[i])
	}
	b = appendJSON(append(b, `],"findings":`...), append([]Finding{}, findings...))
	b = append(b, ',')
	b = append(b, s.shown.encode("full", func(n *snapshot) []byte {
		return s.changed.append(append(appendScrape(nil, n), ','), n, true)
	})...)
	return append(b, '}')
}

// forget drops what is kept for those who come back: they begin anew. s.mu is held.
func (s *stream) forget() {
	s.kept, s.bytes = nil, 0
	s.seq++
}

// rest is called when nobody looks any more: what happens from now on is not
// kept. Who has come since keeps what it was given.
func (s *stream) rest() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.viewers) > 0 {
		return
	}
	s.forget()
	s.shown, s.changed = nil, difference{}
}

// since returns the messages after one, if all of them are kept. s.mu is held.
func (s *stream) since(lastID string) ([]*message, bool) {
	of, number, found := strings.Cut(lastID, "-")
	seq, err := strconv.ParseUint(number, 10, 64)
	if !found || of != s.epoch || err != nil || seq > s.seq {
		return nil, false
	}
	missed := s.seq - seq
	if missed > uint64(len(s.kept)) {
		return nil, false
	}
	return s.kept[uint64(len(s.kept))-missed:], true
}

func (p *Page) leave(v *viewer) {
	s := &p.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.viewers, v)
	p.viewers.Store(int32(len(s.viewers)))
	p.asked()
}

// events serves the stream.
func (p *Page) events(w http.ResponseWriter, r *http.Request) {
	kinds := kindOpened | kindEvents | kindScrape
	if r.URL.Query().Has("rows") {
		kinds = kindEvents | kindRows
	}
	v, missed := p.join(r.Context(), kinds, r.Header.Get("Last-Event-ID"))
	if v == nil {
		w.Header().Set("Retry-After", "30")
		http.Error(w, fmt.Sprintf("%d viewers have the stream already: no more can have it", maxViewers), http.StatusServiceUnavailable)
		return
	}
	defer p.leave(v)
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	out := http.NewResponseController(w)
	write := func(text []byte) bool {
		// Who does not read for so long is not waited for.
		_ = out.SetWriteDeadline(time.Now().Add(writeTimeout))
		_, err := w.Write(text)
		return err == nil
	}
	for _, text := range missed {
		if !write(text) {
			return
		}
	}
	if out.Flush() != nil {
		return
	}
	alive := time.NewTicker(keepaliveEvery)
	defer alive.Stop()
	for {
		var ok bool
		select {
		case <-p.stopping:
			return
		case <-r.Context().Done():
			return
		case <-alive.C:
			ok = write([]byte(": \n\n"))
		case m, open := <-v.queue:
			if !open {
				return
			}
			ok = write(m.text)
		}
		if !ok || out.Flush() != nil {
			return
		}
	}
}
