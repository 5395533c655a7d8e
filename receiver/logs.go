// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/receiver/receiverhelper"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"

	"github.com/netpulse/tcpstatsreceiver/internal/engine"
	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/netns"
	"github.com/netpulse/tcpstatsreceiver/internal/otlp"
	"github.com/netpulse/tcpstatsreceiver/internal/record"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// records hands records of connections to the logs pipeline: the recorder fills a
// bounded queue under the engine's lock, and a goroutine of its own empties it, so
// that a slow pipeline holds nothing up.
type records struct {
	recorder  *record.Recorder
	queue     *record.Queue
	writer    *otlp.RecordWriter
	next      consumer.Logs
	obsreport *receiverhelper.ObsReport
	log       *zap.Logger
	progress  *progressView // nil if nobody asks for progress
	refused   bool          // the last batch was, and that was logged

	mu            sync.Mutex // guards ended, and that nothing is sent after it
	ended         bool
	findings      chan placedFinding
	findingWriter *otlp.RecordWriter // of the goroutine that sends findings
	place         func(namespace uint64) netns.Place
	dropped       func(record.Reason, int)

	stop, stopped, findingsStopped chan struct{}
	// batches is the context of what the pipeline is handed.
	batches context.Context
	abandon context.CancelFunc
}

// newRecords returns what makes records of what an engine sees. It does not run yet.
func (r *tcpStats) newRecords(e *engine.Engine) (*records, error) {
	cfg, err := r.cfg.records()
	if err != nil {
		return nil, err
	}
	obsreport, err := receiverhelper.NewObsReport(receiverhelper.ObsReportSettings{ReceiverID: r.logsSet.ID, ReceiverCreateSettings: r.logsSet})
	if err != nil {
		return nil, fmt.Errorf("report on records: %w", err)
	}
	queue := record.NewQueue(r.cfg.Records.Limit, countDropped(r.telemetry))
	l := &records{
		recorder: record.NewRecorder(cfg, queue, e.Place), queue: queue,
		writer: otlp.NewRecordWriter(r.cfg.ResourceAttributes, r.logsSet, r.cfg.Records.CommunityID),
		next:   r.nextLogs, obsreport: obsreport, log: r.logsSet.Logger,
		findings:      make(chan placedFinding, maxFindings),
		findingWriter: otlp.NewRecordWriter(r.cfg.ResourceAttributes, r.logsSet, false),
		dropped:       countDropped(r.telemetry), place: e.Place,
		stop: make(chan struct{}), stopped: make(chan struct{}), findingsStopped: make(chan struct{}),
	}
	if cfg.Kinds.Has(record.Progress) {
		l.progress = &progressView{recorder: l.recorder, slack: r.cfg.CollectionInterval / 2}
	}
	l.batches, l.abandon = context.WithCancel(context.Background())
	return l, nil
}

// countDropped counts what is dropped by reason.
func countDropped(telemetry *metadata.TelemetryBuilder) func(record.Reason, int) {
	var reasons [record.NumReasons]metric.MeasurementOption
	for reason, name := range map[record.Reason]metadata.AttributeRecordReason{
		record.Limited:  metadata.AttributeRecordReasonLimit,
		record.Overflow: metadata.AttributeRecordReasonQueue,
		record.Refused:  metadata.AttributeRecordReasonPipeline,
	} {
		reasons[reason] = metric.WithAttributeSet(attribute.NewSet(attribute.String("reason", name.String())))
	}
	return func(reason record.Reason, n int) {
		telemetry.ReceiverTcpstatsDroppedRecords.Add(context.Background(), int64(n), reasons[reason])
	}
}

// records is what the configuration says of records.
func (c *Config) records() (record.Config, error) {
	kinds, err := c.Records.kinds()
	return record.Config{
		Kinds:            kinds,
		ProgressInterval: max(c.Records.ProgressInterval, c.CollectionInterval),
		MinDuration:      c.Records.MinDuration,
	}, err
}

// recordsNeedDetails reports whether records are made of the last sample of a
// connection that lives, or of one that ends without a notice.
func (r *tcpStats) recordsNeedDetails() bool {
	kinds, _ := r.cfg.Records.kinds() // Validate has refused bad ones
	if kinds.Has(record.Progress) || kinds.Has(record.Start) {
		return true
	}
	for _, f := range r.factories {
		if f.Capabilities.Missing(source.Closes) == 0 {
			return false
		}
	}
	return true
}

