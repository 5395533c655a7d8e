// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/netpulse/tcpstatsreceiver/internal/engine"
	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/table"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// hasSeries reports whether a connection may have series of its own. What is left
// of a connection, and what is not one yet, has nothing to show, and there are many
// of them: they have series only if the user names their state.
//
// A connection that waits for the process at its other end waits here, too: its
// series keep the attributes that they begin with.
func (m *Metrics) hasSeries(c *table.Connection) bool {
	if m.writer.peerAttributes != 0 && !c.Settled() {
		return false
	}
	switch c.State {
	case tcp.Listen:
		return false
	case tcp.FinWait2:
		return c.Fields != 0 || slices.Contains(m.cfg.Connections.States, c.State)
	case tcp.TimeWait, tcp.SynReceived:
		return slices.Contains(m.cfg.Connections.States, c.State)
	}
	return true
}

// sendConnections selects the connections that are written. They are built a
// batch at a time, when the pipeline has taken the one before: all of them at once
// would take some kilobytes each.
func (m *Metrics) sendConnections(s *engine.Scrape) func(context.Context) error {
	stop := m.phase(s, metadata.AttributePhaseSelect)
	if s.Tick != engine.FinalTick {
		m.written.period = uint32(s.Tick / m.connectionsTier.every)
	}
	kept, left := m.selectConnections(s)
	m.writer.SortByHolder(kept)
	ids := make([]tcp.Identity, len(kept))
	for i, c := range kept {
		ids[i] = c.ID
	}
	clear(kept)
	m.kept = kept
	stop()
	m.dropped(metadata.AttributeReasonLimit, left)

	return func(ctx context.Context) error {
		defer m.phase(s, metadata.AttributePhaseWrite)()
		var errs []error
		for chunk := range slices.Chunk(ids, m.cfg.Connections.BatchSize) {
			md, connections := m.buildConnections(s, chunk)
			err := m.consume(ctx, md)
			if err == nil {
				m.written.commit()
				ids = ids[len(chunk):]
				continue
			}
			m.written.rollback()
			errs = append(errs, fmt.Errorf("hand connections to the pipeline: %w", err))
			if !consumererror.IsPermanent(err) {
				// The pipeline takes no more now: do not press.
				break
			}
			// Something in this batch: the next may pass.
			m.dropped(metadata.AttributeReasonPipeline, connections)
			ids = ids[len(chunk):]
		}
		m.dropped(metadata.AttributeReasonPipeline, len(ids))
		if len(ids) == 0 && s.Complete {
			errs = append(errs, m.sendEnded(ctx, s))
		} else {
			m.written.keep()
		}
		return errors.Join(errs...)
	}
}

// selectConnections returns the connections that are written, in m.kept, and how many
// the limit leaves out.
func (m *Metrics) selectConnections(s *engine.Scrape) (kept []*table.Connection, left int) {
	order, limit := m.cfg.Connections.OrderBy, m.cfg.Connections.Limit
	if limit == 0 {
		// What rests need not be brought up to this scrape to be left out.
		want := func(c *table.Connection) bool { return m.hasSeries(c) && !m.written.rests(c) }
		return slices.AppendSeq(m.kept[:0], s.Those(want)), 0
	}
	kept, left = table.Top(m.kept[:0], s.Connections(), order, limit, m.hasSeries)
	return slices.DeleteFunc(kept, m.written.rests), left
}

// buildConnections builds a batch of those of the connections that are still
// there.
func (m *Metrics) buildConnections(s *engine.Scrape, ids []tcp.Identity) (md pmetric.Metrics, connections int) {
	s.Later(func(find func(tcp.Identity) *table.Connection) {
		m.kept = m.kept[:0]
		for _, id := range ids {
			if c := find(id); c != nil && c.Details != nil {
				m.kept = append(m.kept, c)
			}
		}
		connections = len(m.kept)
		md = m.writer.Connections(m.kept, s.Now)
		for _, c := range m.kept {
			m.written.add(c)
		}
		clear(m.kept)
	})
	return md, connections
}

// sendEnded sends the last points of the series that this scrape did not write.
func (m *Metrics) sendEnded(ctx context.Context, s *engine.Scrape) error {
	var errs []error
	gone := m.written.end()
	for len(gone) > 0 {
		chunk := gone[:min(len(gone), m.cfg.Connections.BatchSize)]
		var md pmetric.Metrics
		s.Later(func(func(tcp.Identity) *table.Connection) { md = m.writer.Ended(chunk, s.Now) })
		if err := m.consume(ctx, md); err != nil {
			errs = append(errs, fmt.Errorf("hand the ends of connections to the pipeline: %w", err))
			if !consumererror.IsPermanent(err) {
				break // the next scrape hands it those that are left
			}
		}
		gone = gone[len(chunk):]
	}
	m.written.remember(gone)
	return errors.Join(errs...)
}
