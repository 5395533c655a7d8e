// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/netns"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// System returns the host's own numbers and the listeners that were added since
// the last call. states is nil where they are not known.
func (w *Writer) System(counters *tcp.Counters, states *tcp.States, now time.Time) pmetric.Metrics {
	w.recordSystem(counters, states, now)
	md := w.system.Emit()
	w.writeListeners(md, w.complete, now)
	return md
}

// Namespace appends the numbers of another network namespace, whose counters were
// 0 at start.
func (w *Writer) Namespace(md pmetric.Metrics, at netns.Place, start time.Time, counters *tcp.Counters, states *tcp.States, now time.Time) {
	resource := w.resources.of(nil, at)
	w.system.Reset(metadata.WithStartTime(startTime(start, now)))
	defer w.system.Reset(metadata.WithStartTime(pcommon.NewTimestampFromTime(w.boot)))
	w.recordSystem(counters, states, now)
	w.system.Emit(metadata.WithResource(resource)).ResourceMetrics().MoveAndAppendTo(md.ResourceMetrics())
}

// NamespaceEnded appends the last points, without a value, of the series of a
// namespace that is gone, whose last numbers these were.
func (w *Writer) NamespaceEnded(md pmetric.Metrics, at netns.Place, start time.Time, counters *tcp.Counters, states *tcp.States, now time.Time) {
	last := pmetric.NewMetrics()
	w.Namespace(last, at, start, counters, states, now)
	for _, rm := range last.ResourceMetrics().All() {
		for _, sm := range rm.ScopeMetrics().All() {
			for _, m := range sm.Metrics().All() {
				withoutValues(points(m))
			}
		}
	}
	last.ResourceMetrics().MoveAndAppendTo(md.ResourceMetrics())
}

// withoutValues makes points the last ones of their series.
func withoutValues(all pmetric.NumberDataPointSlice) {
	over := pmetric.NewNumberDataPointSlice()
	over.EnsureCapacity(all.Len())
	for _, dp := range all.All() {
		to := over.AppendEmpty()
		to.SetStartTimestamp(dp.StartTimestamp())
		to.SetTimestamp(dp.Timestamp())
		to.SetFlags(ended)
		dp.Attributes().MoveTo(to.Attributes())
	}
	all.RemoveIf(func(pmetric.NumberDataPoint) bool { return true })
	over.MoveAndAppendTo(all)
}

func (w *Writer) recordSystem(counters *tcp.Counters, states *tcp.States, now time.Time) {
	ts := pcommon.NewTimestampFromTime(now)
	for c, record := range systemRecorders {
		if v, ok := counters.Get(tcp.Counter(c)); ok {
			record(w.system, ts, int64(v))
		}
	}
	if states != nil {
		for s, n := range states {
			// No kernel lists all its closed sockets: a 0 would be made up.
			if n > 0 || tcp.State(s) != tcp.Closed {
				w.system.RecordSystemNetworkConnectionCountDataPoint(ts, n, stateAttributes[s], metadata.AttributeNetworkTransportTCP)
			}
		}
	}
}

var stateAttributes = [tcp.NumStates]metadata.AttributeNetworkConnectionState{
	tcp.Closed:      metadata.AttributeNetworkConnectionStateClosed,
	tcp.Listen:      metadata.AttributeNetworkConnectionStateListen,
	tcp.SynSent:     metadata.AttributeNetworkConnectionStateSynSent,
	tcp.SynReceived: metadata.AttributeNetworkConnectionStateSynReceived,
	tcp.Established: metadata.AttributeNetworkConnectionStateEstablished,
	tcp.CloseWait:   metadata.AttributeNetworkConnectionStateCloseWait,
	tcp.FinWait1:    metadata.AttributeNetworkConnectionStateFinWait1,
	tcp.Closing:     metadata.AttributeNetworkConnectionStateClosing,
	tcp.LastAck:     metadata.AttributeNetworkConnectionStateLastAck,
	tcp.FinWait2:    metadata.AttributeNetworkConnectionStateFinWait2,
	tcp.TimeWait:    metadata.AttributeNetworkConnectionStateTimeWait,
}

// recorder records one counter as the metric and attribute that it is.
type recorder func(mb *metadata.MetricsBuilder, ts pcommon.Timestamp, v int64)

// with makes a recorder of a metric with one attribute.
func with[A any](record func(*metadata.MetricsBuilder, pcommon.Timestamp, int64, A), attribute A) recorder {
	return func(mb *metadata.MetricsBuilder, ts pcommon.Timestamp, v int64) { record(mb, ts, v, attribute) }
}

type builder = metadata.MetricsBuilder

