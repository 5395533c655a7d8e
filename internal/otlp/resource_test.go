package otlp

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/netns"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
)

func TestJail(t *testing.T) {
	w := newWriter(metadata.NewDefaultMetricsBuilderConfig())
	jailed := w.resources.of(&process.Process{PID: 7, JailID: 3}, netns.Place{})
	assert.Equal(t, map[string]any{"process.pid": int64(7), "process.freebsd.jail.id": int64(3)}, jailed.Attributes().AsRaw())
	free := w.resources.of(&process.Process{PID: 7}, netns.Place{})
	assert.Equal(t, map[string]any{"process.pid": int64(7)}, free.Attributes().AsRaw(), "no jail is no jail 0")
}
