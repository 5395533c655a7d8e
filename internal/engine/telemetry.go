// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/netpulse/tcpstatsreceiver/internal/capture"
	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
)

// telemetry is what the engine reports of itself.
type telemetry struct{ builder *metadata.TelemetryBuilder }

// with is one set of attributes for a measurement.
func with(attributes ...attribute.KeyValue) metric.MeasurementOption {
	return metric.WithAttributeSet(attribute.NewSet(attributes...))
}

// phase measures a part of the scrape, from now to the call of what it returns.
func (t *telemetry) phase(selector *source.Selector, phase metadata.AttributePhase) (stop func()) {
	began := time.Now()
	return func() { t.took(sourceName(selector), phase, time.Since(began)) }
}

func (t *telemetry) took(sourceName string, phase metadata.AttributePhase, d time.Duration) {
	t.builder.ReceiverTcpstatsScrapeDuration.Record(context.Background(), d.Seconds(),
		with(attribute.String("source", sourceName), attribute.String("phase", phase.String())))
}

// sourceName is the name of the source in use, "" if there is none.
func sourceName(selector *source.Selector) string {
	if src := selector.Current(); src != nil {
		return src.Name()
	}
	return ""
}

func (t *telemetry) sockets(sourceName string, n int64) {
	t.builder.ReceiverTcpstatsSockets.Record(context.Background(), n, with(attribute.String("source", sourceName)))
}

func (t *telemetry) namespaces(n int) {
	t.builder.ReceiverTcpstatsNetworkNamespaces.Record(context.Background(), int64(n))
}

func (t *telemetry) unseen(connections uint64) {
	t.builder.ReceiverTcpstatsUnseenConnections.Record(context.Background(), int64(connections))
}

func (t *telemetry) unattributed(byReason *[process.NumReasons]int64) {
	for _, reason := range []process.Reason{process.ReasonPending, process.ReasonNoPermission, process.ReasonNoOwner} {
		t.builder.ReceiverTcpstatsUnattributedSockets.Record(context.Background(), byReason[reason], with(attribute.String("error.type", reason.String())))
	}
}

func (t *telemetry) eventsLost(sourceName string, n uint64) {
	t.builder.ReceiverTcpstatsEventsLost.Add(context.Background(), int64(n), with(attribute.String("source", sourceName)))
}

// packets counts what a capture engine has done between two readings of its counters.
func (t *telemetry) packets(engine string, before, now capture.Stats) {
	ctx, attributes := context.Background(), with(attribute.String("engine", engine))
	since := func(before, now uint64) int64 { return int64(now - min(before, now)) }
	t.builder.ReceiverTcpstatsCapturePackets.Add(ctx, since(before.Seen, now.Seen), attributes)
	t.builder.ReceiverTcpstatsCaptureDroppedPackets.Add(ctx, since(before.Dropped, now.Dropped), attributes)
	t.builder.ReceiverTcpstatsCaptureDeliveredPackets.Add(ctx, since(before.Delivered, now.Delivered), attributes)
	t.builder.ReceiverTcpstatsCaptureBytes.Add(ctx, since(before.Bytes, now.Bytes), attributes)
}

// blocks records how many blocks of shared memory of a capture engine are in use, in
// all namespaces.
func (t *telemetry) blocks(engine string, inUse int) {
	t.builder.ReceiverTcpstatsCaptureBlocksUsage.Record(context.Background(), int64(inUse), with(attribute.String("engine", engine)))
}

// observationsLost counts what detectors do not get to see.
func (t *telemetry) observationsLost(n uint64) {
	t.builder.ReceiverTcpstatsDetectLostEvents.Add(context.Background(), int64(n))
}

func (t *telemetry) missed(reason metadata.AttributeMissedReason, ticks int64) {
	t.builder.ReceiverTcpstatsMissedTicks.Add(context.Background(), ticks, with(attribute.String("reason", reason.String())))
}

// sourceErrors counts what a dump ran into.
func (t *telemetry) sourceErrors(name string, err error) {
	switch {
	case err == nil:
	case errors.Is(err, source.ErrInterrupted):
		t.sourceError(name, source.ErrorInterrupted, 1)
	default:
		partials := source.Partials(err)
		for _, partial := range partials {
			t.sourceError(name, partial.Type, int64(partial.Count))
		}
		if len(partials) == 0 {
			t.sourceError(name, source.ErrorRead, 1)
		}
	}
}

func (t *telemetry) sourceError(name, errorType string, n int64) {
	t.builder.ReceiverTcpstatsSourceErrors.Add(context.Background(), n,
		with(attribute.String("source", name), attribute.String("error.type", errorType)))
}

// sourceChanged marks the source in use; a name is empty where there is none.
func (t *telemetry) sourceChanged(from, to string) {
	if from != "" {
		t.builder.ReceiverTcpstatsSourceInfo.Record(context.Background(), 0, with(attribute.String("source", from)))
	}
	if to != "" {
		t.builder.ReceiverTcpstatsSourceInfo.Record(context.Background(), 1, with(attribute.String("source", to)))
	}
}
