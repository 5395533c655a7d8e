// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"go.uber.org/goleak"

	"github.com/netpulse/tcpstatsreceiver"
)

// TestReceiverLeaksNothing starts and stops the receiver many times in this
// process: before, during and after its first scrapes.
func TestReceiverLeaksNothing(t *testing.T) {
	before := openFiles(t, os.Getpid())
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	for _, source := range []string{"bpf", "sock_diag", "procfs"} {
		for i := range 10 {
			factory := tcpstatsreceiver.NewFactory()
			cfg := factory.CreateDefaultConfig()
			require.NoError(t, confmap.NewFromStringMap(map[string]any{
				"source": source, "initial_delay": "0s", "collection_interval": "1ms",
				"process": map[string]any{"refresh_interval": "1ms"}, "connections": map[string]any{"enabled": true},
			}).Unmarshal(cfg))
			next := new(consumertest.MetricsSink)
			r, err := factory.CreateMetrics(t.Context(), receivertest.NewNopSettings(factory.Type()), cfg, next)
			require.NoError(t, err)
			if err := r.Start(t.Context(), componenttest.NewNopHost()); source == "bpf" && err != nil && i == 0 {
				skip(t, source, err.Error())
				break
			}
			require.NoError(t, err)
			await(t, "no scrape", func() bool { return i < 5 || len(next.AllMetrics()) > 0 })
			stopped := make(chan error, 1)
			go func() { stopped <- r.Shutdown(t.Context()) }()
			select {
			case err := <-stopped:
				require.NoError(t, err)
			case <-time.After(patience):
				require.Fail(t, "it does not stop")
			}
		}
	}
	for kind, n := range openFiles(t, os.Getpid()) {
		// Of other tests' connections some may be closed meanwhile.
		assert.LessOrEqual(t, n, before[kind], "open files: %s", kind)
	}
}
