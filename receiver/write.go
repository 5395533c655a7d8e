package receiver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/table"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// writeGroups counts what the connections did into their groups and writes
// these.
func (s *scraper) writeGroups(ctx context.Context) error {
	defer s.telemetry.phase(s.selector, metadata.AttributePhaseGroup)()
	now := time.Now()
	s.groups.Begin(now)
	for c := range s.connections() {
		if c.State != tcp.Listen && s.wanted(c) {
			s.groups.Add(c)
		}
	}
	s.telemetry.grouped(s.groups.Len(), s.groups.Overflowed())
	err := s.writer.Groups(s.groups, now, func(batch pmetric.Metrics) error { return s.send(ctx, batch) })
	s.groups.End()
	if err != nil {
		return fmt.Errorf("hand groups to the pipeline: %w", err)
	}
	return nil
}

func (s *scraper) writeConnections(ctx context.Context) error {
	stop := s.telemetry.phase(s.selector, metadata.AttributePhaseSelect)
	kept, left := table.Top(s.kept[:0], s.connections(), s.order, s.cfg.Connections.Limit, func(c *table.Connection) bool {
		return c.State != tcp.Listen && s.wanted(c)
	})
	stop()
	s.telemetry.dropped(metadata.AttributeReasonLimit, left)

	defer s.telemetry.phase(s.selector, metadata.AttributePhaseWrite)()
	var errs []error
	unsent := len(kept)
	err := s.writer.Connections(kept, s.cfg.Connections.BatchSize, time.Now(), func(batch pmetric.Metrics, connections int) error {
		err := s.send(ctx, batch)
		if consumererror.IsPermanent(err) {
			// Something in this batch: the next may pass.
			s.telemetry.dropped(metadata.AttributeReasonPipeline, connections)
			errs = append(errs, err)
			err = nil
		}
		if err == nil {
			unsent -= connections
		}
		return err
	})
	if err != nil {
		// The pipeline takes no more now: do not press.
		s.telemetry.dropped(metadata.AttributeReasonPipeline, unsent)
		errs = append(errs, err)
	}
	clear(kept)
	s.kept = kept
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("hand connections to the pipeline: %w", err)
	}
	return nil
}

func (s *scraper) writeSystem(ctx context.Context) error {
	defer s.telemetry.phase(s.selector, metadata.AttributePhaseSystem)()
	var errs []error
	if s.wantsListeners() {
		for c := range s.connections() {
			if c.State == tcp.Listen && s.wanted(c) {
				s.writer.AddListener(c)
			}
		}
	}
	now := time.Now()
	md := s.writer.System(&s.own.counters, s.own.known(), now)
	if s.ends != nil {
		s.writer.Ends(md, s.ends, now)
	}
	if err := s.send(ctx, md); err != nil {
		errs = append(errs, fmt.Errorf("hand the host's numbers to the pipeline: %w", err))
	}
	return errors.Join(append(errs, s.writeOthers(ctx))...)
}

// send hands a batch to the pipeline and waits until it took it. ctx only says
// whether to begin.
func (s *scraper) send(ctx context.Context, md pmetric.Metrics) error {
	points := md.DataPointCount()
	if points == 0 {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	op := s.telemetry.obsreport.StartMetricsOp(s.batches)
	err := s.next.ConsumeMetrics(op, md)
	s.telemetry.obsreport.EndMetricsOp(op, metadata.Type.String(), points, err)
	if err == nil {
		s.telemetry.points(points)
	}
	return err
}
