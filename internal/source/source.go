// SPDX-License-Identifier: Apache-2.0

// Package source is where TCP sockets and counters come from: the interface
// that each kernel interface is read through, what each can tell, and the
// choice among them at start and while running.
//
// Decoding is separate from reading in every source: parsers take bytes and
// build on any system, only the thin reader beside them is tied to one.
package source

import (
	"context"
	"errors"
	"fmt"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// Source reads one kernel interface. It is used by one goroutine at a time.
type Source interface {
	// Name is what users type after `source:`.
	Name() string

	// Capabilities are what the opened source gives on this host, which may be
	// less than its kind can.
	Capabilities() Capabilities

	// Sockets visits every TCP socket once, save for those that open, close or
	// change state meanwhile. The Socket is reused: visit copies what it keeps, and
	// may change it.
	//
	// It returns [ErrInterrupted] if the kernel says that the dump is not
	// consistent (dump again), a [*PartialError] if it went to its end but not
	// all of it could be read, visit's error if visit returned one, and any other
	// error if the dump failed on the way.
	Sockets(ctx context.Context, visit func(*tcp.Socket) error) error

	// Counters returns the system-wide numbers that this host has. With an error
	// it returns those that could be read.
	Counters(ctx context.Context) (tcp.Counters, error)

	// Close gives back what the source holds. More calls than one do nothing.
	Close() error
}

// Narrower is a source that can apply a filter in the kernel.
type Narrower interface {
	// Narrow makes the dumps to come leave out connections that do not match, as
	// far as the kernel can tell; listeners come all the same, and others may. nil
	// brings them all. If the sockets are to be counted, those that do not match
	// come, too, but may have their endpoints and state only: no identity and no
	// fields.
	Narrow(f *Filter, counted bool) error
}

// Incremental is a source that can leave out connections with which nothing
// happened.
type Incremental interface {
	// Moved is Sockets without the established connections of which no number has
	// changed since the begin of the last dump, by either of the two, that returned
	// no error. What it does not visit is as it was then, and not gone: the notices
	// of [CloseNotifier] say what is. Everything that has another state, and what the
	// filter of [Narrower] leaves without an identity, is visited as ever.
	//
	// Times go on (the Since… fields, BusyTime), and the owner, the limits of buffers
	// and the name of the congestion control may change all the same. Call Sockets for
	// them now and then, and whenever notices were lost or what earlier dumps visited
	// was not kept.
	//
	// all reports that nothing was left out: there was no such dump before, or its
	// filter was another.
	Moved(ctx context.Context, visit func(*tcp.Socket) error) (all bool, err error)
}

// Mixed is a source that has more than one way to make a dump, and takes what costs
// least.
type Mixed interface {
	// Way returns how the next dump will be made, and why, for the log. The reason may
	// have numbers in it that change from dump to dump.
	Way() (name, why string)
}

// CloseNotifier is a source that the kernel tells of every socket that it
// destroys. Only those with the capability Closes are asked.
type CloseNotifier interface {
	// Closes starts the notices. What it returns is used by a goroutine of its
	// own and outlives the source.
	Closes() (CloseStream, error)
}

// CloseStream is a stream of notices. Wait is called by one goroutine, Drain by
// one at a time, which may be another.
type CloseStream interface {
	// Wait blocks until enough notices are there to be worth a Drain, which is for
	// the stream to judge: whoever wants them earlier drains without waiting. It
	// returns an error if no more will come, and [os.ErrClosed] after Close.
	Wait() error
	// Drain visits the notices that are there, without waiting for more, and also
	// while Wait waits. It returns how many the kernel dropped since the last call,
	// with an error as without. If visit returns an error, Drain returns that, and the
	// rest stays for the next call. After Close, its error is [os.ErrClosed]. The
	// Notice is reused: visit copies what it keeps, and may change it.
	Drain(visit func(*tcp.Notice) error) (lost uint64, err error)
	// Close ends the stream. It may be called while Wait waits, and from any network
	// namespace. More calls than one do nothing.
	Close() error
}

// StateCounter is a source that knows how many sockets are in each state
// without a look at each, and also of those that it may not list.
type StateCounter interface {
	States(ctx context.Context) (tcp.States, error)
}

// Confined is a source that may be shown but a part of the sockets that its
// counters count.
type Confined interface {
	Confined() bool
}

// Factory makes one kind of source.
type Factory struct {
	// Name is what users type after `source:`.
	Name string
	// Rank orders the choice of `source: auto`: higher is better.
	Rank int
	// Capabilities are what this kind of source gives at its best.
	Capabilities Capabilities
	// Lacks says what this kind of source cannot tell and what it would take; ""
	// if nothing more than Capabilities do.
	Lacks string
	// Open opens the source for the network namespace of the calling thread, and
	// tries it. Its error says what is missing and how to grant it. A source that
	// has the capability Namespaces is from then on read and closed on threads
	// that are in the same one.
	Open func(ctx context.Context) (Source, error)
}

// ErrInterrupted says that sockets came and went in a way that made the
// kernel's dump inconsistent. What was visited is real but may be incomplete
// or told twice; another dump may do better.
var ErrInterrupted = errors.New("the kernel says that the dump was interrupted and may be inconsistent")

// PartialError says that a dump went to its end, but that some of it could not
// be read. All the rest was visited.
type PartialError struct {
	// Type is one of the Error… constants below.
	Type string
	// Count is how many messages, records or lines were lost.
	Count int
	// First is what was wrong with the first of them.
	First error
}

// The values of error.type in the receiver's own telemetry.
const (
	ErrorDecode      = "decode"      // malformed record
	ErrorTruncated   = "truncated"   // longer than the buffer
	ErrorInterrupted = "interrupted" // sockets came and went; inconsistent dump
	ErrorRead        = "read"        // the dump failed on the way
	ErrorCounters    = "counters"    // system-wide counters
)

func (e *PartialError) Error() string {
	return fmt.Sprintf("%d not readable (%s), the first: %v", e.Count, e.Type, e.First)
}

func (e *PartialError) Unwrap() error { return e.First }

// Losses collects what a dump could not read.
type Losses struct {
	decode, truncated PartialError
}

// Decode notes a malformed record.
func (l *Losses) Decode(err error) { l.decode.add(err) }

// Truncated notes a message that was longer than the buffer.
func (l *Losses) Truncated(err error) { l.truncated.add(err) }

// Err returns what was lost since the last Reset, nil if nothing was.
func (l *Losses) Err() error {
	var errs []error
	if l.decode.Count > 0 {
		e := l.decode
		e.Type = ErrorDecode
		errs = append(errs, &e)
	}
	if l.truncated.Count > 0 {
		e := l.truncated
		e.Type = ErrorTruncated
		errs = append(errs, &e)
	}
	return errors.Join(errs...)
}

// Reset forgets all losses.
func (l *Losses) Reset() { *l = Losses{} }

func (e *PartialError) add(err error) {
	if e.Count == 0 {
		e.First = err
	}
	e.Count++
}

// Whole tells whether a dump that ended so had every socket that was there from
// its beginning to its end: whatever is missing has closed.
func Whole(err error) bool {
	if errors.Is(err, ErrInterrupted) {
		return false
	}
	partials := Partials(err)
	for _, partial := range partials {
		if partial.Type != ErrorInterrupted {
			return false
		}
	}
	return err == nil || len(partials) > 0
}

// Partials returns every [PartialError] in err.
func Partials(err error) []*PartialError {
	switch e := err.(type) {
	case nil:
		return nil
	case *PartialError:
		return []*PartialError{e}
	case interface{ Unwrap() []error }:
		var all []*PartialError
		for _, one := range e.Unwrap() {
			all = append(all, Partials(one)...)
		}
		return all
	case interface{ Unwrap() error }:
		return Partials(e.Unwrap())
	}
	return nil
}
