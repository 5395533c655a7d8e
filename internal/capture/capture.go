// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/netpulse/tcpstatsreceiver/internal/capture/packet"
	"github.com/netpulse/tcpstatsreceiver/internal/choice"
)

// A worse engine is used for minRetry before the better ones are tried again, and
// for twice as long after each time that one was lost within maxRetry: the log and
// the series must not flap. Where nothing opens, the pause is as long.
const (
	minRetry = time.Minute
	maxRetry = time.Hour
)

// maxFailures is how many engines in a row may be lost soon after they were taken
// before there is a pause.
const maxFailures = 3

// Capture holds the engine in use, takes the next when it is lost, and comes back
// when a better one opens.
type Capture struct {
	wanted   []Factory // those that the user's choice allows, best first
	unfit    []string  // why the others are not among them
	require  Capabilities
	options  Options
	log      *zap.Logger
	onChange func(from, to string)

	factory  Factory   // of current
	since    time.Time // when current was taken
	failures int       // engines in a row that were lost within minRetry
	retry    time.Duration

	mu      sync.Mutex // of what follows, for Stats
	current Engine
	closed  map[string]Stats // of the engines that were in use, by name
}

// New returns a capture that has opened nothing yet. onChange is called
// for each change; a name is empty where there is no engine.
func New(factories []Factory, asked Choice, options Options, log *zap.Logger, onChange func(from, to string)) *Capture {
	wanted, unfit := choice.Among(asked.Name, asked.Require, factories)
	return &Capture{
		wanted: wanted, unfit: unfit, require: asked.Require, options: options, log: log, onChange: onChange,
		retry: minRetry, closed: make(map[string]Stats),
	}
}

// Open takes the best engine that opens now.
func (c *Capture) Open(ctx context.Context) error {
	engine, made, lacks := c.openFrom(ctx, c.wanted)
	if engine == nil {
		return fmt.Errorf("no engine that captures packets can be opened: %s", strings.Join(append(lacks, c.unfit...), "; "))
	}
	c.use("", engine, made)
	c.log.Info("packets are captured by "+engine.Name(),
		zap.String("engine", engine.Name()),
		zap.Stringer("gives", engine.Capabilities()),
		zap.Strings("others", append(append(lacks, choice.Worse(c.wanted, made.Rank)...), c.unfit...)))
	return nil
}

// Current is the name of the engine in use, "" if there is none.
func (c *Capture) Current() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.name()
}

// Stats returns the counters of each engine that is or was in use, by name.
func (c *Capture) Stats() map[string]Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make(map[string]Stats, len(c.closed)+1)
	for name, stats := range c.closed {
		all[name] = stats
	}
	if c.current != nil {
		all[c.current.Name()] = all[c.current.Name()].Add(c.current.Stats())
	}
	return all
}

// Run visits packets until ctx is done, from whichever engine there is, and closes
// that. It is called once, after Open.
func (c *Capture) Run(ctx context.Context, visit func(*packet.Packet)) {
	defer func() { c.closeWith("closing the capture of packets") }()
	for ctx.Err() == nil {
		if c.current == nil {
			if !sleep(ctx, c.retry) {
				return
			}
			c.tryBetter(ctx)
			continue
		}
		err := c.runFor(ctx, visit)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			c.failed(ctx, err)
		default:
			c.tryBetter(ctx)
		}
	}
}

// runFor runs the engine in use. If a better one exists, it returns when that is to
// be tried.
func (c *Capture) runFor(ctx context.Context, visit func(*packet.Packet)) error {
	if len(choice.Better(c.wanted, c.factory.Rank)) > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.retry)
		defer cancel()
	}
	err := c.current.Run(ctx, visit)
	if err == nil && ctx.Err() == nil {
		return errors.New("it ended without an error")
	}
	return err
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// tryBetter comes back to a better engine if one opens; without an engine, any is
// better.
func (c *Capture) tryBetter(ctx context.Context) {
	better := c.wanted
	if c.current != nil {
		better = choice.Better(c.wanted, c.factory.Rank)
	}
	engine, made, _ := c.openFrom(ctx, better)
	if engine == nil {
		return
	}
	from := c.name()
	c.closeWith("closing the engine that captured packets")
	c.use(from, engine, made)
	c.log.Info("packets are captured by "+engine.Name()+" again", zap.String("engine", engine.Name()), zap.String("instead_of", from))
}

