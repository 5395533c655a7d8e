// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"

	"github.com/netpulse/tcpstatsreceiver/internal/netns"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// Spanning is a source that reads every network stack of the host in one dump, from
// where the collector is: those of FreeBSD's vnet jails. Only sources with the
// capability Namespaces are asked.
type Spanning interface {
	// Span makes the dumps to come, and the streams of [CloseNotifier] opened after it,
	// have the sockets of every stack: their Identity.Namespace is 0 in the collector's
	// own, and Stack.Namespace in others. More calls than one do nothing.
	Span() error
	// Stacks returns the stacks besides the collector's own.
	Stacks(ctx context.Context) ([]Stack, error)
}

// Stack is a network stack at one moment.
type Stack struct {
	netns.Place
	// Cookie distinguishes it from others that have, or had, its number.
	Cookie uint64
	// Counters and States are as a Source gives them; with Err they are those that could
	// be read.
	Counters tcp.Counters
	States   tcp.States
	Err      error
}
