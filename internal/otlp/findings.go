// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/netpulse/tcpstatsreceiver/internal/event"
	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/netns"
)

// The attributes of findings. docs/findings.md says what each is.
const (
	findingEvent     = "tcp.finding"
	attrRule         = "security_rule.name"
	attrCategory     = "security_rule.category"
	attrFindingID    = "tcp.finding.id"
	attrSubject      = "tcp.finding.subject"
	attrExamples     = "tcp.finding.peers"
	attrFirstSeen    = "tcp.finding.first_seen"
	attrLastSeen     = "tcp.finding.last_seen"
	attrFindingEnded = "tcp.finding.ended"
	evidencePrefix   = "tcp.finding."
	thresholdSuffix  = ".threshold"
)

// Finding returns a record of a finding, with the resource of the process behind it.
func (w *RecordWriter) Finding(f *event.Finding, at netns.Place, observed time.Time) plog.Logs {
	ld := plog.NewLogs()
	rl := ld.ResourceLogs().AppendEmpty()
	w.resources.of(f.Process, at).MoveTo(rl.Resource())
	rl.SetSchemaUrl(w.schemaURL)
	scope := rl.ScopeLogs().AppendEmpty()
	scope.Scope().SetName(metadata.ScopeName)
	scope.Scope().SetVersion(w.version)

	to := scope.LogRecords().AppendEmpty()
	to.SetEventName(findingEvent)
	to.SetTimestamp(pcommon.NewTimestampFromTime(f.At))
	to.SetObservedTimestamp(pcommon.NewTimestampFromTime(observed))
	switch {
	case f.Ended:
		to.SetSeverityNumber(plog.SeverityNumberInfo)
	case f.Severity == event.Error:
		to.SetSeverityNumber(plog.SeverityNumberError)
	default:
		to.SetSeverityNumber(plog.SeverityNumberWarn)
	}
	to.Body().SetStr(f.Body)
	attrs := to.Attributes()
	attrs.PutStr(attrRule, f.Rule)
	attrs.PutStr(attrCategory, f.Category)
	attrs.PutStr(attrFindingID, f.ID)
	attrs.PutStr(attrSubject, f.Subject)
	attrs.PutStr(attrFirstSeen, f.First.UTC().Format(startTimeFormat))
	attrs.PutStr(attrLastSeen, f.Last.UTC().Format(startTimeFormat))
	if f.Ended {
		attrs.PutBool(attrFindingEnded, true)
	}
	putEndpoint(attrs, attrClient, attrClientPort, f.Client)
	putEndpoint(attrs, attrServer, attrServerPort, f.Server)
	if f.ServerName != "" {
		attrs.PutStr(attrServer, f.ServerName)
		attrs.PutStr(attrPeerAddress, f.Server.Addr().String())
	}
	for _, e := range f.Evidence {
		attrs.PutDouble(evidencePrefix+e.Name, e.Value)
		if e.HasThreshold {
			attrs.PutDouble(evidencePrefix+e.Name+thresholdSuffix, e.Threshold)
		}
	}
	if len(f.Peers) > 0 {
		peers := attrs.PutEmptySlice(attrExamples)
		for _, peer := range f.Peers {
			peers.AppendEmpty().SetStr(peer)
		}
	}
	return ld
}

// putEndpoint writes what is known of an end of a connection.
func putEndpoint(attrs pcommon.Map, address, port string, end netip.AddrPort) {
	if end.Addr().IsValid() {
		attrs.PutStr(address, end.Addr().String())
	}
	if end.Port() != 0 {
		attrs.PutInt(port, int64(end.Port()))
	}
}

// Findings counts findings by rule, under the lock of whoever reports them.
type Findings struct {
	start  time.Time
	counts map[string]uint64
	first  map[string]bool // rules whose 0 was not written yet
}

// NewFindings returns counts that begin now.
func NewFindings(now time.Time) *Findings {
	return &Findings{start: now, counts: make(map[string]uint64), first: make(map[string]bool)}
}

// Count counts a finding.
func (f *Findings) Count(found *event.Finding) {
	if found.Ended {
		return
	}
	if f.counts[found.Rule] == 0 {
		f.first[found.Rule] = true
	}
	f.counts[found.Rule]++
}

// Findings appends the counts.
func (w *Writer) Findings(md pmetric.Metrics, findings *Findings, now time.Time) {
	prototype, enabled := w.prototypes[metadata.MetricsInfo.TCPFindings.Name]
	if !enabled || len(findings.counts) == 0 {
		return
	}
	metrics := pmetric.NewMetricSlice()
	m := metrics.AppendEmpty()
	prototype.CopyTo(m)
	start, ts := startTime(findings.start, now), pcommon.NewTimestampFromTime(now)
	for _, rule := range slices.Sorted(maps.Keys(findings.counts)) {
		point := func(at pcommon.Timestamp, n uint64) {
			dp := m.Sum().DataPoints().AppendEmpty()
			dp.SetStartTimestamp(start)
			dp.SetTimestamp(at)
			dp.SetIntValue(int64(n))
			dp.Attributes().PutStr(attrRule, rule)
		}
		if findings.first[rule] {
			point(start, 0) // else backends do not see the first finding as an increase
		}
		point(ts, findings.counts[rule])
	}
	clear(findings.first)
	metrics.MoveAndAppendTo(w.scope(md, w.resources.of(nil, netns.Place{})))
}
