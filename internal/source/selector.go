// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/netpulse/tcpstatsreceiver/internal/choice"
)

// Auto is the name that asks for the best source that opens.
const Auto = choice.Auto

// A worse source is used for minRetry before the better ones are tried again,
// and for twice as long after each time that a better one came back only to be
// lost within maxRetry: the log and the series must not flap.
const (
	minRetry = time.Minute
	maxRetry = time.Hour
)

// maxFailures is how many dumps in a row may fail before a source that opens
// well but cannot be read is given up.
const maxFailures = 3

// Selector holds the source in use, takes the next when it is lost, and comes
// back when a better one opens.
type Selector struct {
	wanted   []Factory // those that the user's choice allows, best first
	unfit    []string  // why the others are not among them
	require  Capabilities
	log      *zap.Logger
	onChange func(from, to string)

	current  Source
	factory  Factory   // of current
	since    time.Time // when current was taken
	failures int
	retry    time.Duration
	retryAt  time.Time

	// logged is the source that the log has last said is in use, "" after it said
	// that none is. unread: the log has said that a source was lost, and none could be
	// read since.
	logged string
	unread bool
}

// Choice is what the user asked for.
type Choice struct {
	// Name is Auto or a source's name.
	Name string
	// Require refuses sources without these capabilities.
	Require Capabilities
}

// Check reports, without opening anything, whether the choice can be met by the
// given sources at their best.
func (c Choice) Check(factories []Factory) error {
	return choice.Check("source", c.Name, c.Require, factories)
}

// Kind implements choice.Factory.
func (f Factory) Kind() choice.Kind[Capabilities] {
	return choice.Kind[Capabilities]{Name: f.Name, Rank: f.Rank, Capabilities: f.Capabilities, Lacks: f.lacks()}
}

// lacksField is Lacks for the log.
func (f Factory) lacksField() zap.Field {
	if f.Lacks == "" {
		return zap.Skip()
	}
	return zap.String("lacks", f.Lacks)
}

// lacks is what Lacks adds to what is said of a source.
func (f Factory) lacks() string {
	if f.Lacks == "" {
		return ""
	}
	return " (" + f.Lacks + ")"
}

// Names lists the factories' names, best first.
func Names(factories []Factory) []string { return choice.Names(factories) }

// NewSelector returns a selector that has opened nothing yet. onChange is called when
// another kind of source is in use than before, and not when the same is opened anew; a
// name is empty where there is no source.
func NewSelector(factories []Factory, asked Choice, log *zap.Logger, onChange func(from, to string)) *Selector {
	wanted, unfit := choice.Among(asked.Name, asked.Require, factories)
	return &Selector{wanted: wanted, unfit: unfit, require: asked.Require, log: log, onChange: onChange, retry: minRetry}
}

// Open takes the best source that opens now.
func (s *Selector) Open(ctx context.Context, now time.Time) error {
	src, made, lacks := s.openFrom(ctx, s.wanted)
	if src == nil {
		return fmt.Errorf("no source of TCP sockets can be opened: %s", strings.Join(append(lacks, s.unfit...), "; "))
	}
	s.use("", src, made, now)
	s.logged = src.Name()
	s.log.Info("TCP sockets are read by "+src.Name(),
		zap.String("source", src.Name()),
		zap.Stringer("gives", src.Capabilities()),
		made.lacksField(),
		zap.Strings("others", append(append(lacks, choice.Worse(s.wanted, made.Rank)...), s.unfit...)))
	return nil
}

// Current is the source in use, nil if none is.
func (s *Selector) Current() Source { return s.current }

// Best is the factory of the source in use or, if that kind does not have the
// capabilities, of the best after it that the user's choice allows.
func (s *Selector) Best(want Capabilities) (f Factory, ok bool) {
	for _, f := range s.wanted {
		if f.Rank <= s.factory.Rank && f.Capabilities.Missing(want) == 0 {
			return f, true
		}
	}
	return Factory{}, false
}

// TryBetter comes back to a better source if one is due to be tried and opens;
// without a source, one is due at every call. It reports whether the source
// changed. The log says so once it has been read: one that opens may still not do that.
func (s *Selector) TryBetter(ctx context.Context, now time.Time) bool {
	better := s.wanted
	if s.current != nil {
		if now.Before(s.retryAt) {
			return false
		}
		s.retryAt = now.Add(s.retry)
		better = choice.Better(s.wanted, s.factory.Rank)
	}
	src, made, _ := s.openFrom(ctx, better)
	if src == nil {
		return false
	}
	from := s.name()
	s.close()
	s.use(from, src, made, now)
	return true
}

