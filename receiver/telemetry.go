package receiver

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/receiverhelper"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
)

// telemetry is what the receiver tells of itself.
type telemetry struct {
	builder   *metadata.TelemetryBuilder
	obsreport *receiverhelper.ObsReport
}

func newTelemetry(set receiver.Settings) (*telemetry, error) {
	builder, err := metadata.NewTelemetryBuilder(set.TelemetrySettings)
	if err != nil {
		return nil, err
	}
	obsreport, err := receiverhelper.NewObsReport(receiverhelper.ObsReportSettings{
		ReceiverID:             set.ID,
		ReceiverCreateSettings: set,
	})
	if err != nil {
		return nil, err
	}
	return &telemetry{builder: builder, obsreport: obsreport}, nil
}

func (t *telemetry) shutdown() { t.builder.Shutdown() }

// with is one set of attributes for a measurement.
func with(attributes ...attribute.KeyValue) metric.MeasurementOption {
	return metric.WithAttributeSet(attribute.NewSet(attributes...))
}

// phase measures a part of the scrape, from now to the call of what it returns.
func (t *telemetry) phase(selector *source.Selector, phase metadata.AttributePhase) (stop func()) {
	began := time.Now()
	return func() {
		name := ""
		if src := selector.Current(); src != nil {
			name = src.Name()
		}
		t.builder.ReceiverTcpstatsScrapeDuration.Record(context.Background(), time.Since(began).Seconds(),
			with(attribute.String("source", name), attribute.String("phase", phase.String())))
	}
}

func (t *telemetry) sockets(sourceName string, n int64) {
	t.builder.ReceiverTcpstatsSockets.Record(context.Background(), n, with(attribute.String("source", sourceName)))
}

func (t *telemetry) points(n int) {
	t.builder.ReceiverTcpstatsPoints.Add(context.Background(), int64(n))
}

func (t *telemetry) dropped(reason metadata.AttributeReason, connections int) {
	if connections > 0 {
		t.builder.ReceiverTcpstatsDroppedSeries.Add(context.Background(), int64(connections), with(attribute.String("reason", reason.String())))
	}
}

func (t *telemetry) grouped(groups int, overflowed int64) {
	t.builder.ReceiverTcpstatsGroups.Record(context.Background(), int64(groups))
	t.builder.ReceiverTcpstatsOverflowedConnections.Record(context.Background(), overflowed)
}

func (t *telemetry) namespaces(n int) {
	t.builder.ReceiverTcpstatsNetworkNamespaces.Record(context.Background(), int64(n))
}

func (t *telemetry) unseen(connections uint64) {
	t.builder.ReceiverTcpstatsUnseenConnections.Record(context.Background(), int64(connections))
}

func (t *telemetry) unattributed(byReason map[process.Reason]int64) {
	for _, reason := range []process.Reason{process.ReasonPending, process.ReasonNoPermission, process.ReasonNoOwner} {
		t.builder.ReceiverTcpstatsUnattributedSockets.Record(context.Background(), byReason[reason], with(attribute.String("error.type", reason.String())))
	}
}

func (t *telemetry) eventsLost(src source.Source, n uint64) {
	name := ""
	if src != nil {
		name = src.Name()
	}
	t.builder.ReceiverTcpstatsEventsLost.Add(context.Background(), int64(n), with(attribute.String("engine", name)))
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
