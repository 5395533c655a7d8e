// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"fmt"
	"iter"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// maxCloses is how many notices are kept while a scrape is under way, and how
// many wait for a dump to explain them: 40 MB.
const maxCloses = 100_000

// closeWatch takes the notices of a source as they come and keeps them until
// they are counted: the kernel's buffer is small, and a scrape may take long.
type closeWatch struct {
	stream source.CloseStream // nil: somebody else puts them
	done   chan struct{}
	// counted: notices have been counted since the first dump. Those that came
	// before may be of connections that are older than all counters.
	counted bool

	mu    sync.Mutex
	queue []tcp.Notice
	lost  uint64
	err   error // why the watch has ended by itself
}

// watchCloses starts a watch. count is called, when notices have come, to have
// them counted unless that has to wait.
func watchCloses(stream source.CloseStream, count func()) *closeWatch {
	w := &closeWatch{stream: stream, done: make(chan struct{})}
	go w.run(count)
	return w
}

func (w *closeWatch) run(count func()) {
	defer close(w.done)
	for {
		if err := w.stream.Wait(); err != nil {
			if !errors.Is(err, os.ErrClosed) {
				w.fail(err)
			}
			return
		}
		if !w.drain() {
			return
		}
		count()
	}
}

func (w *closeWatch) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
}

// drain takes the notices that are there. It returns false if no more will come.
func (w *closeWatch) drain() bool {
	if w.stream == nil {
		return true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	lost, err := w.stream.Drain(func(n *tcp.Notice) error {
		n.Seen = now
		w.keep(n)
		return nil
	})
	w.lost += lost
	malformed := source.Partials(err)
	for _, p := range malformed {
		w.lost += uint64(p.Count)
	}
	if err != nil && len(malformed) == 0 {
		if !errors.Is(err, os.ErrClosed) {
			w.err = err
		}
		return false
	}
	return true
}

// keep keeps a notice, if there is room. w.mu is held.
func (w *closeWatch) keep(n *tcp.Notice) {
	if len(w.queue) == maxCloses {
		w.lost++
		return
	}
	w.queue = append(w.queue, *n)
}

// put keeps a notice that somebody else has taken.
func (w *closeWatch) put(n *tcp.Notice) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.keep(n)
}

// maxSpareCloses is how many notices are kept room for.
const maxSpareCloses = 16384

// take returns the notices so far and forgets them. spare is used for those to
// come.
func (w *closeWatch) take(spare []tcp.Notice) (queue []tcp.Notice, lost uint64, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if cap(spare) > maxSpareCloses {
		spare = nil // of a burst
	}
	queue, w.queue = w.queue, spare[:0]
	lost, w.lost = w.lost, 0
	return queue, lost, w.err
}

// each visits the notices that are there and were not taken yet.
func (w *closeWatch) each(visit func(*tcp.Notice)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.queue {
		visit(&w.queue[i])
	}
}

// end stops the watch and waits for it.
func (w *closeWatch) end() error {
	if w.stream == nil {
		return nil
	}
	err := w.stream.Close()
	<-w.done
	return err
}

// watchSpace starts to watch the closes in a network namespace, if its source
// has notices of them and somebody listens, and ends the watch of the source
// before.
func (e *Engine) watchSpace(sp *space, src source.Source) {
	e.endWatch(sp)
	sp.broken.at = time.Time{}
	if notifier := e.notifierOf(src); notifier != nil {
		if err := e.watch(sp, notifier); err != nil {
			e.watchBroke(sp, err)
		}
	}
}

// notifierOf returns the source if it has notices of closes and somebody listens, else
// nil.
func (e *Engine) notifierOf(src source.Source) source.CloseNotifier {
	if len(e.listeners) == 0 || src == nil || src.Capabilities().Missing(source.Closes) != 0 {
		return nil
	}
	notifier, _ := src.(source.CloseNotifier)
	return notifier
}

// watch starts to watch the closes in a namespace, and in those whose notices come
// with its own.
func (e *Engine) watch(sp *space, notifier source.CloseNotifier) error {
	stream, err := notifier.Closes()
	if err != nil {
		return err
	}
	sp.broken.opened = time.Now()
	sp.table.Notified(true)
	sp.watch = watchCloses(stream, func() {
		// While a scrape is under way the queue grows; the scrape counts it.
		if e.mu.TryLock() {
			defer e.mu.Unlock()
			e.countCloses(sp, false)
		}
	})
	// All that is noticed in a namespace in which everything is new is new.
	sp.watch.counted = sp.table.Begun()
	// What ended before has to be missing from a dump of all sockets.
	sp.reconciled = time.Time{}
	for other := range e.watchedWith(sp) {
		e.watchStack(other)
	}
	return nil
}

