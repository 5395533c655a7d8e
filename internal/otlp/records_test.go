// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/featuregate"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/receiver"

	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/netns"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/record"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// fullRecord has everything that a record can have.
func fullRecord() record.Record {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678_901_234, time.UTC)
	return record.Record{
		Kind: record.End, Role: tcp.Client, Cause: tcp.PeerReset,
		ID:    tcp.Identity{Cookie: 0xabc1, Namespace: 4026531840},
		Local: netip.MustParseAddrPort("128.232.110.120:34855"), Peer: netip.MustParseAddrPort("66.35.250.204:80"),
		Place:   netns.Place{Namespace: 4026531840, Name: "blue"},
		Process: &process.Process{PID: 4711, Executable: "curl", Owner: "web", Created: at.Add(-time.Minute)},
		At:      at, Observed: at.Add(time.Second), Start: at.Add(-310 * time.Millisecond),
		Duration: 310 * time.Millisecond, Handshake: 12_500 * time.Microsecond,
		Fields: 1<<tcp.NumFields - 1, CongestionControl: "cubic",
		Values: record.Values{
			BytesSent: 1229, BytesReceived: 86_016, BytesRetransmitted: 1448, Retransmits: 1, OutOfOrder: 3,
			SmoothedRTT: 12 * time.Millisecond, RTTVariation: time.Millisecond, MinRTT: 11 * time.Millisecond,
			CongestionWindow: 14_480, SendMSS: 1448,
			BusyTime: 100 * time.Millisecond, ReceiveWindowLimited: 20 * time.Millisecond, SendBufferLimited: 30 * time.Millisecond,
		},
	}
}

func recordWriter() *RecordWriter {
	set := receiver.Settings{BuildInfo: component.BuildInfo{Version: "1.2.3"}}
	return NewRecordWriter(metadata.NewDefaultMetricsBuilderConfig().ResourceAttributes, set, true)
}

// one returns the only record of a batch.
func one(t testing.TB, ld plog.Logs) plog.LogRecord {
	t.Helper()
	require.Equal(t, 1, ld.LogRecordCount())
	return ld.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0)
}

func TestAFullRecord(t *testing.T) {
	r := fullRecord()
	ld := recordWriter().Logs([]record.Record{r}, 5)
	lr := one(t, ld)
	assert.Equal(t, map[string]any{
		"network.transport": "tcp", "network.type": "ipv4",
		"network.local.address": "128.232.110.120", "network.local.port": int64(34855),
		"network.peer.address": "66.35.250.204", "network.peer.port": int64(80),
		"server.address": "66.35.250.204", "server.port": int64(80),
		"client.address": "128.232.110.120", "client.port": int64(34855),
		"tcp.role": "client", "tcp.connection.id": "abc1-f0000000", "network.community_id": "1:LQU9qZlK+B5F3KDmev6m5PMibrg=",
		"tcp.connection.start_time": "2026-01-02T03:04:05.368901Z", "tcp.connection.duration": 0.31,
		"tcp.connection.handshake.duration": 0.0125, "tcp.end.cause": "peer_reset", "error.type": "connection_reset",
		"tcp.io.transmit": int64(1229), "tcp.io.receive": int64(86016), "tcp.retransmits": int64(1), "tcp.retransmit.io": int64(1448),
		"tcp.rtt": 0.012, "tcp.rtt.min": 0.011, "tcp.rtt.variation": 0.001,
		"tcp.congestion_window": int64(14480), "tcp.mss": int64(1448), "tcp.out_of_order": int64(3),
		"tcp.time.receiver_limited": 0.02, "tcp.time.buffer_limited": 0.03, "tcp.time.unlimited": 0.05,
		"tcp.congestion_control": "cubic", "tcp.record.dropped": int64(5),
	}, lr.Attributes().AsRaw())
	assert.Equal(t, maxAttributes, lr.Attributes().Len())
	assert.Equal(t, "tcp.connection.end", lr.EventName())
	assert.Equal(t, r.At, lr.Timestamp().AsTime())
	assert.Equal(t, r.Observed, lr.ObservedTimestamp().AsTime())
	assert.Equal(t, plog.SeverityNumberWarn, lr.SeverityNumber())
	assert.Empty(t, lr.SeverityText())
	assert.Equal(t, "curl (4711) → 66.35.250.204:80: 1.2 KiB out, 84 KiB in, 0.31 s, rtt 12 ms, reset by peer", lr.Body().Str())

	rl := ld.ResourceLogs().At(0)
	assert.Equal(t, "https://opentelemetry.io/schemas/1.41.0", rl.SchemaUrl())
	assert.Equal(t, metadata.ScopeName, rl.ScopeLogs().At(0).Scope().Name())
	assert.Equal(t, "1.2.3", rl.ScopeLogs().At(0).Scope().Version())
	assert.Equal(t, map[string]any{
		"process.pid": int64(4711), "process.executable.name": "curl", "process.owner": "web",
		"network.namespace.id": int64(4026531840), "network.namespace.name": "blue",
	}, rl.Resource().Attributes().AsRaw())
}

