// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"time"

	"go.uber.org/zap"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
)

// Config says what an engine observes, and how.
type Config struct {
	// Interval is the time from one scrape to the next, InitialDelay from the start
	// to the first one. Timeout cuts the reading of a scrape short; 0: never.
	Interval, InitialDelay, Timeout time.Duration
	// Source is what is asked for among Factories.
	Source    source.Choice
	Factories []source.Factory
	// AllNamespaces reads every network namespace that has processes, besides the
	// collector's own.
	AllNamespaces bool
	// Attribution joins sockets with processes, walking over these at most once in
	// RefreshInterval. OpenHolders opens a cheaper way to list who holds which
	// socket; nil where there is none.
	Attribution     bool
	RefreshInterval time.Duration
	OpenHolders     func() process.Holders
	// AwaitProcesses has a new connection wait, for one scrape at most, for its
	// process, which somebody wants to know from the beginning.
	AwaitProcesses bool
	// Filter leaves out sockets; Wanted leaves out those of processes by the name
	// of the executable, "" where none is known. nil: all are wanted.
	Filter source.Filter
	Wanted func(executable string) bool
	// Peers says what is to be known of the other ends of connections.
	Peers PeersConfig
	// Prompt counts notices of closes once a second, for listeners that pass ends on.
	// Without it they are counted with each scrape, and when many have come.
	Prompt bool
	// Detailed keeps the Details of each connection all the time; without it, they
	// are kept while a view needs them. With Exact, every scrape reads them anew;
	// without, the times that go on while nothing happens are continued, save for those
	// that the peer or the network limits a connection, which stand still until
	// something happens.
	Detailed, Exact bool
	// Follow are the counters whose growth is reported beside what everybody wants.
	Follow []event.Kind
	// Boot is when the host was started.
	Boot time.Time

	Logger *zap.Logger
	// Telemetry is the receiver's own, which its owner shuts down.
	Telemetry *metadata.TelemetryBuilder
}
