// SPDX-License-Identifier: Apache-2.0

//go:build linux || freebsd

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
	"go.opentelemetry.io/collector/receiver/receivertest"
)

// Sink is the collector's own OTLP receiver and what it got, scrape by scrape.
type Sink struct {
	Endpoint string

	mu        sync.Mutex
	scrapes   []*Scrape
	partial   *Scrape
	series    map[string]Value // the last of each cumulative series
	following bool             // whether series continues
	held      chan struct{}    // where a batch is to wait; nil: nowhere
	points    int
	raw       []string      // everything as JSON
	news      chan struct{} // closed when there is another scrape
}

// startSink starts an OTLP receiver on a free port.
func startSink(t *testing.T) *Sink {
	t.Helper()
	s := &Sink{
		Endpoint:  freeEndpoint(t),
		partial:   newScrape(),
		series:    make(map[string]Value),
		following: true,
		news:      make(chan struct{}),
	}
	next, err := consumer.NewMetrics(s.take)
	require.NoError(t, err)
	factory := otlpreceiver.NewFactory()
	cfg := factory.CreateDefaultConfig()
	require.NoError(t, confmap.NewFromStringMap(map[string]any{
		"protocols": map[string]any{"grpc": map[string]any{"endpoint": s.Endpoint}},
	}).Unmarshal(cfg))
	r, err := factory.CreateMetrics(t.Context(), receivertest.NewNopSettings(factory.Type()), cfg, next)
	require.NoError(t, err)
	require.NoError(t, r.Start(t.Context(), componenttest.NewNopHost()))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, r.Shutdown(ctx))
		for _, scrape := range s.scrapes {
			for _, problem := range scrape.Problems {
				t.Error("the scrape of " + scrape.Time.Format(time.StampMicro) + ": " + problem)
			}
		}
	})
	return s
}

// take is called for one batch at a time: the exporter has no queue and the
// receiver waits for it.
func (s *Sink) take(ctx context.Context, md pmetric.Metrics) error {
	json, err := (&pmetric.JSONMarshaler{}).MarshalMetrics(md)
	if err != nil {
		return err
	}
	s.mu.Lock()
	held := s.held
	s.mu.Unlock()
	if held != nil {
		select {
		case held <- struct{}{}:
		case <-ctx.Done():
		}
		select {
		case <-held:
		case <-ctx.Done(): // the collector took it back
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.raw = append(s.raw, string(json))
	s.points += md.DataPointCount()
	if !s.following && s.partial.cutOff(md) {
		s.partial = newScrape()
	}
	if s.partial.add(md) {
		if s.following {
			s.follow(s.partial)
		}
		s.scrapes = append(s.scrapes, s.partial)
		s.partial = newScrape()
		close(s.news)
		s.news = make(chan struct{})
	}
	return nil
}

// follow checks that cumulative series only grow, or start anew, later.
func (s *Sink) follow(scrape *Scrape) {
	for tuple, c := range scrape.Connections {
		for name, now := range c.Values {
			s.followSeries(scrape, tuple.String()+" "+name, now)
		}
	}
	for key, now := range scrape.Groups {
		s.followSeries(scrape, key, now)
	}
	for key, now := range scrape.System {
		s.followSeries(scrape, key, now)
	}
}

func (s *Sink) followSeries(scrape *Scrape, key string, now Value) {
	if !now.Cumulative {
		return
	}
	if was, ok := s.series[key]; ok {
		switch {
		case now.Start.Before(was.Start):
			scrape.problem("%s started at %s and now before, at %s", key, was.Start, now.Start)
		case now.Start.Equal(was.Start) && now.Number < was.Number:
			scrape.problem("%s fell from %v to %v", key, was.Number, now.Number)
		}
	}
	s.series[key] = now
}

// Follow says whether what comes continues what came. It does not while the
// collector puts a new receiver in place of the old one, which may be stopped in
// the middle of a scrape.
func (s *Sink) Follow(follow bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.following = follow
	clear(s.series)
}

// Count returns how many scrapes have come.
func (s *Sink) Count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.scrapes)
}

// Scrapes returns the scrapes from the nth on.
func (s *Sink) Scrapes(from int) []*Scrape {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*Scrape(nil), s.scrapes[from:]...)
}

// Scrape waits for the nth scrape, counted from 0.
func (s *Sink) Scrape(t *testing.T, n int) *Scrape {
	t.Helper()
	deadline := time.After(patience)
	for {
		s.mu.Lock()
		news := s.news
		if n < len(s.scrapes) {
			defer s.mu.Unlock()
			return s.scrapes[n]
		}
		s.mu.Unlock()
		select {
		case <-news:
		case <-deadline:
			require.FailNow(t, "no further scrape", "%d of %d came", s.Count(), n+1)
		}
	}
}

// Next waits for a scrape that began after this call: the one after the next, since
// the next may be under way. The receiver begins none before the last was taken.
func (s *Sink) Next(t *testing.T) *Scrape {
	t.Helper()
	return s.Scrape(t, s.Count()+1)
}

// Hold keeps the next batch from being taken until release is called, and waits
// until it is there.
func (s *Sink) Hold(t *testing.T) (release func()) {
	t.Helper()
	held := make(chan struct{})
	set := func(to chan struct{}) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.held = to
	}
	set(held)
	select {
	case <-held:
	case <-time.After(patience):
		require.FailNow(t, "no further batch")
	}
	return func() {
		set(nil)
		close(held)
	}
}

// Points returns how many data points have come.
func (s *Sink) Points() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.points
}

// Raw is everything that came, as JSON.
func (s *Sink) Raw() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.raw...)
}

// freeEndpoint returns an address and a port that nobody uses now. It is below the
// ports that Linux and FreeBSD give to those that ask for none, lest one of those
// takes it before the collector does.
func freeEndpoint(t *testing.T) string {
	t.Helper()
	const first, ports = 2000, 8000
	for range ports {
		at := fmt.Sprintf("127.0.0.1:%d", first+endpoints.Add(1)%ports)
		if l, err := net.Listen("tcp", at); err == nil {
			require.NoError(t, l.Close())
			return at
		}
	}
	require.FailNow(t, "no port is free")
	return ""
}

// endpoints counts those that were looked at. Each process begins elsewhere.
var endpoints = func() *atomic.Uint32 {
	var n atomic.Uint32
	n.Store(rand.Uint32() / 2)
	return &n
}()