// Every attribute is explained.
func TestAttributesAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/records.md")
	require.NoError(t, err)
	for name := range one(t, recordWriter().Logs([]record.Record{fullRecord()}, 1)).Attributes().All() {
		assert.Contains(t, string(page), "`"+name+"`")
	}
	for _, name := range eventNames {
		assert.Contains(t, string(page), "`"+name+"`")
	}
}

// What is not known is left out.
func TestAnEmptyRecord(t *testing.T) {
	for kind, want := range map[record.Kind]map[string]any{
		record.Start:    {},
		record.Progress: {},
		record.End:      {"tcp.end.cause": "unknown"},
		record.Failure:  {"error.type": "timed_out"},
	} {
		r := record.Record{
			Kind: kind, Failure: tcp.TimedOut, Duration: -1, ID: tcp.Identity{Cookie: 255},
			Local: netip.MustParseAddrPort("[2001:db8::1]:1"), Peer: netip.MustParseAddrPort("[2001:db8::2]:2"),
		}
		w := recordWriter()
		w.communityID = false
		lr := one(t, w.Logs([]record.Record{r}, 0))
		got := lr.Attributes().AsRaw()
		for name, value := range map[string]any{
			"network.transport": "tcp", "network.type": "ipv6", "tcp.connection.id": "ff",
			"network.local.address": "2001:db8::1", "network.local.port": int64(1), "network.peer.address": "2001:db8::2", "network.peer.port": int64(2),
		} {
			assert.Equal(t, value, got[name])
			delete(got, name)
		}
		assert.Equal(t, want, got, kind)
		assert.Equal(t, "tcp.connection."+kind.String(), lr.EventName())
	}
}

func TestSeverityAndErrorType(t *testing.T) {
	for _, tt := range []struct {
		kind      record.Kind
		cause     tcp.Cause
		failure   tcp.Failure
		severity  plog.SeverityNumber
		errorType any
	}{
		{record.Start, tcp.UnknownCause, tcp.NoFailure, plog.SeverityNumberInfo, nil},
		{record.End, tcp.UnknownCause, tcp.NoFailure, plog.SeverityNumberInfo, nil},
		{record.End, tcp.LocalClose, tcp.NoFailure, plog.SeverityNumberInfo, nil},
		{record.End, tcp.PeerClose, tcp.NoFailure, plog.SeverityNumberInfo, nil},
		{record.End, tcp.LocalReset, tcp.NoFailure, plog.SeverityNumberWarn, "connection_reset"},
		{record.End, tcp.PeerReset, tcp.NoFailure, plog.SeverityNumberWarn, "connection_reset"},
		{record.End, tcp.TimeoutCause, tcp.NoFailure, plog.SeverityNumberWarn, "timed_out"},
		{record.End, tcp.Aborted, tcp.NoFailure, plog.SeverityNumberWarn, "_OTHER"},
		{record.Failure, tcp.UnknownCause, tcp.Refused, plog.SeverityNumberWarn, "connection_refused"},
		{record.Failure, tcp.UnknownCause, tcp.HostUnreachable, plog.SeverityNumberWarn, "host_unreachable"},
		{record.Failure, tcp.UnknownCause, tcp.NetUnreachable, plog.SeverityNumberWarn, "network_unreachable"},
		{record.Failure, tcp.UnknownCause, tcp.OtherFailure, plog.SeverityNumberWarn, "_OTHER"},
	} {
		r := fullRecord()
		r.Kind, r.Cause, r.Failure = tt.kind, tt.cause, tt.failure
		lr := one(t, recordWriter().Logs([]record.Record{r}, 0))
		assert.Equal(t, tt.severity, lr.SeverityNumber(), tt)
		assert.Equal(t, tt.errorType, lr.Attributes().AsRaw()["error.type"], tt)
	}
}

