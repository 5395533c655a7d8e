// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"github.com/netpulse/tcpstatsreceiver/internal/capture"
	"github.com/netpulse/tcpstatsreceiver/internal/capture/filter"
	"github.com/netpulse/tcpstatsreceiver/internal/capture/packet"
	"github.com/netpulse/tcpstatsreceiver/internal/dns"
	"github.com/netpulse/tcpstatsreceiver/internal/knock"
)

// nameCapture watches the DNS messages of a network namespace and, where somebody asks
// for them, the attempts to connect that nothing answers.
type nameCapture struct {
	capture *capture.Capture
	watcher *dns.Watcher
	knocks  *knock.Watcher // nil if nobody asks
	stop    context.CancelFunc
	done    chan struct{}
	// counted is what telemetry has of each engine.
	counted map[string]capture.Stats
	// givenUp is how many attempts telemetry has that knocks gave up.
	givenUp uint64
}

// captureNames starts to watch the DNS messages of a namespace. With an error it
// goes on trying: permissions may be granted, and modules loaded, later.
func (e *Engine) captureNames(ctx context.Context, sp *space) error {
	choose := filter.Port
	if len(e.cfg.Peers.Knocks) > 0 {
		choose = filter.PortOrSYN
	}
	program, err := choose(dns.Port)
	if err != nil {
		return err
	}
	var do func(func() error) error // nil: every thread is in the namespace
	if sp.namespace != nil {
		do = sp.namespace.Do
	}
	key, local := sp.key(), dns.NewLocal(do)
	w := &nameCapture{
		capture: capture.New(e.cfg.Peers.Engines, e.cfg.Peers.Choice, capture.Options{Filter: program, Do: do},
			e.log.With(zap.String("in", sp.String())), func(string, string) {}),
		watcher: dns.NewWatcher(dns.Options{
			Names: e.peers.finder.Names, Local: local,
			Key:       func(netip.AddrPort) uint64 { return key },
			Namespace: sp.place.Namespace, Observers: e.cfg.Peers.Observers,
		}),
		done:    make(chan struct{}),
		counted: make(map[string]capture.Stats),
	}
	visit := w.watcher.Packet
	if len(e.cfg.Peers.Knocks) > 0 {
		w.knocks = knock.NewWatcher(knock.Options{Namespace: sp.place.Namespace, IsLocal: local.Has, Observers: e.cfg.Peers.Knocks})
		visit = func(p *packet.Packet) {
			w.watcher.Packet(p)
			w.knocks.Packet(p)
		}
	}
	err = w.capture.Open(ctx)
	// The context of a start ends with the start.
	runCtx, stop := context.WithCancel(context.Background())
	w.stop = stop
	go func() {
		defer close(w.done)
		w.capture.Run(runCtx, visit)
	}()
	sp.capture = w
	return err
}

// endCapture ends the capture of a namespace and waits for it.
func (e *Engine) endCapture(sp *space) {
	if sp.capture == nil {
		return
	}
	sp.capture.stop()
	<-sp.capture.done
	e.countPackets(sp.capture)
	sp.capture = nil
}

// followPeers forgets names that nobody needs any more, and counts what was
// captured.
func (e *Engine) followPeers(now time.Time) {
	if e.peers.finder.Names == nil {
		return
	}
	inUse := make(map[string]int)
	for sp := range e.spaces() {
		if sp.capture != nil {
			sp.capture.watcher.Expire(now)
			if sp.capture.knocks != nil {
				sp.capture.knocks.Expire(now)
			}
			e.countPackets(sp.capture)
			for name, stats := range sp.capture.counted {
				if stats.Blocks > 0 {
					inUse[name] += stats.BlocksInUse
				}
			}
		}
	}
	for name, n := range inUse {
		e.telemetry.blocks(name, n)
	}
	e.peers.finder.Names.Expire(now)
}

// countPackets tells telemetry what a capture has seen since the last time.
func (e *Engine) countPackets(w *nameCapture) {
	if w.knocks != nil {
		all := w.knocks.Counts().Overflowed
		e.telemetry.observationsLost(all - w.givenUp)
		w.givenUp = all
	}
	for name, stats := range w.capture.Stats() {
		before := w.counted[name]
		w.counted[name] = stats
		e.telemetry.packets(name, before, stats)
	}
}
