// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"slices"
	"strconv"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/receiver"

	"github.com/netpulse/tcpstatsreceiver/internal/communityid"
	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/record"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// The attributes of records. docs/records.md says what each is.
const (
	attrTransport    = "network.transport"
	attrType         = "network.type"
	attrLocalAddress = "network.local.address"
	attrLocalPort    = "network.local.port"
	attrPeerAddress  = "network.peer.address"
	attrPeerPort     = "network.peer.port"
	attrServer       = "server.address"
	attrServerPort   = "server.port"
	attrClient       = "client.address"
	attrClientPort   = "client.port"
	attrRole         = "tcp.role"
	attrID           = "tcp.connection.id"
	attrCommunityID  = "network.community_id"
	attrStartTime    = "tcp.connection.start_time"
	attrDuration     = "tcp.connection.duration"
	attrHandshake    = "tcp.connection.handshake.duration"
	attrCause        = "tcp.end.cause"
	attrErrorType    = "error.type"
	attrTransmit     = "tcp.io.transmit"
	attrReceive      = "tcp.io.receive"
	attrRetransmits  = "tcp.retransmits"
	attrRetransmitIO = "tcp.retransmit.io"
	attrRTT          = "tcp.rtt"
	attrRTTMin       = "tcp.rtt.min"
	attrRTTVariation = "tcp.rtt.variation"
	attrCwnd         = "tcp.congestion_window"
	attrMSS          = "tcp.mss"
	attrOutOfOrder   = "tcp.out_of_order"
	attrReceiverTime = "tcp.time.receiver_limited"
	attrBufferTime   = "tcp.time.buffer_limited"
	attrFreeTime     = "tcp.time.unlimited"
	attrCongestion   = "tcp.congestion_control"
	attrDropped      = "tcp.record.dropped"

	// maxAttributes is how many a record has at most, without those of putPeer.
	maxAttributes = 33
)

// startTimeFormat is ISO 8601, to the microsecond.
const startTimeFormat = "2006-01-02T15:04:05.000000Z"

// eventNames are the names of the events.
var eventNames = [record.NumKinds]string{
	record.Start:    "tcp.connection.start",
	record.Progress: "tcp.connection.progress",
	record.End:      "tcp.connection.end",
	record.Failure:  "tcp.connection.failure",
}

// RecordWriter writes records of connections as OTLP logs. It is used by one
// goroutine at a time.
type RecordWriter struct {
	version     string
	schemaURL   string
	resources   resources
	communityID bool

	sorted []*record.Record // reused
	text   []byte           // reused
}

// NewRecordWriter returns a writer of records with the resource attributes that cfg
// enables. With communityID, records have that attribute.
func NewRecordWriter(cfg metadata.ResourceAttributesConfig, set receiver.Settings, communityID bool) *RecordWriter {
	// The generated builder is the one that knows the schema.
	builder := metadata.NewLogsBuilder(set)
	builder.AppendLogRecord(plog.NewLogRecord())
	return &RecordWriter{
		version: set.BuildInfo.Version, schemaURL: builder.Emit().ResourceLogs().At(0).SchemaUrl(),
		resources: newResources(cfg), communityID: communityID,
	}
}

// Logs returns a batch of records, with a resource for each process. The first
// record says how many were dropped before it, if any were.
func (w *RecordWriter) Logs(batch []record.Record, dropped uint64) plog.Logs {
	w.sorted = w.sorted[:0]
	for i := range batch {
		w.sorted = append(w.sorted, &batch[i])
	}
	// Those of one holder keep their order.
	slices.SortStableFunc(w.sorted, func(a, b *record.Record) int { return holderOfRecord(a).compare(holderOfRecord(b)) })
	ld := plog.NewLogs()
	for h, its := range ofEachHolder(w.sorted, holderOfRecord) {
		rl := ld.ResourceLogs().AppendEmpty()
		w.resources.of(h.process, its[0].Place).MoveTo(rl.Resource())
		rl.SetSchemaUrl(w.schemaURL)
		scope := rl.ScopeLogs().AppendEmpty()
		scope.Scope().SetName(metadata.ScopeName)
		scope.Scope().SetVersion(w.version)
		scope.LogRecords().EnsureCapacity(len(its))
		for _, r := range its {
			w.write(scope.LogRecords().AppendEmpty(), r, dropped)
			dropped = 0
		}
	}
	clear(w.sorted)
	return ld
}

func holderOfRecord(r *record.Record) holder { return holder{r.Process, r.ID.Namespace} }

func (w *RecordWriter) write(to plog.LogRecord, r *record.Record, dropped uint64) {
	to.SetEventName(eventNames[r.Kind])
	to.SetTimestamp(pcommon.NewTimestampFromTime(r.At))
	to.SetObservedTimestamp(pcommon.NewTimestampFromTime(r.Observed))
	to.SetSeverityNumber(plog.SeverityNumberInfo)
	if r.Abnormal() {
		to.SetSeverityNumber(plog.SeverityNumberWarn)
	}
	t := w.textsOf(r)
	to.Body().SetStr(t.body)
	attrs := to.Attributes()
	capacity := maxAttributes
	if r.PeerInfo != nil {
		capacity += peerAttributes
	}
	attrs.EnsureCapacity(capacity)
	endpoints(attrs, r, &t)
	life(attrs, r, &t)
	values(attrs, r)
	if dropped > 0 {
		attrs.PutInt(attrDropped, int64(dropped))
	}
}

// texts are the strings that are made for a record; "" are those that it does not
// have. They share one piece of memory.
type texts struct {
	local, peer, body, id, communityID, start string
}