// listen has the recorder hear of what happens.
func (l *records) listen(e *engine.Engine) {
	e.Listen(l.recorder)
	if l.progress != nil {
		e.AddView(l.progress)
	}
}

func (l *records) start() {
	go l.run()
	go l.runFindings()
}

// placedFinding is a finding, and where it was made.
type placedFinding struct {
	*event.Finding
	at netns.Place
}

// found takes a finding, if there is room for it. It is called under the engine's
// lock.
func (l *records) found(f *event.Finding) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		l.dropped(record.Refused, 1)
		return
	}
	select {
	case l.findings <- placedFinding{f, l.place(f.Namespace)}:
	default:
		l.dropped(record.Overflow, 1)
	}
}

// runFindings hands findings to the pipeline until there will be no more.
func (l *records) runFindings() {
	defer close(l.findingsStopped)
	for f := range l.findings {
		err := l.consume(1, func(ctx context.Context) error {
			return l.next.ConsumeLogs(ctx, l.findingWriter.Finding(f.Finding, f.at, time.Now()))
		})
		if err != nil {
			l.dropped(record.Refused, 1)
		}
	}
}

// run hands batches to the pipeline until stop, and then what is left.
func (l *records) run() {
	defer close(l.stopped)
	var room []record.Record
	for {
		batch, dropped := l.queue.Next(l.stop, room)
		if len(batch) == 0 {
			return
		}
		if err := l.send(batch, dropped); err != nil {
			l.queue.Refuse(len(batch), dropped)
		}
		clear(batch)
		room = batch
	}
}

func (l *records) send(batch []record.Record, dropped uint64) error {
	err := l.consume(len(batch), func(ctx context.Context) error {
		return l.next.ConsumeLogs(ctx, l.writer.Logs(batch, dropped))
	})
	switch {
	case err == nil && l.refused:
		l.refused = false
		l.log.Info("the pipeline takes records again")
	case err != nil && !l.refused && !errors.Is(err, context.Canceled):
		l.refused = true
		l.log.Warn("the pipeline refuses records: they are dropped, and counted in otelcol_receiver_tcpstats_dropped_records", zap.Error(err))
	}
	return err
}

// consume hands n records to the pipeline and waits until it took them.
func (l *records) consume(n int, hand func(context.Context) error) error {
	if err := l.batches.Err(); err != nil {
		return err
	}
	ctx := l.obsreport.StartLogsOp(l.batches)
	err := hand(ctx)
	l.obsreport.EndLogsOp(ctx, metadata.Type.String(), n, err)
	return err
}

const (
	// recordsGrace is how long the pipeline has to take what is queued at the end.
	recordsGrace = 5 * time.Second
	// recordsAbandonGrace is how long it has to return once its context has ended.
	recordsAbandonGrace = time.Second
)

// end hands over what is queued, as far as the pipeline takes it in time.
func (l *records) end(ctx context.Context) error {
	l.queue.Close()
	close(l.stop)
	l.mu.Lock()
	l.ended = true
	close(l.findings)
	l.mu.Unlock()
	defer l.abandon()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-l.stopped
		<-l.findingsStopped
	}()
	select {
	case <-stopped:
		return nil
	case <-time.After(recordsGrace):
	case <-ctx.Done():
	}
	l.abandon()
	select {
	case <-stopped:
		return nil
	case <-time.After(recordsAbandonGrace):
		return errors.New("the logs pipeline has not given back the batch that it was handed, though its context has ended")
	}
}

// endLogs ends the records while metrics go on.
func (r *tcpStats) endLogs(ctx context.Context) error {
	if r.engine == nil || r.records == nil {
		return nil
	}
	r.engine.Drain()
	l := r.records
	r.records = nil
	r.findingsTo.Store(nil)
	return l.end(ctx)
}

// progressView makes records of connections that live, at the scrapes at which they
// are due. It sends nothing by itself.
type progressView struct {
	recorder *record.Recorder
	slack    time.Duration // for a tick that comes early
}

// Needs implements engine.View.
func (*progressView) Needs(int64) engine.Needs { return engine.Needs{Sockets: true} }

// Scrape implements engine.View.
func (v *progressView) Scrape(s *engine.Scrape) (send func(context.Context) error) {
	v.recorder.Due(s.Now.Add(v.slack), func(id tcp.Identity) *event.Connection {
		if c := s.Find(id); c != nil {
			return &c.Connection
		}
		return nil
	})
	return nil
}
