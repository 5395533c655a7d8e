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
			w.err = err
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
	<-w.done
	return w.stream.Close()
}

// watchSource starts to watch the closes of the current source, if it is told
// of them and groups want them, and ends the watch of the one before.
func (s *scraper) watchSource() {
	s.endWatch()
	src := s.selector.Current()
	if s.groups == nil || src == nil || src.Capabilities().Missing(source.Closes) != 0 {
		return
	}
	notifier, ok := src.(source.CloseNotifier)
	if !ok {
		return
	}
	stream, err := notifier.Closes()
	if err != nil {
		s.log.Warn("connections that open and close between two scrapes are not counted", zap.Error(err))
		return
	}
	s.table.Notified(true)
	s.watch = watchCloses(stream, func() {
		// While a scrape is under way the queue grows; the scrape counts it.
		if s.mu.TryLock() {
			defer s.mu.Unlock()
			s.countCloses()
		}
	})
}

func (s *scraper) endWatch() {
	if s.watch == nil {
		return
	}
	if err := s.watch.end(); err != nil {
		s.log.Warn("ending the watch of closes", zap.Error(err))
	}
	s.watch = nil
	s.table.Notified(false)
}

// countCloses gives the table the notices that have come. s.mu is held.
func (s *scraper) countCloses() {
	if s.watch == nil || !s.table.Begun() {
		return
	}
	queue, lost, err := s.watch.take(s.closes)
	for i := range queue {
		socket := &queue[i]
		// A notice does not tell in what state the connection was.
		known := s.table.Has(socket.ID)
		if known || s.watch.counted && len(s.filter.States) == 0 && s.filter.Match(socket) {
			s.table.Notice(socket, s.groups.Accepted(socket.Local.Port()))
		}
	}
	s.closes = queue
	s.watch.counted = true
	if lost > 0 {
		s.telemetry.eventsLost(s.selector.Current(), lost)
	}
	if err != nil {
		s.log.Warn("closes are no longer told: connections that open and close between two scrapes are not counted", zap.Error(fmt.Errorf("watch closes: %w", err)))
		s.endWatch()
	}
}

// ownerOf is who owned a connection that ended before it could be attributed:
// the process that the source saw with it, else who listens on its port and has
// accepted it. For one that was opened from here nobody else knows.
func (s *scraper) ownerOf(c *table.Connection) *process.Process {
	switch {
	case s.resolver == nil:
		return nil
	case c.Holder != nil:
		return s.resolver.Seen(time.Now(), c.Holder)
	case s.groups.Accepted(c.Local.Port()):
		return s.owners[c.Local.Port()]
	}
	return nil
}
