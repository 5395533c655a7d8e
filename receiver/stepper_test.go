// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/receiver/receivertest"

	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
)

func TestStepper(t *testing.T) {
	if len(sources()) == 0 {
		t.Skip("there are no sources here")
	}
	var sink consumertest.MetricsSink
	s, err := NewStepper(t.Context(), createDefaultConfig(), receivertest.NewNopSettings(metadata.Type), &sink)
	require.NoError(t, err)
	assert.Zero(t, sink.DataPointCount(), "it does nothing by itself")
	require.NoError(t, s.Scrape(t.Context()))
	assert.Positive(t, sink.DataPointCount(), "when it returns, the pipeline has had all")
	require.NoError(t, s.Close())

	cfg := createDefaultConfig()
	cfg.Source = "none"
	_, err = NewStepper(t.Context(), cfg, receivertest.NewNopSettings(metadata.Type), &sink)
	assert.Error(t, err)
}
