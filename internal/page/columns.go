// SPDX-License-Identifier: Apache-2.0

package page

import (
	"encoding/csv"
	"strconv"
	"strings"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// column is a value of each connection. JSON and CSV have the same columns: what
// is "" in the one is null in the other.
type column struct {
	name string
	// text says that the value is a string in JSON, not a number.
	text bool
	// value returns "" for what is not known.
	value func(*row) string
}

// columns are all that is known of a connection. Times are in microseconds, but
// for those whose names say otherwise; windows, buffers and segments' sizes in
// bytes.
func columns() []column {
	return append([]column{
		{"id", true, func(r *row) string { return idOf(r.ID) }},
		{"network_namespace", false, func(r *row) string { return some(r.ID.Namespace) }},
		{"process", true, func(r *row) string { return nameOf(r.process) }},
		{"pid", false, func(r *row) string {
			if r.process == nil {
				return ""
			}
			return strconv.Itoa(int(r.process.PID))
		}},
		{"command", true, func(r *row) string {
			if r.process == nil {
				return ""
			}
			return r.process.Command
		}},
		{"owner", true, func(r *row) string {
			if r.process == nil {
				return ""
			}
			return r.process.Owner
		}},
		{"container_id", true, func(r *row) string {
			if r.process == nil {
				return ""
			}
			return r.process.ContainerID
		}},
		{"no_process_because", true, func(r *row) string {
			if r.process != nil {
				return ""
			}
			return r.reason.String()
		}},
		{"role", true, func(r *row) string { return r.Role.String() }},
		{"state", true, func(r *row) string { return r.State.String() }},
		{"local_address", true, func(r *row) string { return r.Local.Addr().String() }},
		{"local_port", false, func(r *row) string { return number(r.Local.Port()) }},
		{"peer_address", true, func(r *row) string {
			if r.State == tcp.Listen {
				return ""
			}
			return r.Peer.Addr().String()
		}},
		{"peer_port", false, func(r *row) string {
			if r.State == tcp.Listen {
				return ""
			}
			return number(r.Peer.Port())
		}},
		{"first_seen", true, func(r *row) string { return stamp(r.details.FirstSeen) }},
		{"is_new", false, func(r *row) string { return strconv.FormatBool(r.IsNew) }},
		{"congestion_control", true, func(r *row) string {
			if r.Traits == nil {
				return ""
			}
			return r.CongestionControl
		}},
		{"stack", true, func(r *row) string {
			if r.Traits == nil {
				return ""
			}
			return r.Stack
		}},
		{"out_bytes_per_second", false, func(r *row) string { return rate(r, tcp.FieldBytesSent, r.out) }},
		{"in_bytes_per_second", false, func(r *row) string { return rate(r, tcp.FieldBytesReceived, r.in) }},
		{"bytes_sent", false, func(r *row) string { return of(r, tcp.FieldBytesSent, r.BytesSent) }},
		{"bytes_received", false, func(r *row) string { return of(r, tcp.FieldBytesReceived, r.BytesReceived) }},
		{"bytes_acked", false, func(r *row) string { return of(r, tcp.FieldBytesAcked, r.details.Sample.BytesAcked) }},
		{"bytes_retransmitted", false, func(r *row) string {
			return of(r, tcp.FieldBytesRetransmitted, r.details.Sample.BytesRetransmitted)
		}},
		{"segments_sent", false, func(r *row) string { return of(r, tcp.FieldSegmentsSent, r.details.Sample.SegmentsSent) }},
		{"segments_received", false, func(r *row) string {
			return of(r, tcp.FieldSegmentsReceived, r.details.Sample.SegmentsReceived)
		}},
		{"retransmits", false, func(r *row) string { return of(r, tcp.FieldRetransmits, r.Retransmits) }},
		{"retransmits_fast", false, byType(tcp.FastRetransmit)},
		{"retransmits_timeout", false, byType(tcp.TimeoutRetransmit)},
		{"retransmits_loss_probe", false, byType(tcp.ProbeRetransmit)},
		{"spurious_retransmits", false, func(r *row) string {
			return of(r, tcp.FieldSpuriousRetransmits, r.details.Sample.SpuriousRetransmits)
		}},
		{"timeouts", false, func(r *row) string { return of(r, tcp.FieldTimeouts, r.details.Sample.Timeouts) }},
		{"lost_segments", false, func(r *row) string { return of(r, tcp.FieldLost, r.details.Sample.Lost) }},
		{"out_of_order", false, func(r *row) string { return of(r, tcp.FieldOutOfOrder, r.details.Sample.OutOfOrder) }},
		{"zero_windows", false, func(r *row) string { return of(r, tcp.FieldZeroWindows, r.details.Sample.ZeroWindows) }},
		{"delivered_ce", false, func(r *row) string { return of(r, tcp.FieldDeliveredCE, r.details.Sample.DeliveredCE) }},
		{"received_ce", false, func(r *row) string { return of(r, tcp.FieldReceivedCE, r.details.Sample.ReceivedCE) }},
		{"rtt_us", false, func(r *row) string { return micros(r, tcp.FieldSmoothedRTT, r.SmoothedRTT) }},
		{"rtt_variation_us", false, func(r *row) string { return micros(r, tcp.FieldRTTVariation, r.details.Sample.RTTVariation) }},
		{"rtt_least_us", false, func(r *row) string { return micros(r, tcp.FieldMinRTT, r.details.Sample.MinRTT) }},
		{"rto_us", false, func(r *row) string { return micros(r, tcp.FieldRTO, r.details.Sample.RTO) }},
		{"congestion_window", false, func(r *row) string {
			return of(r, tcp.FieldCongestionWindow, r.details.Sample.CongestionWindow)
		}},
		{"slow_start_threshold", false, func(r *row) string {
			return of(r, tcp.FieldSlowStartThreshold, r.details.Sample.SlowStartThreshold)
		}},
		{"send_mss", false, func(r *row) string { return of(r, tcp.FieldSendMSS, r.details.Sample.SendMSS) }},
		{"receive_mss", false, func(r *row) string { return of(r, tcp.FieldReceiveMSS, r.details.Sample.ReceiveMSS) }},
		{"send_window", false, func(r *row) string { return of(r, tcp.FieldSendWindow, r.details.Sample.SendWindow) }},
		{"receive_window", false, func(r *row) string { return of(r, tcp.FieldReceiveWindow, r.details.Sample.ReceiveWindow) }},
		{"send_buffer_usage", false, func(r *row) string {
			return of(r, tcp.FieldSendBufferUsage, r.details.Sample.SendBufferUsage)
		}},
		{"send_buffer_limit", false, func(r *row) string {
			return of(r, tcp.FieldSendBufferLimit, r.details.Sample.SendBufferLimit)
		}},
		{"receive_buffer_usage", false, func(r *row) string {
			return of(r, tcp.FieldReceiveBufferUsage, r.details.Sample.ReceiveBufferUsage)
		}},
		{"receive_buffer_limit", false, func(r *row) string {
			return of(r, tcp.FieldReceiveBufferLimit, r.details.Sample.ReceiveBufferLimit)
		}},
		{"unsent", false, func(r *row) string { return of(r, tcp.FieldUnsent, r.details.Sample.Unsent) }},
		{"delivery_rate", false, func(r *row) string { return of(r, tcp.FieldDeliveryRate, r.details.Sample.DeliveryRate) }},
		{"pacing_rate", false, func(r *row) string { return of(r, tcp.FieldPacingRate, r.details.Sample.PacingRate) }},
		{"age_us", false, func(r *row) string { return micros(r, tcp.FieldAge, r.details.Sample.Age) }},
		{"since_data_sent_us", false, func(r *row) string {
			return micros(r, tcp.FieldSinceDataSent, r.details.Sample.SinceDataSent)
		}},
		{"since_data_received_us", false, func(r *row) string {
			return micros(r, tcp.FieldSinceDataReceived, r.details.Sample.SinceDataReceived)
		}},
		{"since_ack_received_us", false, func(r *row) string {
			return micros(r, tcp.FieldSinceACKReceived, r.details.Sample.SinceACKReceived)
		}},
		{"busy_us", false, func(r *row) string { return micros(r, tcp.FieldBusyTime, r.details.Sample.BusyTime) }},
		{"limited_by_receiver_us", false, func(r *row) string {
			return micros(r, tcp.FieldReceiveWindowLimited, r.details.Sample.ReceiveWindowLimited)
		}},
		{"limited_by_send_buffer_us", false, func(r *row) string {
			return micros(r, tcp.FieldSendBufferLimited, r.details.Sample.SendBufferLimited)
		}},
	}, peerColumns()...)
}

// listenerColumns are what is known of a listener.
func listenerColumns() []column {
	var all []column
	for _, c := range columns() {
		switch c.name {
		case "id", "network_namespace", "process", "pid", "command", "owner", "container_id", "no_process_because", "local_address", "local_port", "first_seen":
			all = append(all, c)
		}
	}
	return append(all,
		column{"queue_length", false, func(r *row) string { return of(r, tcp.FieldQueueLength, r.details.Sample.QueueLength) }},
		column{"queue_limit", false, func(r *row) string { return of(r, tcp.FieldQueueLimit, r.details.Sample.QueueLimit) }},
	)
}

func byType(t tcp.RetransmitType) func(*row) string {
	return func(r *row) string { return of(r, tcp.FieldRetransmitsBy, r.details.Sample.RetransmitsBy[t]) }
}

func of[N uint16 | uint32 | uint64](r *row, f tcp.Field, n N) string {
	if !r.Has(f) {
		return ""
	}
	return number(n)
}

func number[N uint16 | uint32 | uint64](n N) string { return strconv.FormatUint(uint64(n), 10) }

// some is a number that is not known if it is 0.
func some(n uint64) string {
	if n == 0 {
		return ""
	}
	return number(n)
}

func rate(r *row, f tcp.Field, v float64) string {
	if !r.Has(f) {
		return ""
	}
	return string(appendRate(nil, v))
}

func micros(r *row, f tcp.Field, d time.Duration) string {
	if !r.Has(f) {
		return ""
	}
	return strconv.FormatInt(d.Microseconds(), 10)
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// appendRows appends rows as a JSON array of objects.
func appendRows(b []byte, columns []column, rows []row) []byte {
	b = append(b, '[')
	for i := range rows {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, "\n{"...)
		for k := range columns {
			if k > 0 {
				b = append(b, ',')
			}
			b = append(appendText(b, columns[k].name), ':')
			value := columns[k].value(&rows[i])
			switch {
			case value == "":
				b = append(b, "null"...)
			case columns[k].text:
				b = appendText(b, value)
			default:
				b = append(b, value...)
			}
		}
		b = append(b, '}')
	}
	return append(b, "\n]\n"...)
}

// csvOf returns rows as CSV (RFC 4180) under the names of the columns.
func csvOf(columns []column, rows []row) []byte {
	var out strings.Builder
	w := csv.NewWriter(&out)
	record := make([]string, len(columns))
	for k := range columns {
		record[k] = columns[k].name
	}
	_ = w.Write(record) // to memory
	for i := range rows {
		for k := range columns {
			record[k] = strings.ToValidUTF8(columns[k].value(&rows[i]), "\ufffd")
			if columns[k].text {
				record[k] = unformula(record[k])
			}
		}
		_ = w.Write(record)
	}
	w.Flush()
	return []byte(out.String())
}

// unformula keeps spreadsheets from running the name of a process as a formula
// (CWE-1236): they do so with cells that begin with one of these.
func unformula(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}