func (e *Engine) endWatch(sp *space) {
	if sp.watch == nil {
		return
	}
	if err := sp.watch.end(); err != nil {
		e.log.Warn("ending the watch of closes", zap.Error(err))
	}
	sp.watch = nil
	sp.table.Notified(false)
	for other := range e.watchedWith(sp) {
		e.endWatch(other)
	}
}

// watchedWith iterates over the network stacks whose notices come with those of a
// namespace.
func (e *Engine) watchedWith(sp *space) iter.Seq[*space] {
	return func(yield func(*space) bool) {
		if sp != e.own {
			return
		}
		for _, other := range e.others.spaces {
			if other.spanned && !yield(other) {
				return
			}
		}
	}
}

// drain takes the notices that a source has by now: what is missing in the dump
// that is about to end may have one.
func (e *Engine) drain(sp *space) {
	if sp.watch != nil {
		sp.watch.drain()
	}
}

// promptInterval is how often notices are counted with Config.Prompt.
const promptInterval = time.Second

// prompt returns a channel that has a value whenever notices are to be counted
// between scrapes, nil where that is not asked for or scrapes come as often.
func (e *Engine) prompt() (due <-chan time.Time, stop func()) {
	if !e.cfg.Prompt || e.cfg.Interval <= promptInterval {
		return nil, func() {}
	}
	ticker := time.NewTicker(promptInterval)
	return ticker.C, ticker.Stop
}

// Drain counts the notices of closes that the sources have by now.
func (e *Engine) Drain() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for sp := range e.spaces() {
		e.drain(sp)
		e.countCloses(sp, false)
	}
}

// countCloses gives the table the notices that have come. With last there will be no
// dump that could explain them: they are counted as they are. e.mu is held.
func (e *Engine) countCloses(sp *space, last bool) {
	if sp.watch == nil || !sp.table.Begun() {
		return
	}
	// Those that waited for a dump, if there was one.
	waiting := sp.unexplained
	sp.unexplained = nil
	queue, lost, err := sp.watch.take(sp.taken)
	if sp == e.own {
		queue = e.distribute(queue)
	}
	last = last || err != nil
	for i := range waiting {
		if !sp.table.Notice(&waiting[i].Notice, last || waiting[i].dump < sp.dumps) {
			sp.unexplained = append(sp.unexplained, waiting[i])
		}
	}
	for i := range queue {
		n := &queue[i]
		// A notice does not say in what state the connection was.
		if !sp.table.Has(&n.Socket) && (!sp.watch.counted || len(e.cfg.Filter.States) > 0 || !e.cfg.Filter.Match(&n.Socket)) {
			continue
		}
		if sp.table.Notice(n, last || len(sp.unexplained) >= maxCloses) {
			continue
		}
		sp.unexplained = append(sp.unexplained, unexplained{*n, sp.dumps})
	}
	sp.taken = queue
	sp.watch.counted = true
	e.sayLost(sp, lost)
	for other := range e.watchedWith(sp) {
		e.countCloses(other, err != nil)
	}
	if err != nil {
		e.endWatch(sp)
		e.watchBroke(sp, fmt.Errorf("watch closes: %w", err))
	}
}

// unexplained is a notice that waits for the next dump after those that there
// were.
type unexplained struct {
	tcp.Notice
	dump uint64
}

// sayLost counts notices that were lost, and logs that some are, once when it
// begins and once when a minute has passed without.
func (e *Engine) sayLost(sp *space, lost uint64) {
	now := time.Now()
	if lost > 0 {
		sp.lostAt, sp.reconciled = now, time.Time{}
		e.noticesLost += lost
		e.telemetry.eventsLost(sp.sourceName(e), lost)
		sp.lost.raise(lost, func() {
			e.log.Warn("notices of closes are lost: more connections end than can be counted, and those that no scrape saw are missing",
				zap.Stringer("in", sp), zap.Uint64("lost", lost))
		})
		return
	}
	if sp.lost.on && now.Sub(sp.lostAt) >= quietFor {
		sp.lost.clear(1, func(n uint64) {
			e.log.Info("no notices of closes are lost any more", zap.Stringer("in", sp), zap.Uint64("lost", n))
		})
	}
}

// quietFor is how long nothing must be lost until that is said.
const quietFor = time.Minute
