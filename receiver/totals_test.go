// SPDX-License-Identifier: Apache-2.0

//go:build linux || freebsd

package receiver

import (
	"maps"

	"go.opentelemetry.io/collector/pdata/pmetric"
)

// totals is what groups say of one server port.
type totals struct{ opens, closes, sent, received int64 }

// ofPort returns the totals of the groups of a server port, each as key calls it,
// in the last batch that has each metric.
func ofPort(next *refusing, port int, key func(attrs map[string]any) string) map[string]totals {
	all := make(map[string]totals)
	for _, md := range next.AllMetrics() {
		for _, rm := range md.ResourceMetrics().All() {
			for _, m := range rm.ScopeMetrics().At(0).Metrics().All() {
				if m.Type() != pmetric.MetricTypeSum {
					continue
				}
				for _, dp := range m.Sum().DataPoints().All() {
					attrs := dp.Attributes().AsRaw()
					if attrs["server.port"] != int64(port) {
						continue
					}
					of := all[key(attrs)]
					switch {
					case m.Name() == "tcp.opens":
						of.opens = dp.IntValue()
					case m.Name() == "tcp.closes":
						of.closes = dp.IntValue()
					case m.Name() == "tcp.io" && attrs["network.io.direction"] == "transmit":
						of.sent = dp.IntValue()
					case m.Name() == "tcp.io":
						of.received = dp.IntValue()
					}
					all[key(attrs)] = of
				}
			}
		}
	}
	// What rests in TIME_WAIT is live, but nobody's.
	maps.DeleteFunc(all, func(_ string, of totals) bool { return of == totals{} })
	return all
}
