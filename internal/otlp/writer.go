// SPDX-License-Identifier: Apache-2.0

// Package otlp writes what the table and the sources know as OTLP metrics. It
// is the only package that imports pdata.
//
// Metrics of the host go through the generated builder. Those of connections,
// listeners and groups are written by hand: each connection and group has a
// start time of its own, and the generated builder has but one. Names, units, kinds and the
// user's choice of metrics come from metadata.yaml either way.
package otlp

import (
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/receiver"

	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/netns"
)

// Writer writes metrics. It is used by one goroutine at a time.
type Writer struct {
	version   string
	schemaURL string
	boot      time.Time
	resources resources
	system    *metadata.MetricsBuilder

	prototypes  map[string]pmetric.Metric // of the enabled metrics that are written by hand
	groups      groupWriter
	instruments []instrument
	endpoints   []endpoint // reused, of the batch being written
	under       destination

	// processOnPoints puts what is known of a process on each point of its
	// connections and listeners, not on a resource of its own.
	processOnPoints bool
	// peerAttributes are what each point of a connection has of its peer, beside the
	// address.
	peerAttributes attributes

	listeners listeners
	locate    func(namespace uint64) netns.Place // where sockets of a namespace are
	places    map[uint64]netns.Place             // where they were, of those that are gone
	// complete reports that what was not seen is not there any more.
	complete bool
}

// NewWriter returns a writer of the metrics that cfg enables, for a host that
// booted at the given time.
func NewWriter(cfg metadata.MetricsBuilderConfig, set receiver.Settings, boot time.Time) *Writer {
	prototypes, schemaURL := prototypes(cfg, set)
	w := &Writer{
		version:    set.BuildInfo.Version,
		schemaURL:  schemaURL,
		boot:       boot,
		prototypes: prototypes,
		resources:  newResources(cfg.ResourceAttributes),
		locate:     func(uint64) netns.Place { return netns.Place{} },
		places:     make(map[uint64]netns.Place),
		listeners:  newListeners(),
		system:     metadata.NewMetricsBuilder(cfg, set, metadata.WithStartTime(pcommon.NewTimestampFromTime(boot))),
	}
	for _, in := range instruments() {
		if prototype, enabled := prototypes[in.name]; enabled {
			in.prototype = prototype
			w.instruments = append(w.instruments, in)
		}
	}
	return w
}

// maxPlaces bounds how many namespaces are remembered.
const maxPlaces = 4096

// place returns where the sockets of a namespace are, or were: series end under the
// resource that they had.
func (w *Writer) place(namespace uint64) netns.Place {
	at := w.locate(namespace)
	if at.Namespace == 0 {
		return w.places[namespace]
	}
	if len(w.places) >= maxPlaces {
		clear(w.places)
	}
	w.places[namespace] = at
	return at
}

// scope adds a resource and returns where its metrics go.
func (w *Writer) scope(md pmetric.Metrics, resource pcommon.Resource) pmetric.MetricSlice {
	rm := md.ResourceMetrics().AppendEmpty()
	resource.CopyTo(rm.Resource())
	rm.SetSchemaUrl(w.schemaURL)
	scope := rm.ScopeMetrics().AppendEmpty()
	scope.Scope().SetName(metadata.ScopeName)
	scope.Scope().SetVersion(w.version)
	return scope.Metrics()
}