// Succeeded notes that the current source could be read.
func (s *Selector) Succeeded() {
	s.failures, s.unread = 0, false
	if name := s.name(); name != s.logged {
		s.log.Info("TCP sockets are read by "+name+" again", zap.String("source", name), zap.String("instead_of", s.logged))
		s.logged = name
	}
}

// Failed notes that the current source could not be read. It opens it anew,
// or takes the next one, and returns whether there is another source to go on with
// at once.
func (s *Selector) Failed(ctx context.Context, now time.Time, cause error) bool {
	failed := s.name()
	s.failures++
	s.close()

	reopened := s.failures < maxFailures && s.reopen(ctx, failed)
	if reopened {
		// One that opens but does not read is not tried twice in one scrape.
		return false
	}
	others := slices.DeleteFunc(slices.Clone(s.wanted), func(f Factory) bool { return f.Name == failed })
	src, made, lacks := s.openFrom(ctx, others)
	if src == nil {
		if s.failures < maxFailures || !s.reopen(ctx, failed) {
			s.onChange(failed, "")
		}
		s.logUnreadable("TCP sockets cannot be read by "+failed+" any more, and nothing else opens; each scrape tries again", cause, lacks)
		return false
	}

	if now.Sub(s.since) < maxRetry {
		s.retry = min(2*s.retry, maxRetry)
	} else {
		s.retry = minRetry
	}
	s.use(failed, src, made, now)
	switch {
	case s.unread:
		s.logUnreadable("TCP sockets cannot be read by any source; each scrape tries again", cause, lacks)
	case s.logged != src.Name():
		s.log.Warn("TCP sockets are read by "+src.Name()+" now: "+failed+" is lost",
			zap.String("source", src.Name()), zap.Stringer("gives", src.Capabilities()), made.lacksField(), zap.Error(cause))
		s.logged, s.unread = src.Name(), true
	}
	return true
}

// reopen opens the named source and reports whether it is the current one then.
func (s *Selector) reopen(ctx context.Context, name string) bool {
	same := slices.DeleteFunc(slices.Clone(s.wanted), func(f Factory) bool { return f.Name != name })
	src, made, _ := s.openFrom(ctx, same)
	if src == nil {
		return false
	}
	s.current, s.factory = src, made
	return true
}

// logUnreadable logs that nothing can be read, once until something can.
func (s *Selector) logUnreadable(message string, cause error, others []string) {
	if s.logged == "" {
		return
	}
	s.logged = ""
	s.log.Error(message, zap.Error(cause), zap.Strings("others", others))
}

// Close closes the source in use.
func (s *Selector) Close() error {
	if s.current == nil {
		return nil
	}
	err := s.current.Close()
	s.current = nil
	return err
}

func (s *Selector) openFrom(ctx context.Context, factories []Factory) (src Source, made Factory, lacks []string) {
	for _, f := range factories {
		src, err := f.Open(ctx)
		if err != nil {
			lacks = append(lacks, fmt.Sprintf("%s: %v", f.Name, err))
			continue
		}
		if missing := src.Capabilities().Missing(s.require); missing != 0 {
			err := errors.Join(fmt.Errorf("gives %s here, not %s%s%s", src.Capabilities(), missing, missing.refusal(), f.lacks()), src.Close())
			lacks = append(lacks, fmt.Sprintf("%s: %v", f.Name, err))
			continue
		}
		return src, f, lacks
	}
	return nil, Factory{}, lacks
}

func (s *Selector) use(from string, src Source, made Factory, now time.Time) {
	s.current, s.factory, s.since, s.failures = src, made, now, 0
	s.retryAt = now.Add(s.retry)
	s.onChange(from, src.Name())
}

func (s *Selector) name() string {
	if s.current == nil {
		return ""
	}
	return s.current.Name()
}

func (s *Selector) close() {
	if s.current == nil {
		return
	}
	// A source that fails at each scrape may fail to close each time.
	if err := s.Close(); err != nil && s.failures <= 1 {
		s.log.Warn("closing a source of TCP sockets", zap.Error(err))
	}
}
