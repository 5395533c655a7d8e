package receiver

import (
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/table"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

const (
	// closesAtOnce is how many notices are let gather before they are counted
	// between two scrapes.
	closesAtOnce = 4096
	// maxCloses is how many are kept while a scrape is under way: 40 MB.
	maxCloses = 100_000
)

// closeWatch takes the notices of a source as they come and keeps them until
// they are counted: the kernel's buffer is small, and a scrape may wait long
// for the pipeline.
type closeWatch struct {
	stream source.CloseStream
	stop   chan struct{}
	done   chan struct{}
	// counted: notices have been counted since the first dump. Those that came
	// before may be of connections that are older than all counters.
	counted bool

	mu    sync.Mutex
	queue []tcp.Socket
	lost  uint64
	err   error // why the watch has ended by itself
}

// watchCloses starts a watch. full is called, between notices, while the queue
// is long.
func watchCloses(stream source.CloseStream, full func()) *closeWatch {
	w := &closeWatch{stream: stream, stop: make(chan struct{}), done: make(chan struct{})}
	go w.run(full)
	return w
}

func (w *closeWatch) run(full func()) {
	defer close(w.done)
	length := 0
	keep := func(s *tcp.Socket) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.queue) < maxCloses {
			w.queue = append(w.queue, *s)
		} else {
			w.lost++
		}
		length = len(w.queue)
		return nil
	}
	for {
		select {
		case <-w.stop:
			return
		default:
		}
		lost, err := w.stream.Next(keep)
		malformed := source.Partials(err)
		w.mu.Lock()
		w.lost += lost
		for _, p := range malformed {
			w.lost += uint64(p.Count)
		}
		if err != nil && len(malformed) == 0 {
			w.err = err // the end, where end has closed the stream
		}
		failed := w.err != nil
		w.mu.Unlock()
		if failed {
			return
		}
		if length >= closesAtOnce {
			full()
		}
	}
}

// take returns the notices so far and forgets them. spare is used for those to
// come.
func (w *closeWatch) take(spare []tcp.Socket) (queue []tcp.Socket, lost uint64, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if cap(spare) > 4*closesAtOnce {
		spare = nil // of a burst
	}
	queue, w.queue = w.queue, spare[:0]
	lost, w.lost = w.lost, 0
	return queue, lost, w.err
}

// end stops the watch and waits for it.
func (w *closeWatch) end() error {
	close(w.stop)
	err := w.stream.Close()
	<-w.done
	return err
}

// watchSpace starts to watch the closes in a network namespace, if its source is
// told of them and groups want them, and ends the watch of the source before.
func (s *scraper) watchSpace(sp *space, src source.Source) {
	s.endWatch(sp)
	if s.groups == nil || src == nil || src.Capabilities().Missing(source.Closes) != 0 {
		return
	}
	notifier, ok := src.(source.CloseNotifier)
	if !ok {
		return
	}
	stream, err := notifier.Closes()
	if err != nil {
		s.log.Warn("connections that open and close between two scrapes are not counted", zap.Stringer("in", sp), zap.Error(err))
		return
	}
	sp.table.Notified(true)
	sp.watch = watchCloses(stream, func() {
		// While a scrape is under way the queue grows; the scrape counts it.
		if s.mu.TryLock() {
			defer s.mu.Unlock()
			s.countCloses(sp)
		}
	})
	// What is told of a namespace in which everything is new is all new.
	sp.watch.counted = sp.table.Begun()
}

func (s *scraper) endWatch(sp *space) {
	if sp.watch == nil {
		return
	}
	if err := sp.watch.end(); err != nil {
		s.log.Warn("ending the watch of closes", zap.Error(err))
	}
	sp.watch = nil
	sp.table.Notified(false)
}

// countCloses gives the table the notices that have come. s.mu is held.
func (s *scraper) countCloses(sp *space) {
	if sp.watch == nil || !sp.table.Begun() {
		return
	}
	queue, lost, err := sp.watch.take(sp.closes)
	for i := range queue {
		socket := &queue[i]
		// A notice does not tell in what state the connection was.
		known := sp.table.Has(socket.ID)
		if !known && (!sp.watch.counted || len(s.filter.States) > 0 || !s.filter.Match(socket)) {
			continue
		}
		accepted := s.groups.Accepted(socket.ID.Namespace, socket.Local.Port())
		if s.ends != nil {
			s.ends.Count(socket, accepted)
		}
		sp.table.Notice(socket, accepted)
	}
	sp.closes = queue
	sp.watch.counted = true
	if lost > 0 {
		s.telemetry.eventsLost(s.selector.Current(), lost)
	}
	if err != nil {
		s.log.Warn("closes are no longer told: connections that open and close between two scrapes are not counted",
			zap.Stringer("in", sp), zap.Error(fmt.Errorf("watch closes: %w", err)))
		s.endWatch(sp)
	}
}

// closed counts the end of a connection in its group. holder is the process that
// the source saw with it, if it saw one.
func (s *scraper) closed(sp *space, c *table.Connection, holder *tcp.Holder) {
	if s.groups == nil || c.State == tcp.Listen {
		return
	}
	if c.Owner.Process == nil && c.Group == 0 {
		c.Owner.Process = s.ownerOf(sp, c, holder)
	}
	if c.Group != 0 || s.wanted(c) {
		s.groups.Close(c)
	}
}

// ownerOf is who owned a connection that ended before it could be attributed:
// the process that the source saw with it, else who listens on its port and has
// accepted it. For one that was opened from here nobody else knows.
func (s *scraper) ownerOf(sp *space, c *table.Connection, holder *tcp.Holder) *process.Process {
	switch {
	case s.resolver == nil || !s.cfg.Process.Attribution:
		return nil
	case holder != nil:
		return s.resolver.Seen(time.Now(), holder)
	case s.groups.Accepted(c.ID.Namespace, c.Local.Port()):
		return sp.owners[c.Local.Port()]
	}
	return nil
}