func TestBodies(t *testing.T) {
	for want, change := range map[string]func(*record.Record){
		"nginx (80) ← [2001:db8::9]:5000: 0 B out, 1023 B in, 950 µs, rtt 1.5 ms, closed here": func(r *record.Record) {
			r.Process = &process.Process{PID: 80, Executable: "nginx"}
			r.Role, r.Peer, r.Cause = tcp.Server, netip.MustParseAddrPort("[2001:db8::9]:5000"), tcp.LocalClose
			r.BytesSent, r.BytesReceived, r.Duration, r.SmoothedRTT = 0, 1023, 950*time.Microsecond, 1500*time.Microsecond
		},
		"128.232.110.120:34855 → 66.35.250.204:80: closed": func(r *record.Record) {
			r.Process, r.Fields, r.Duration, r.Cause = nil, 0, -1, tcp.UnknownCause
		},
		"curl (4711) → 66.35.250.204:80: connection refused": func(r *record.Record) { r.Kind, r.Failure = record.Failure, tcp.Refused },
		"curl (4711) → 66.35.250.204:80: established":        func(r *record.Record) { r.Kind = record.Start },
		"curl (4711) → 66.35.250.204:80: 10 MiB out, 16 EiB in, 3600 s, still open": func(r *record.Record) {
			r.Kind, r.BytesSent, r.BytesReceived, r.Duration = record.Progress, 10<<20, 1<<64-1, time.Hour
			r.Fields &^= 1 << tcp.FieldSmoothedRTT
		},
	} {
		r := fullRecord()
		change(&r)
		assert.Equal(t, want, one(t, recordWriter().Logs([]record.Record{r}, 0)).Body().Str())
	}
}

// Records of one process have one resource and keep their order, and what was
// dropped is said once.
func TestABatchOfSeveralProcesses(t *testing.T) {
	curl, nginx := &process.Process{PID: 1, Executable: "curl"}, &process.Process{PID: 2, Executable: "nginx"}
	var batch []record.Record
	for i, p := range []*process.Process{nginx, curl, nil, nginx, curl} {
		r := fullRecord()
		r.Process, r.ID.Cookie = p, uint64(i)
		batch = append(batch, r)
	}
	ld := recordWriter().Logs(batch, 7)
	var got [][]string
	told := 0
	for _, rl := range ld.ResourceLogs().All() {
		var ids []string
		for _, lr := range rl.ScopeLogs().At(0).LogRecords().All() {
			attrs := lr.Attributes().AsRaw()
			ids = append(ids, attrs["tcp.connection.id"].(string))
			if n, ok := attrs["tcp.record.dropped"]; ok {
				told++
				assert.EqualValues(t, 7, n)
			}
		}
		got = append(got, ids)
	}
	assert.Equal(t, [][]string{{"2-f0000000"}, {"1-f0000000", "4-f0000000"}, {"0-f0000000", "3-f0000000"}}, got)
	assert.Equal(t, 1, told)
}

// A process may have any name; all sources pass it through tcp.FileName.
func TestAnyNameIsValidUTF8(t *testing.T) {
	r := fullRecord()
	r.Process = &process.Process{PID: 1, Executable: tcp.FileName([]byte("a\xff\xfe\n\x00b"))}
	ld := recordWriter().Logs([]record.Record{r}, 0)
	assert.True(t, utf8.ValidString(one(t, ld).Body().Str()))
	proto, err := (&plog.ProtoMarshaler{}).MarshalLogs(ld)
	require.NoError(t, err)
	_, err = (&plog.ProtoUnmarshaler{}).UnmarshalLogs(proto)
	require.NoError(t, err)
}