// prototypes returns an empty metric, complete but for its points, for each
// metric of connections, listeners and groups that cfg enables: the generated builder
// is the one that knows their descriptions, units and kinds.
func prototypes(cfg metadata.MetricsBuilderConfig, set receiver.Settings) (byName map[string]pmetric.Metric, schemaURL string) {
	const (
		transport = metadata.AttributeNetworkTransportTCP
		typ       = metadata.AttributeNetworkTypeIpv4
		direction = metadata.AttributeNetworkIoDirectionTransmit
	)
	cfg.ResourceAttributes = metadata.ResourceAttributesConfig{}
	mb := metadata.NewMetricsBuilder(cfg, set)
	mb.RecordDNSLookupDurationDataPoint(0, 0, "", "", "", "")
	mb.RecordDNSQueriesDataPoint(0, 0, "", "", "", "")
	mb.RecordTCPBufferUsageDataPoint(0, 0, direction)
	mb.RecordTCPCongestionWindowDataPoint(0, 0)
	mb.RecordTCPClosesDataPoint(0, 0)
	mb.RecordTCPOpensDataPoint(0, 0)
	mb.RecordTCPAbortsDataPoint(0, 0, metadata.AttributeTCPEndCauseAborted)
	mb.RecordTCPCountDataPoint(0, 0, metadata.AttributeNetworkConnectionStateEstablished)
	mb.RecordTCPDurationDataPoint(0, 0)
	mb.RecordTCPFailuresDataPoint(0, 0, "")
	mb.RecordTCPHandshakeDurationDataPoint(0, 0)
	mb.RecordTCPQueueingDelayDataPoint(0, 0)
	mb.RecordTCPRetransmitEventsDataPoint(0, 0, metadata.AttributeNetworkTCPRetransmitTypeFast)
	mb.RecordTCPSegmentsDataPoint(0, 0, direction)
	mb.RecordTCPTimeDataPoint(0, 0, metadata.AttributeTCPLimitedByNetwork)
	mb.RecordTCPZeroWindowsDataPoint(0, 0)
	mb.RecordTCPListenerDropsDataPoint(0, 0, transport, typ, "", 0)
	mb.RecordTCPDeliveryRateDataPoint(0, 0)
	mb.RecordTCPFindingsDataPoint(0, 0, "")
	mb.RecordTCPIoDataPoint(0, 0, direction)
	mb.RecordTCPRetransmitsDataPoint(0, 0)
	mb.RecordTCPRttDataPoint(0, 0)
	mb.RecordSystemNetworkTCPConnectionDurationDataPoint(0, 0, metadata.AttributeTCPRoleClient)
	mb.RecordSystemNetworkTCPConnectionFailuresDataPoint(0, 0, "", metadata.AttributeTCPRoleClient)
	mb.RecordSystemNetworkTCPRttDataPoint(0, 0, metadata.AttributeTCPRoleClient)
	mb.RecordTCPRttVariationDataPoint(0, 0)
	mb.RecordTCPConnectionAckedDataPoint(0, 0, transport, typ, "", 0, "", 0)
	mb.RecordTCPConnectionAgeDataPoint(0, 0, transport, typ, "", 0, "", 0, metadata.AttributeNetworkConnectionStateEstablished)
	mb.RecordTCPConnectionBufferLimitDataPoint(0, 0, transport, typ, "", 0, "", 0, direction)
	mb.RecordTCPConnectionBufferUsageDataPoint(0, 0, transport, typ, "", 0, "", 0, direction)
	mb.RecordTCPConnectionCongestionWindowDataPoint(0, 0, transport, typ, "", 0, "", 0)
	mb.RecordTCPConnectionDeliveryRateDataPoint(0, 0, transport, typ, "", 0, "", 0)
	mb.RecordTCPConnectionEcnCeDataPoint(0, 0, transport, typ, "", 0, "", 0, direction)
	mb.RecordTCPConnectionIdleDataPoint(0, 0, transport, typ, "", 0, "", 0, metadata.AttributeTCPIdleEventDataSent)
	mb.RecordTCPConnectionIoDataPoint(0, 0, transport, typ, "", 0, "", 0, direction)
	mb.RecordTCPConnectionLostDataPoint(0, 0, transport, typ, "", 0, "", 0)
	mb.RecordTCPConnectionMssDataPoint(0, 0, transport, typ, "", 0, "", 0, direction)
	mb.RecordTCPConnectionOutOfOrderDataPoint(0, 0, transport, typ, "", 0, "", 0)
	mb.RecordTCPConnectionPacingRateDataPoint(0, 0, transport, typ, "", 0, "", 0)
	mb.RecordTCPConnectionRetransmitIoDataPoint(0, 0, transport, typ, "", 0, "", 0)
	mb.RecordTCPConnectionRetransmitsDataPoint(0, 0, transport, typ, "", 0, "", 0)
	mb.RecordTCPConnectionRtoDataPoint(0, 0, transport, typ, "", 0, "", 0)
	mb.RecordTCPConnectionRttDataPoint(0, 0, transport, typ, "", 0, "", 0)
	mb.RecordTCPConnectionRttMinDataPoint(0, 0, transport, typ, "", 0, "", 0)
	mb.RecordTCPConnectionRttVariationDataPoint(0, 0, transport, typ, "", 0, "", 0)
	mb.RecordTCPConnectionSegmentsDataPoint(0, 0, transport, typ, "", 0, "", 0, direction)
	mb.RecordTCPConnectionSlowStartThresholdDataPoint(0, 0, transport, typ, "", 0, "", 0)
	mb.RecordTCPConnectionSpuriousRetransmitsDataPoint(0, 0, transport, typ, "", 0, "", 0)
	mb.RecordTCPConnectionTimeDataPoint(0, 0, transport, typ, "", 0, "", 0, metadata.AttributeTCPLimitedByNetwork)
	mb.RecordTCPConnectionTimeoutsDataPoint(0, 0, transport, typ, "", 0, "", 0)
	mb.RecordTCPConnectionUnsentDataPoint(0, 0, transport, typ, "", 0, "", 0)
	mb.RecordTCPConnectionWindowDataPoint(0, 0, transport, typ, "", 0, "", 0, direction)
	mb.RecordTCPConnectionZeroWindowsDataPoint(0, 0, transport, typ, "", 0, "", 0)
	mb.RecordTCPListenerQueueLimitDataPoint(0, 0, transport, typ, "", 0)
	mb.RecordTCPListenerQueueUsageDataPoint(0, 0, transport, typ, "", 0)

	byName = make(map[string]pmetric.Metric)
	rms := mb.Emit().ResourceMetrics()
	if rms.Len() == 0 { // all of them are disabled
		return byName, ""
	}
	metrics := rms.At(0).ScopeMetrics().At(0).Metrics()
	for i := range metrics.Len() {
		m := pmetric.NewMetric()
		metrics.At(i).CopyTo(m)
		points(m).RemoveIf(func(pmetric.NumberDataPoint) bool { return true })
		byName[m.Name()] = m
	}
	return byName, rms.At(0).SchemaUrl()
}

// startTime is never after now, which it would be once the clock was set back:
// backends drop such points.
func startTime(start, now time.Time) pcommon.Timestamp {
	return pcommon.NewTimestampFromTime(time.Unix(0, min(start.UnixNano(), now.UnixNano())))
}

// points returns the points of a gauge or a sum.
func points(m pmetric.Metric) pmetric.NumberDataPointSlice {
	if m.Type() == pmetric.MetricTypeSum {
		return m.Sum().DataPoints()
	}
	return m.Gauge().DataPoints()
}
