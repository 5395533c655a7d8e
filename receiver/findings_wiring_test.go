// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.uber.org/zap"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

var zapRule = zap.String("security_rule.name", "scan.outbound")

// A scan by a process is a record in the logs pipeline and one more in the metric, and
// without a logs pipeline a line in the collector's own log.
func TestWhereFindingsGo(t *testing.T) {
	scan := func(t *testing.T, logs *consumertest.LogsSink) *rig {
		src := &telling{scripted: scripted{name: "a"}}
		cfg := testConfig()
		cfg.Connections.Enabled = false
		cfg.CollectionInterval = 20 * time.Millisecond
		cfg.Detect.Enabled = []string{"scan"}
		r := newRig(t, cfg, &refusing{}, src)
		if logs != nil {
			r.nextLogs, r.logsSet = logs, r.set
		}
		require.NoError(t, r.Start(t.Context(), componenttest.NewNopHost()))
		require.Eventually(t, func() bool { return len(r.sink.AllMetrics()) > 1 }, 5*time.Second, time.Millisecond)
		for port := range uint64(30) {
			s := established(port+1, 0)
			s.Role = tcp.Client
			src.tell(tcp.Notice{Socket: s, Failure: tcp.Refused, NeverEstablished: true})
		}
		require.Eventually(t, func() bool {
			_, n := r.sums("tcp.findings")
			return n >= 1
		}, 5*time.Second, time.Millisecond)
		require.NoError(t, r.Shutdown(context.Background()))
		return r
	}
	found := func(logs *consumertest.LogsSink) (all []plog.LogRecord) {
		for _, ld := range logs.AllLogs() {
			for _, rl := range ld.ResourceLogs().All() {
				for _, record := range rl.ScopeLogs().At(0).LogRecords().All() {
					if record.EventName() == "tcp.finding" {
						all = append(all, record)
					}
				}
			}
		}
		return all
	}

	logs := new(consumertest.LogsSink)
	r := scan(t, logs)
	records := found(logs)
	require.Len(t, records, 1)
	assert.Equal(t, plog.SeverityNumberWarn, records[0].SeverityNumber())
	attrs := records[0].Attributes().AsRaw()
	assert.Equal(t, "scan.outbound", attrs["security_rule.name"])
	assert.Equal(t, "reconnaissance", attrs["security_rule.category"])
	assert.NotEmpty(t, attrs["tcp.finding.id"])
	assert.NotEmpty(t, records[0].Body().Str())
	assert.Empty(t, r.logs.FilterField(zapRule).All(), "it stands in the pipeline")

	r = scan(t, nil)
	assert.Len(t, r.logs.FilterField(zapRule).All(), 1)
}