// failed takes the next engine after one is lost, the same kind only if no other
// opens. If several were lost soon after they were taken, there is a pause.
func (c *Capture) failed(ctx context.Context, cause error) {
	lost, lasted := c.name(), time.Since(c.since)
	c.closeWith("closing the engine that was lost")
	if lasted < maxRetry {
		c.retry = min(2*c.retry, maxRetry)
	} else {
		c.retry = minRetry
	}
	if c.failures++; lasted >= minRetry {
		c.failures = 1
	}
	var next []Factory
	if c.failures <= maxFailures {
		isLost := func(f Factory) bool { return f.Name == lost }
		next = slices.DeleteFunc(slices.Clone(c.wanted), isLost)
		next = append(next, c.wanted[slices.IndexFunc(c.wanted, isLost)])
	}
	engine, made, lacks := c.openFrom(ctx, next)
	if engine == nil {
		c.onChange(lost, "")
		c.log.Error("packets cannot be captured by "+lost+" any more, and nothing else will do",
			zap.Error(cause), zap.Duration("next_try_in", c.retry), zap.Strings("others", lacks))
		return
	}
	c.use(lost, engine, made)
	if engine.Name() == lost {
		c.log.Warn("packets are captured by "+lost+" again: it was lost and opened anew", zap.String("engine", lost), zap.Error(cause))
		return
	}
	c.log.Warn("packets are captured by "+engine.Name()+" now: "+lost+" is lost",
		zap.String("engine", engine.Name()), zap.Stringer("gives", engine.Capabilities()), zap.Error(cause))
}

// openFrom opens the first that opens.
func (c *Capture) openFrom(ctx context.Context, factories []Factory) (engine Engine, made Factory, lacks []string) {
	for _, f := range factories {
		var engine Engine
		err := c.options.In(func() (err error) {
			engine, err = f.Open(ctx, c.options)
			return err
		})
		if err == nil {
			if missing := engine.Capabilities().Missing(c.require); missing != 0 {
				err = errors.Join(fmt.Errorf("gives %s here, not %s", engine.Capabilities(), missing), engine.Close())
			}
		}
		if err != nil {
			lacks = append(lacks, fmt.Sprintf("%s: %v", f.Name, err))
			continue
		}
		return engine, f, lacks
	}
	return nil, Factory{}, lacks
}

func (c *Capture) use(from string, engine Engine, made Factory) {
	c.factory, c.since = made, time.Now()
	c.mu.Lock()
	c.current = engine
	c.mu.Unlock()
	c.onChange(from, engine.Name())
}

func (c *Capture) name() string {
	if c.current == nil {
		return ""
	}
	return c.current.Name()
}

// Close closes the engine of a capture that is not run.
func (c *Capture) Close() { c.closeWith("closing the capture of packets") }

// closeWith closes the engine in use, if any, and keeps its counters.
func (c *Capture) closeWith(doing string) {
	c.mu.Lock()
	engine := c.current
	if engine != nil {
		stats := engine.Stats()
		stats.BlocksInUse, stats.Blocks = 0, 0
		c.closed[engine.Name()] = c.closed[engine.Name()].Add(stats)
		c.current = nil
	}
	c.mu.Unlock()
	if engine == nil {
		return
	}
	if err := engine.Close(); err != nil {
		c.log.Warn(doing, zap.String("engine", engine.Name()), zap.Error(err))
	}
}