// fullBatch is a batch of full records from 5 processes.
func fullBatch() []record.Record {
	batch := make([]record.Record, record.BatchSize)
	for i := range batch {
		batch[i] = fullRecord()
		batch[i].ID.Cookie = uint64(i) << 32
		if i < 5 {
			p := *batch[i].Process
			p.PID = int32(i)
			batch[i].Process = &p
		} else {
			batch[i].Process = batch[i-5].Process
		}
	}
	return batch
}

// bare is a batch of as many records with as many attributes, and nothing to be worked
// out: what pdata itself allocates.
func bare(records, attributes int) plog.Logs {
	ld := plog.NewLogs()
	to := ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords()
	to.EnsureCapacity(records)
	for range records {
		lr := to.AppendEmpty()
		lr.Body().SetStr("body")
		lr.Attributes().EnsureCapacity(attributes)
		for i := range attributes {
			lr.Attributes().PutInt(attributeNames[i], 1)
		}
	}
	return ld
}

var attributeNames = func() (names [maxAttributes]string) {
	for i := range names {
		names[i] = fmt.Sprintf("attribute.%02d", i)
	}
	return names
}()

// release does what a collector does with what its exporters have sent, if it has
// the feature gate pdata.useProtoPooling: pdata keeps the values to be used again.
func release(ld plog.Logs) { ld.ResourceLogs().RemoveIf(func(plog.ResourceLogs) bool { return true }) }

// pooling has pdata use values again.
func pooling(t testing.TB, yes bool) {
	t.Helper()
	require.NoError(t, featuregate.GlobalRegistry().Set("pdata.useProtoPooling", yes))
}

// allocations of a full record out of a batch: all, those that pdata makes for a record
// of as many attributes whoever writes it, and all where pdata uses values again.
func allocations(t testing.TB) (all, pdata, pooled float64) {
	w, batch := recordWriter(), fullBatch()
	n := float64(len(batch))
	attributes := one(t, w.Logs(batch[:1], 0)).Attributes().Len()
	all = testing.AllocsPerRun(10, func() { release(w.Logs(batch, 0)) }) / n
	pdata = testing.AllocsPerRun(10, func() { release(bare(len(batch), attributes)) }) / n
	pooling(t, true)
	defer pooling(t, false)
	pooled = testing.AllocsPerRun(10, func() { release(w.Logs(batch, 0)) }) / n
	return all, pdata, pooled
}

// A full record has 32 attributes. pdata allocates each of their values by itself,
// and the body's, the record and the list of attributes: 35 in all, for which there is no
// other way in its interface. Everything else is one allocation, for all texts of the
// record. With pdata's pools, 25 are more than enough.
func TestAllocationsOfARecord(t *testing.T) {
	all, pdata, pooled := allocations(t)
	t.Logf("%.2f a record, of which %.2f are pdata's; %.2f with pdata.useProtoPooling", all, pdata, pooled)
	assert.InDelta(t, maxAttributes-1+3, pdata, 0.1)
	assert.LessOrEqual(t, all-pdata, 1.2)
	assert.LessOrEqual(t, pooled, 25.0)
}

// With pools, what a record says does not change when others are written later.
func TestPooledRecordsAreTheSame(t *testing.T) {
	pooling(t, true)
	defer pooling(t, false)
	w, batch := recordWriter(), fullBatch()
	release(w.Logs(batch, 0))
	ld := w.Logs(batch[:10], 0)
	for range 3 {
		release(w.Logs(batch[10:], 1))
	}
	text := func(ld plog.Logs) string {
		b, err := (&plog.JSONMarshaler{}).MarshalLogs(ld)
		require.NoError(t, err)
		return string(b)
	}
	kept := text(ld)
	pooling(t, false)
	assert.Equal(t, text(recordWriter().Logs(batch[:10], 0)), kept)
}

// BenchmarkRecord is one full record out of a batch of 500 from 5 processes, and what
// it allocates: see TestAllocationsOfARecord.
func BenchmarkRecord(b *testing.B) {
	batch := fullBatch()
	w := recordWriter()
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if n++; n%len(batch) == 0 {
			w.Logs(batch, 0)
		}
	}
	b.StopTimer()
	all, pdata, pooled := allocations(b)
	b.ReportMetric(all, "allocs/record")
	b.ReportMetric(all-pdata, "own-allocs/record")
	b.ReportMetric(pooled, "pooled-allocs/record")
}
