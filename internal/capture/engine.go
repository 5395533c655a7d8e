// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"context"

	"golang.org/x/net/bpf"

	"github.com/netpulse/tcpstatsreceiver/internal/capture/packet"
)

// Engine sees the packets of the interfaces of one network namespace.
type Engine interface {
	// Name is what users type after `engine:`.
	Name() string

	// Capabilities are what the opened engine gives on this host, which may be less
	// than its kind can.
	Capabilities() Capabilities

	// Run visits packets until ctx is done, which is no error, or no more can be
	// read. Interfaces that come and go are followed. The packet and its bytes are
	// reused: visit must not keep them. Run may be called again, by one goroutine at a
	// time; packets that come meanwhile wait, as far as there is room.
	Run(ctx context.Context, visit func(*packet.Packet)) error

	// Stats returns the counters since the engine was opened. Any goroutine may call
	// it, until Close.
	Stats() Stats

	// Close gives back what the engine holds. Run must have returned.
	Close() error
}

// Stats are counters of an engine.
type Stats struct {
	// Seen is how many packets passed the filter in the kernel, Dropped how many of
	// them were lost for want of room.
	Seen, Dropped uint64
	// Delivered is how many were visited, Bytes how long those were on the wire.
	Delivered, Bytes uint64
	// BlocksInUse is how many blocks of shared memory, of Blocks, hold packets that
	// were not visited yet. Engines that have none have 0 of 0.
	BlocksInUse, Blocks int
}

// Add returns the sum of two engines' counters; blocks are those of the second.
func (s Stats) Add(t Stats) Stats {
	t.Seen += s.Seen
	t.Dropped += s.Dropped
	t.Delivered += s.Delivered
	t.Bytes += s.Bytes
	return t
}

// Options are what an engine is opened with.
type Options struct {
	// Filter chooses the packets, from their IP header on: engines put what they need
	// for link layers around it. What it returns is how many bytes are wanted.
	Filter []bpf.Instruction
	// Do calls a function in the network namespace that the engine is opened in, and
	// returns its error: for interfaces that come later. nil: every thread is in it.
	Do func(func() error) error
}

// In calls f in the network namespace of the options.
func (o *Options) In(f func() error) error {
	if o.Do == nil {
		return f()
	}
	return o.Do(f)
}

// Factory makes one kind of engine.
type Factory struct {
	// Name is what users type after `engine:`.
	Name string
	// Rank orders the choice of `engine: auto`: higher is better.
	Rank int
	// Capabilities are what this kind of engine gives at its best.
	Capabilities Capabilities
	// Open opens the engine for the network namespace of the calling thread. Its
	// error says what is missing and how to grant it. From then on the engine may be
	// used on any thread.
	Open func(ctx context.Context, options Options) (Engine, error)
}
