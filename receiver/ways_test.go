// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"go.uber.org/zap"

	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// turning is a source that has two ways to make a dump.
type turning struct {
	*scripted
	way string
}

func (s *turning) Way() (name, why string) { return s.way, "it costs less" }

func (s *turning) factory() source.Factory {
	f := s.scripted.factory()
	f.Open = func(context.Context) (source.Source, error) { return s, nil }
	return f
}

// The log says which way is taken and why, once for each, however often they take
// turns.
func TestWaysAreLoggedOnce(t *testing.T) {
	src := &turning{&scripted{name: "a", sockets: sample(3, tcp.Established)}, "the short way"}
	r := newRig(t, groupConfig("tcp.role"), &refusing{}, src)
	for _, way := range []string{"the short way", "the short way", "the long way", "the short way", "the long way"} {
		src.way = way
		r.scrapeOnce(t)
	}
	logged := r.logs.FilterMessageSnippet("dumps of TCP sockets are made by ").FilterLevelExact(zap.InfoLevel).All()
	if assert.Len(t, logged, 2) {
		assert.Equal(t, "dumps of TCP sockets are made by the short way", logged[0].Message)
		assert.Equal(t, map[string]any{"source": "a", "why": "it costs less"}, logged[0].ContextMap())
		assert.Equal(t, "dumps of TCP sockets are made by the long way", logged[1].Message)
	}
}