var systemRecorders = [tcp.NumCounters]recorder{
	tcp.OpensClient:           with((*builder).RecordSystemNetworkTCPConnectionOpensDataPoint, metadata.AttributeTCPRoleClient),
	tcp.OpensServer:           with((*builder).RecordSystemNetworkTCPConnectionOpensDataPoint, metadata.AttributeTCPRoleServer),
	tcp.AttemptsFailed:        (*builder).RecordSystemNetworkTCPConnectionAttemptsFailedDataPoint,
	tcp.ConnectionResets:      (*builder).RecordSystemNetworkTCPConnectionResetsDataPoint,
	tcp.SegmentsReceived:      with((*builder).RecordSystemNetworkTCPSegmentsDataPoint, metadata.AttributeNetworkIoDirectionReceive),
	tcp.SegmentsSent:          with((*builder).RecordSystemNetworkTCPSegmentsDataPoint, metadata.AttributeNetworkIoDirectionTransmit),
	tcp.Retransmits:           (*builder).RecordSystemNetworkTCPRetransmitsDataPoint,
	tcp.RetransmitsSYN:        (*builder).RecordSystemNetworkTCPRetransmitsSynDataPoint,
	tcp.ErrorsChecksum:        with((*builder).RecordSystemNetworkTCPErrorsDataPoint, "checksum"),
	tcp.ErrorsHeader:          with((*builder).RecordSystemNetworkTCPErrorsDataPoint, "header"),
	tcp.ResetsSent:            with((*builder).RecordSystemNetworkTCPResetsDataPoint, metadata.AttributeNetworkIoDirectionTransmit),
	tcp.AcceptQueueOverflows:  (*builder).RecordSystemNetworkTCPAcceptQueueOverflowsDataPoint,
	tcp.ListenDrops:           (*builder).RecordSystemNetworkTCPListenDropsDataPoint,
	tcp.SYNCookiesSent:        with((*builder).RecordSystemNetworkTCPSynCookiesDataPoint, metadata.AttributeTCPSynCookieEventSent),
	tcp.SYNCookiesReceived:    with((*builder).RecordSystemNetworkTCPSynCookiesDataPoint, metadata.AttributeTCPSynCookieEventReceived),
	tcp.SYNCookiesFailed:      with((*builder).RecordSystemNetworkTCPSynCookiesDataPoint, metadata.AttributeTCPSynCookieEventFailed),
	tcp.SYNQueueResets:        (*builder).RecordSystemNetworkTCPSynQueueResetsDataPoint,
	tcp.TimeoutsRetransmit:    with((*builder).RecordSystemNetworkTCPTimeoutsDataPoint, metadata.AttributeTCPTimerRetransmit),
	tcp.TimeoutsPersist:       with((*builder).RecordSystemNetworkTCPTimeoutsDataPoint, metadata.AttributeTCPTimerPersist),
	tcp.TimeoutsKeepalive:     with((*builder).RecordSystemNetworkTCPTimeoutsDataPoint, metadata.AttributeTCPTimerKeepalive),
	tcp.DropsTimeout:          (*builder).RecordSystemNetworkTCPConnectionDropsTimeoutDataPoint,
	tcp.KeepaliveProbes:       (*builder).RecordSystemNetworkTCPKeepaliveProbesDataPoint,
	tcp.WindowProbesSent:      with((*builder).RecordSystemNetworkTCPWindowProbesDataPoint, metadata.AttributeNetworkIoDirectionTransmit),
	tcp.WindowProbesReceived:  with((*builder).RecordSystemNetworkTCPWindowProbesDataPoint, metadata.AttributeNetworkIoDirectionReceive),
	tcp.SACKRecoveries:        (*builder).RecordSystemNetworkTCPSackRecoveriesDataPoint,
	tcp.SACKRetransmits:       (*builder).RecordSystemNetworkTCPSackRetransmitsDataPoint,
	tcp.DSACKsReceived:        (*builder).RecordSystemNetworkTCPDsackReceivedDataPoint,
	tcp.SpuriousRetransmits:   (*builder).RecordSystemNetworkTCPSpuriousRetransmitsDataPoint,
	tcp.LossProbes:            (*builder).RecordSystemNetworkTCPLossProbesDataPoint,
	tcp.DelayedACKs:           (*builder).RecordSystemNetworkTCPDelayedAcksDataPoint,
	tcp.DuplicateACKs:         (*builder).RecordSystemNetworkTCPDuplicateAcksDataPoint,
	tcp.OutOfOrder:            (*builder).RecordSystemNetworkTCPOutOfOrderDataPoint,
	tcp.OutOfOrderDrops:       (*builder).RecordSystemNetworkTCPOutOfOrderDropsDataPoint,
	tcp.PAWSDrops:             (*builder).RecordSystemNetworkTCPPawsDropsDataPoint,
	tcp.ChallengeACKs:         (*builder).RecordSystemNetworkTCPChallengeAcksDataPoint,
	tcp.BadSYNs:               (*builder).RecordSystemNetworkTCPBadSynsDataPoint,
	tcp.ECNCESent:             with((*builder).RecordSystemNetworkTCPEcnCeDataPoint, metadata.AttributeNetworkIoDirectionTransmit),
	tcp.ECNCEReceived:         with((*builder).RecordSystemNetworkTCPEcnCeDataPoint, metadata.AttributeNetworkIoDirectionReceive),
	tcp.TimeWaitRecycled:      (*builder).RecordSystemNetworkTCPTimeWaitRecycledDataPoint,
	tcp.FinWait2Drops:         (*builder).RecordSystemNetworkTCPFinwait2DropsDataPoint,
	tcp.MemoryPressures:       (*builder).RecordSystemNetworkTCPMemoryPressuresDataPoint,
	tcp.ZeroWindowsAdvertised: (*builder).RecordSystemNetworkTCPZeroWindowAdvertisedDataPoint,
	tcp.Orphans:               (*builder).RecordSystemNetworkTCPOrphanCountDataPoint,
	tcp.MemoryUsage:           (*builder).RecordSystemNetworkTCPMemoryUsageDataPoint,
	tcp.EphemeralPortFirst:    func(*builder, pcommon.Timestamp, int64) {}, // what the usage is counted from
	tcp.EphemeralPortLimit:    (*builder).RecordSystemNetworkTCPEphemeralPortLimitDataPoint,
	tcp.EphemeralPortUsage:    (*builder).RecordSystemNetworkTCPEphemeralPortUsageDataPoint,
}