func (w *RecordWriter) textsOf(r *record.Record) (t texts) {
	b := r.Local.Addr().AppendTo(w.text[:0])
	local := len(b)
	b = r.Peer.Addr().AppendTo(b)
	peer := len(b)
	b = appendBody(b, r)
	body := len(b)
	b = strconv.AppendUint(b, r.ID.Cookie, 16)
	if r.ID.Namespace != 0 { // each counts for itself on some kernels
		b = strconv.AppendUint(append(b, '-'), r.ID.Namespace, 16)
	}
	id := len(b)
	if w.communityID {
		b = communityid.AppendTCP(b, r.Local, r.Peer)
	}
	community := len(b)
	if !r.Start.IsZero() {
		b = r.Start.UTC().AppendFormat(b, startTimeFormat)
	}
	w.text = b
	all := string(b)
	return texts{all[:local], all[local:peer], all[peer:body], all[body:id], all[id:community], all[community:]}
}

// endpoints writes which connection it is.
func endpoints(attrs pcommon.Map, r *record.Record, t *texts) {
	attrs.PutStr(attrTransport, metadata.AttributeNetworkTransportTCP.String())
	typ := metadata.AttributeNetworkTypeIpv6
	if r.Local.Addr().Is4() {
		typ = metadata.AttributeNetworkTypeIpv4
	}
	attrs.PutStr(attrType, typ.String())
	attrs.PutStr(attrLocalAddress, t.local)
	attrs.PutInt(attrLocalPort, int64(r.Local.Port()))
	attrs.PutStr(attrPeerAddress, t.peer)
	attrs.PutInt(attrPeerPort, int64(r.Peer.Port()))
	switch r.Role {
	case tcp.Client:
		server := t.peer
		if r.PeerInfo != nil && r.PeerInfo.Name != "" {
			server = r.PeerInfo.Name
		}
		putSides(attrs, server, r.Peer.Port(), t.local, r.Local.Port())
	case tcp.Server:
		putSides(attrs, t.local, r.Local.Port(), t.peer, r.Peer.Port())
	}
	if r.Role != tcp.NoRole {
		attrs.PutStr(attrRole, r.Role.String())
	}
	attrs.PutStr(attrID, t.id)
	if r.PeerInfo != nil {
		putPeer(attrs, r.PeerInfo, allAttributes)
	}
	if t.communityID != "" {
		attrs.PutStr(attrCommunityID, t.communityID)
	}
}

func putSides(attrs pcommon.Map, server string, serverPort uint16, client string, clientPort uint16) {
	attrs.PutStr(attrServer, server)
	attrs.PutInt(attrServerPort, int64(serverPort))
	attrs.PutStr(attrClient, client)
	attrs.PutInt(attrClientPort, int64(clientPort))
}

// life writes when the connection began and how it ended.
func life(attrs pcommon.Map, r *record.Record, t *texts) {
	if t.start != "" {
		attrs.PutStr(attrStartTime, t.start)
	}
	if r.Duration >= 0 {
		attrs.PutDouble(attrDuration, r.Duration.Seconds())
	}
	if r.Handshake > 0 {
		attrs.PutDouble(attrHandshake, r.Handshake.Seconds())
	}
	if r.Kind == record.End {
		attrs.PutStr(attrCause, r.Cause.String())
	}
	if errorType := errorType(r); errorType != "" {
		attrs.PutStr(attrErrorType, errorType)
	}
}

// errorType is why the connection failed or was cut off; "" if it was not.
func errorType(r *record.Record) string {
	switch {
	case r.Kind == record.Failure:
		return r.Failure.String()
	case !r.Abnormal():
		return ""
	}
	switch r.Cause {
	case tcp.LocalReset, tcp.PeerReset:
		return tcp.Reset.String()
	case tcp.TimeoutCause:
		return tcp.TimedOut.String()
	}
	return tcp.OtherFailure.String()
}

// values writes what was counted and measured, as far as it is known.
func values(attrs pcommon.Map, r *record.Record) {
	count := func(f tcp.Field, name string, n uint64) {
		if r.Has(f) {
			attrs.PutInt(name, int64(n))
		}
	}
	seconds := func(f tcp.Field, name string, d time.Duration) {
		if r.Has(f) {
			attrs.PutDouble(name, d.Seconds())
		}
	}
	count(tcp.FieldBytesSent, attrTransmit, r.BytesSent)
	count(tcp.FieldBytesReceived, attrReceive, r.BytesReceived)
	count(tcp.FieldRetransmits, attrRetransmits, r.Retransmits)
	count(tcp.FieldBytesRetransmitted, attrRetransmitIO, r.BytesRetransmitted)
	seconds(tcp.FieldSmoothedRTT, attrRTT, r.SmoothedRTT)
	seconds(tcp.FieldMinRTT, attrRTTMin, r.MinRTT)
	seconds(tcp.FieldRTTVariation, attrRTTVariation, r.RTTVariation)
	count(tcp.FieldCongestionWindow, attrCwnd, r.CongestionWindow)
	count(tcp.FieldSendMSS, attrMSS, uint64(r.SendMSS))
	count(tcp.FieldOutOfOrder, attrOutOfOrder, r.OutOfOrder)
	seconds(tcp.FieldReceiveWindowLimited, attrReceiverTime, r.ReceiveWindowLimited)
	seconds(tcp.FieldSendBufferLimited, attrBufferTime, r.SendBufferLimited)
	if r.Has(tcp.FieldReceiveWindowLimited) && r.Has(tcp.FieldSendBufferLimited) {
		seconds(tcp.FieldBusyTime, attrFreeTime, max(0, r.BusyTime-r.ReceiveWindowLimited-r.SendBufferLimited))
	}
	if r.CongestionControl != "" {
		attrs.PutStr(attrCongestion, r.CongestionControl)
	}
}
